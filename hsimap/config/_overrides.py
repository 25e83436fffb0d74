"""Changes from the command line: ``training.epochs=5``."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from hsimap.config._yaml import parse_yaml
from hsimap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of plain values with some of them replaced.

    Parameters
    ----------
    data : mapping
        What a YAML file held. It is not changed.
    overrides : iterable of str
        ``dotted.key=value`` each; the value is YAML, and an element of a list is named by its
        number from 0. Sections that are not there are made, so that an unknown key is found by
        :func:`validate`, as if the file had held it.

    Raises
    ------
    UsageError
        If there is no ``=`` or key, or a key leads through a value that has no parts.

    Examples
    --------
    >>> apply_overrides(
    ...     {"scenes": [{"image": "a.tif"}]}, ["scenes.0.image=b.tif", "training.seed=3"]
    ... )
    {'scenes': [{'image': 'b.tif'}], 'training': {'seed': 3}}
    """
    result = deepcopy(dict(data))
    for item in overrides:
        path, found, text = item.partition("=")
        parts = path.strip().split(".")
        if not found or not all(parts):
            raise UsageError(f"--set {item!r}: write it as dotted.key=value")
        _assign(result, parts, parse_yaml(text, source=f"--set {item}"), item)
    return result


def _assign(root: dict[str, Any], parts: list[str], value: object, item: str) -> None:
    node: Any = root
    for i, part in enumerate(parts):
        key = _key(node, part)
        if key is None:
            above = ".".join(parts[:i])
            raise UsageError(f"--set {item!r}: `{above}` is {_kind(node)} and has no `{part}`")
        if i == len(parts) - 1:
            node[key] = value
            return
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        node = node[key]


def _key(node: object, part: str) -> str | int | None:
    """Return the key or index that a part of a path means in a node; None = it has none."""
    number = int(part) if part.isascii() and part.isdigit() else None
    if isinstance(node, dict):
        return number if part not in node and number in node else part
    if isinstance(node, list):
        return number if number is not None and number < len(node) else None
    return None


def _kind(node: object) -> str:
    return f"a list of {len(node)}" if isinstance(node, list) else f"the value {node!r}"

"""Recipes that are written as changes of other recipes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from hsimap.config import load_yaml
from hsimap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXTENDS: Final = "extends"


def load_resolved(path: Path) -> dict[str, Any]:
    """Read a recipe's YAML and merge it into the one it extends, if it does.

    ``extends:`` names a file relative to the folder of the file that says so. Mappings are merged
    key by key, anything else replaces what was there, and null removes it, so that the default
    holds (JSON Merge Patch, RFC 7396). ``data:`` means a folder relative to the file that says so.

    Parameters
    ----------
    path : Path
        The YAML file.

    Returns
    -------
    dict
        Plain values without ``extends``.

    Raises
    ------
    UsageError
        If a file is missing or wrong, a recipe extends itself, or one that extends another has
        no name of its own.
    """
    return _resolved(path, (path.resolve(),))


def _resolved(path: Path, chain: tuple[Path, ...]) -> dict[str, Any]:
    data = load_yaml(path)
    base = data.pop(EXTENDS, None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise UsageError(f"{path}: `{EXTENDS}` is the path of one recipe, got {base!r}")
    if "name" not in data:
        raise UsageError(f"{path} extends {base} and needs a `name` of its own")
    file = path.parent / base
    if not file.is_file():
        raise UsageError(f"{path} extends {base}, but there is no file {file}")
    if file.resolve() in chain:
        names = " -> ".join(step.name for step in (*chain, file.resolve()))
        raise UsageError(f"{path} extends itself: {names}")
    inherited = _resolved(file, (*chain, file.resolve()))
    if isinstance(inherited.get("data"), str):
        inherited["data"] = os.path.relpath(file.parent / inherited["data"], path.parent)
    return _merged(inherited, data)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result

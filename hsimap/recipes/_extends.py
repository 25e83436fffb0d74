"""Recipes that are written as changes of other recipes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from hsimap.config import load_yaml, unknown_key
from hsimap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXTENDS: Final = "extends"
ONLY: Final = "only_tasks"


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


def choose_tasks(data: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Apply ``only_tasks: [name, ...]``: the other tasks go, with their labels and weights.

    Parameters
    ----------
    data : mapping
        A recipe's plain values; it is not changed.
    source : str
        What the recipe is called in errors.

    Returns
    -------
    dict
        Plain values without ``only_tasks``. Scenes that keep no label go too.

    Raises
    ------
    UsageError
        If it is no list of the recipe's tasks.
    """
    rest = {key: value for key, value in data.items() if key != ONLY}
    wanted, tasks = data.get(ONLY), data.get("tasks")
    if wanted is None or not isinstance(tasks, dict):
        return rest
    if not isinstance(wanted, list) or not wanted:
        raise UsageError(f"{source}: `{ONLY}` is a list of task names, got {wanted!r}")
    for name in wanted:
        if name not in tasks:
            hint = unknown_key(str(name), tasks)
            raise UsageError(f"{source}: `{ONLY}` names the unknown task {name!r}; {hint}")
    rest["tasks"] = {name: task for name, task in tasks.items() if name in wanted}
    scenes = [_with_labels(scene, wanted) for scene in _list(data.get("scenes"))]
    if scenes:
        rest["scenes"] = [scene for scene in scenes if scene is not None] or data["scenes"]
    training = data.get("training")
    if isinstance(training, dict) and isinstance(training.get("task_weights"), dict):
        weights = {k: v for k, v in training["task_weights"].items() if k in wanted}
        rest["training"] = training | {"task_weights": weights}
    return rest


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


def _with_labels(scene: object, wanted: list[str]) -> object | None:
    """Return a scene with the labels of some tasks; None where it had others only."""
    if not isinstance(scene, dict) or not isinstance(scene.get("labels"), dict):
        return scene
    kept = {name: spec for name, spec in scene["labels"].items() if name in wanted}
    if not kept and scene["labels"] and scene.get("sample") is None:
        return None
    return scene | {"labels": kept}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []

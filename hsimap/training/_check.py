"""What training on a recipe would find: files, bands, folds, labels. Nothing is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.geometry import Window
from hsimap.labels import TEST, TRAIN, VALIDATION, count_codes
from hsimap.recipes import check_descriptions, scene_files
from hsimap.tasks import Kind
from hsimap.training._scenes import open_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.recipes import Recipe, SceneFiles
    from hsimap.tasks import Task
    from hsimap.training._folds import LabelledScene

_FOLDS: Final = {"training": TRAIN, "validation": VALIDATION, "test": TEST}
_ROWS: Final = 512
"""Rows of labels that are counted together."""


def check_recipe(recipe: Recipe) -> Iterator[str]:
    """Open everything that a recipe names and say what is there.

    Parameters
    ----------
    recipe : Recipe
        As :func:`hsimap.recipes.load_recipe` returns it.

    Yields
    ------
    str
        A line each: what the headers say of labels, codes that are ignored, bands, notes, folds in
        pixels and stands, labels by task and fold, and in the training fold the shares of classes
        and of the values that reach the upper end of their range.

    Raises
    ------
    UsageError, InputError, MismatchError
        If a file is missing, damaged or does not fit the others or the recipe.
    """
    tasks = recipe.tasks_list()
    for files in scene_files(recipe):
        for note in check_descriptions(tasks, files):
            yield f"{files.name}: {note}"
        yield from _ignored(tasks, files)
    with open_recipe(recipe) as opened:
        nm = opened.input.wavelength_nm
        span = f", {nm[0]:g} to {nm[-1]:g} nm" if nm else ""
        yield f"bands: {opened.input.n_bands}{span}; scale {opened.input.scale}"
        yield from (f"note: {note}" for note in opened.notes)
        for scene in opened.scenes:
            yield from _folds(scene)
        yield from _shared_stands(opened.scenes)
        for task in tasks:
            yield from _labels(task, opened.scenes)


def _ignored(tasks: Sequence[Task], files: SceneFiles) -> Iterator[str]:
    """Tell how common the codes are that a recipe ignores."""
    for task in tasks:
        spec = files.labels.get(task.name)
        if spec is None or spec.raster is None or spec.ignore == ():
            continue
        counts = count_codes(files.root / spec.raster, spec.band)
        total = sum(n for code, n in counts.items() if code != 0) or 1
        codes = (spec.ignore,) if isinstance(spec.ignore, int) else spec.ignore
        shares = ", ".join(f"{code} ({100 * counts.get(code, 0) / total:.1f} %)" for code in codes)
        yield f"{files.name}: {task.name}: of the labelled px, these codes are ignored: {shares}"


def _folds(scene: LabelledScene) -> Iterator[str]:
    height, width = scene.folds.shape
    counts = np.bincount(scene.folds.ravel(), minlength=4)
    parts = []
    for name, fold in _FOLDS.items():
        stands = f" in {len(_stands(scene, fold))} stands" if scene.stands is not None else ""
        parts.append(f"{name} {counts[fold]} px{stands}")
    yield f"{scene.name}: {height} x {width} px; {'; '.join(parts)}"


def _stands(scene: LabelledScene, fold: int) -> set[int]:
    if scene.stands is None:
        return set()
    return set(np.unique(scene.stands[scene.folds == fold]).tolist()) - {0}


def _shared_stands(scenes: Sequence[LabelledScene]) -> Iterator[str]:
    """Tell how many stands train and test, within a scene."""
    for scene in scenes:
        both = _stands(scene, TEST) & (_stands(scene, TRAIN) | _stands(scene, VALIDATION))
        if both:
            yield f"{scene.name}: {len(both)} stands lie in the test fold and in another"


def _labels(task: Task, scenes: Sequence[LabelledScene]) -> Iterator[str]:
    found = {name: _values(task, scenes, fold) for name, fold in _FOLDS.items()}
    counts = ", ".join(f"{name} {len(values)}" for name, values in found.items())
    yield f"{task.name}: labelled px {counts}{_summary(task, found['training'])}"


def _summary(task: Task, values: NDArray[Any]) -> str:
    """Return the shares of the classes, or the spread of the values."""
    if not len(values):
        return "; nothing to train on"
    if task.kind is Kind.CATEGORICAL:
        shares = np.bincount(values.astype(np.int64), minlength=len(task.classes)) / len(values)
        named = zip(task.classes, shares, strict=True)
        return "; " + ", ".join(f"{label.name} {100 * share:.1f} %" for label, share in named)
    low, mean, high = float(values.min()), float(values.mean()), float(values.max())
    text = f"; {low:.4g} to {high:.4g}, mean {mean:.4g} {task.unit}"
    if task.range is None:
        return text
    above = 100 * float((values >= task.range[1]).mean())
    return f"{text}; {above:.1f} % reach the range's end {task.range[1]:g}"


def _values(task: Task, scenes: Sequence[LabelledScene], fold: int) -> NDArray[Any]:
    """Return the labels of a fold in all scenes."""
    found: list[NDArray[Any]] = []
    for scene in scenes:
        view = scene.view(fold)
        height, width = view.shape
        for row in range(0, height, _ROWS):
            strip = Window(row=row, col=0, height=min(_ROWS, height - row), width=width)
            if not (scene.folds[strip.slices] == fold).any():
                continue
            values = view.targets(strip)[task.name]
            found.append(values[values >= 0 if task.classes else np.isfinite(values)])
    return np.concatenate(found) if found else np.zeros(0)

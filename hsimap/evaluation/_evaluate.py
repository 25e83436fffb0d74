"""Evaluate a model on one fold of labelled scenes, in one pass over its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import InputError, MismatchError
from hsimap.evaluation._accumulate import Pixels, accumulator_of
from hsimap.evaluation._fold import (
    FoldStrip,
    Geometry,
    block_ids,
    labelled,
    map_fold,
    stand_ids,
    unit_ids,
)
from hsimap.evaluation._pictures import Picture, draw_on, new_picture
from hsimap.labels import TEST, TRAIN, VALIDATION
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.bundle import Bundle
    from hsimap.evaluation._accumulate import Accumulator
    from hsimap.evaluation._detail import TaskEvaluation
    from hsimap.evaluation._fold import FoldScene
    from hsimap.runtimes import Runtime
    from hsimap.tasks import Task

FOLD_NAMES: Final = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}
_LABELLED: Final = (Kind.CATEGORICAL, Kind.CONTINUOUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvaluation:
    """How well a model maps a fold."""

    model: str
    """Name of the bundle."""
    digest: str
    label: str
    """What it is called beside other models."""
    fold: str
    unit: str
    """What coverage is averaged over: stand or block."""
    calibrated: bool
    """Whether the bundle states intervals or temperatures."""
    tasks: tuple[TaskEvaluation, ...]
    pictures: tuple[Picture, ...]
    """Maps beside the truth, for the report."""

    def aggregate(self) -> dict[str, dict[str, float]]:
        """Return means over tasks: each name says over which, and by what unit.

        Only scores without a unit are averaged. ``rmse_of_range`` and ``mae_of_range`` are taken
        over the width of the task's range, as the scaled values of arXiv 2407.16384, table III.
        """
        means: dict[str, dict[str, float]] = {}
        for kind in _LABELLED:
            of_kind = [found for found in self.tasks if found.task.kind is kind]
            for level in ("pixel", "stand"):
                rows = [_unitless(found, level) for found in of_kind if level in found.levels()]
                if rows:
                    name = f"mean over {len(rows)} {kind.value} tasks, by {level}"
                    means[name] = _column_means(rows)
        return means

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "model": self.model,
            "digest": self.digest,
            "label": self.label,
            "fold": self.fold,
            "coverage_unit": self.unit,
            "tasks": {found.task.name: found.as_dict() for found in self.tasks},
            "aggregate": self.aggregate(),
        }


def evaluate_model(
    bundle: Bundle,
    runtime: Runtime,
    scenes: Sequence[FoldScene],
    *,
    tasks: Sequence[Task],
    fold: int,
    label: str | None = None,
) -> ModelEvaluation:
    """Score every task that model and labels share.

    Parameters
    ----------
    bundle : Bundle
        The model.
    runtime : Runtime
        The model, running; it is not closed.
    scenes : sequence of FoldScene
        Labelled scenes in the bands and units of the model.
    tasks : sequence of Task
        Those that the labels are of.
    fold : int
        1 training, 2 validation, 3 test.
    label : str, optional
        What the model is called beside others; the name of its folder by default.

    Raises
    ------
    MismatchError
        If model and labels share no task, or mean different classes by one.
    InputError
        If the fold holds no label.
    """
    shared = shared_tasks(bundle, tasks)
    calibration = bundle.manifest.calibration
    intervals = {} if calibration is None else calibration.intervals
    spans = _spans(shared, scenes, fold)
    accumulators = {
        task.name: accumulator_of(task, spans=spans, intervals=intervals) for task in shared
    }
    geometry = Geometry.of(bundle.manifest)
    groups = _Groups(scenes)
    pictures = []
    for index, scene in enumerate(scenes):
        view = scene.view(fold)
        picture = new_picture(scene.name, view.shape, shared)
        for strip in map_fold(view, runtime, geometry):
            draw_on(picture, strip)
            for task in shared:
                _take(accumulators[task.name], task, strip, groups=groups.of(index, strip.rows))
        pictures.append(picture)
    results = tuple(accumulator.result() for accumulator in accumulators.values())
    if not any(found.pixel.n for found in results):
        raise InputError(
            f"no pixel of the {FOLD_NAMES[fold]} fold is both labelled and mapped; choose another"
            f" --fold"
        )
    return ModelEvaluation(
        model=bundle.name,
        digest=bundle.digest,
        label=label or bundle.path.name,
        fold=FOLD_NAMES[fold],
        unit=groups.unit,
        calibrated=calibration is not None,
        tasks=tuple(found for found in results if found.pixel.n),
        pictures=tuple(picture for picture in pictures if picture.rows_seen),
    )


def shared_tasks(bundle: Bundle, tasks: Sequence[Task]) -> list[Task]:
    """Return the model's tasks that the labels are of; refuse those that mean something else."""
    own = {task.name: task for task in bundle.manifest.tasks}
    shared = []
    for task in tasks:
        found = own.get(task.name)
        if found is None or task.kind not in _LABELLED:
            continue
        if found.kind is not task.kind or found.codes.tolist() != task.codes.tolist():
            raise MismatchError(
                f"task {task.name!r} of model {bundle.name!r} is {found.kind.value} with the codes"
                f" {found.codes.tolist()}, of the recipe {task.kind.value} with"
                f" {task.codes.tolist()}; evaluate it on a recipe with the same classes"
            )
        shared.append(found)
    if not shared:
        raise MismatchError(
            f"model {bundle.name!r} maps {', '.join(own)} and the recipe labels"
            f" {', '.join(task.name for task in tasks)}; they share no task"
        )
    return shared


class _Groups:
    """Blocks, stands and units of all scenes."""

    def __init__(self, scenes: Sequence[FoldScene]) -> None:
        self._blocks, self._stands = block_ids(scenes), stand_ids(scenes)
        self._units, self.unit = unit_ids(scenes)

    def of(self, scene: int, rows: slice) -> tuple[NDArray[np.int64], ...]:
        """Return ``(y, x)`` block, stand (0 = none) and unit (-1 = none) of some rows."""
        stands = self._stands[scene]
        blocks = self._blocks[scene][rows]
        own = np.zeros_like(blocks) if stands is None else stands[rows]
        return blocks, own, self._units[scene][rows]


def _take(
    accumulator: Accumulator,
    task: Task,
    strip: FoldStrip,
    *,
    groups: tuple[NDArray[np.int64], ...],
) -> None:
    target, values = strip.targets[task.name], strip.values[task.name]
    known = labelled(task, target)
    mapped = strip.valid & np.isfinite(values).all(axis=0)
    use = known & mapped
    block, stand, unit = (ids[use] for ids in groups)
    pixels = Pixels(target=target[use], values=values[:, use], block=block, stand=stand, unit=unit)
    accumulator.add(pixels, n_unmapped=int((known & ~mapped).sum()))


def _spans(
    tasks: Sequence[Task], scenes: Sequence[FoldScene], fold: int
) -> dict[str, tuple[float, float]]:
    """Return what the histograms of each continuous task cover: its range, else its labels'."""
    spans = {task.name: task.range for task in tasks if task.kind is Kind.CONTINUOUS}
    found: dict[str, list[float]] = {name: [] for name, span in spans.items() if span is None}
    for scene in scenes if found else ():
        view = scene.view(fold)
        for window in view.windows(max(view.shape)):
            targets = view.targets(window)
            for name, ends in found.items():
                known = targets[name][np.isfinite(targets[name])]
                if known.size:
                    ends.extend((float(known.min()), float(known.max())))
    result = {}
    for name, span in spans.items():
        low, high = span or (min(found[name], default=0.0), max(found[name], default=1.0))
        result[name] = (low, high) if high > low else (low - 0.5, low + 0.5)
    return result


def _unitless(found: TaskEvaluation, level: str) -> dict[str, float]:
    scores = found.scores(level)
    if found.task.kind is Kind.CATEGORICAL:
        return scores
    kept = {name: scores[name] for name in ("r2", "pearson", "rrmse")}
    if found.task.range is not None:
        width = found.task.range[1] - found.task.range[0]
        kept |= {f"{name}_of_range": scores[name] / width for name in ("rmse", "mae")}
    return kept


def _column_means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = [name for name in rows[0] if all(name in row for row in rows)]
    means = {}
    for name in names:
        known = [row[name] for row in rows if np.isfinite(row[name])]
        means[name] = float(np.mean(known)) if known else float("nan")
    return means

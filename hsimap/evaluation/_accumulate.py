"""Take the figures of a task while its strips stream by; memory grows with blocks, not pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from hsimap.evaluation._auc import RocBins, exact_auc
from hsimap.evaluation._calibration import reliability_sums
from hsimap.evaluation._detail import ClassDetail, Coverage, TaskEvaluation, ValueDetail
from hsimap.evaluation._groups import GroupSums
from hsimap.evaluation._scores import N_SUMS, value_sums
from hsimap.evaluation._tasks import score_blocks, score_task
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hsimap.bundle import Intervals
    from hsimap.evaluation._tasks import TaskScores
    from hsimap.tasks import Task

JOINT_BINS: Final = 100
"""Of the joint histogram of true and mapped values, along each axis."""
ERROR_BINS: Final = 4000
"""Of the histogram of errors, over plus and minus the width of the span."""
_LEAST_PROBABILITY: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Labelled and mapped pixels of one task."""

    target: NDArray[Any]
    """``(n,)`` channel index or value."""
    values: NDArray[np.float32]
    """``(channel, n)``."""
    block: NDArray[np.int64]
    """``(n,)``: block that standard errors are resampled over."""
    stand: NDArray[np.int64]
    """``(n,)``: stand, 0 = none."""
    unit: NDArray[np.int64]
    """``(n,)``: unit that calibration takes as exchangeable, -1 = none."""


class Accumulator(Protocol):
    """What the evaluation asks of one task."""

    def add(self, pixels: Pixels, *, n_unmapped: int) -> None:
        """Take some pixels in, and count labelled ones that were not mapped."""

    def result(self) -> TaskEvaluation:
        """Return the figures."""


class ClassAccumulator:
    """Figures of a categorical task.

    Parameters
    ----------
    task : Task
        The task.
    """

    def __init__(self, task: Task) -> None:
        n = task.channels
        self._task, self._n_unmapped = task, 0
        self._blocks, self._stands = GroupSums(n * n), GroupSums(3 * n)
        self._roc, self._reliability = (
            RocBins(n),
            reliability_sums(np.zeros((0, n)), np.zeros(0, np.int64)),
        )
        self._losses = np.zeros(3)

    def add(self, pixels: Pixels, *, n_unmapped: int) -> None:
        """See :class:`Accumulator`."""
        self._n_unmapped += n_unmapped
        target, p = pixels.target.astype(np.int64), pixels.values.astype(np.float64)
        if not target.size:
            return
        n, found = self._task.channels, p.argmax(axis=0)
        self._blocks.count(pixels.block, target * n + found)
        self._roc.add(target, pixels.values)
        self._reliability = self._reliability + reliability_sums(p.T, target)
        own = p[target, np.arange(target.size)]
        squares = (p**2).sum(axis=0) - 2 * own + 1
        terms = (target.size, -np.log(np.maximum(own, _LEAST_PROBABILITY)).sum(), squares.sum())
        self._losses += np.array(terms)
        inside = pixels.stand > 0
        if inside.any():
            classes = np.eye(n)
            votes = (classes[target[inside]], classes[found[inside]], p[:, inside].T)
            self._stands.add(pixels.stand[inside], np.concatenate(votes, axis=1))

    def result(self) -> TaskEvaluation:
        """See :class:`Accumulator`."""
        pixel = score_blocks(self._task, self._blocks.table(), n_unmapped=self._n_unmapped)
        area, error = self._roc.auc()
        n, nll, squares = self._losses
        detail = ClassDetail(
            auc=area,
            auc_error=error,
            reliability=self._reliability,
            nll=nll / n if n else float("nan"),
            brier=squares / n if n else float("nan"),
        )
        return TaskEvaluation(task=self._task, pixel=pixel, stand=self._by_stand(), detail=detail)

    def _by_stand(self) -> tuple[TaskScores, NDArray[np.float64]] | None:
        if not len(self._stands):
            return None
        target, found, p = np.split(self._stands.table(), 3, axis=1)
        true = target.argmax(axis=1)
        blocks = np.arange(len(true))
        scores = score_task(self._task, true, found.argmax(axis=1), blocks=blocks)
        return scores, exact_auc(true, (p / p.sum(axis=1, keepdims=True)).T)


class ValueAccumulator:
    """Figures of a continuous task.

    Parameters
    ----------
    task : Task
        The task.
    span : tuple of float
        What the histograms cover, in the task's unit; values beyond are counted at its ends.
    intervals : Intervals, optional
        Prediction intervals whose coverage is taken.
    """

    def __init__(
        self, task: Task, span: tuple[float, float], *, intervals: Intervals | None
    ) -> None:
        self._task, self._span, self._intervals, self._n_unmapped = task, span, intervals, 0
        self._blocks, self._stands = GroupSums(N_SUMS), GroupSums(3)
        self._joint = np.zeros((JOINT_BINS, JOINT_BINS))
        self._errors = np.zeros(ERROR_BINS)
        self._covered = {level: GroupSums(3) for level in intervals.levels} if intervals else {}

    def add(self, pixels: Pixels, *, n_unmapped: int) -> None:
        """See :class:`Accumulator`."""
        self._n_unmapped += n_unmapped
        t, p = pixels.target.astype(np.float64), pixels.values[0].astype(np.float64)
        if not t.size:
            return
        terms = np.stack([np.ones_like(t), t, p, t * t, p * p, (p - t) ** 2, np.abs(p - t)], axis=1)
        self._blocks.add(pixels.block, terms)
        low, high = self._span
        rows, cols = (_cells(v, low, high, JOINT_BINS) for v in (t, p))
        np.add.at(self._joint, (rows, cols), 1)
        cells = _cells(p - t, low - high, high - low, ERROR_BINS)
        self._errors += np.bincount(cells, minlength=ERROR_BINS)
        inside = pixels.stand > 0
        if inside.any():
            self._stands.add(pixels.stand[inside], terms[inside][:, :3])
        self._cover(t, pixels)

    def _cover(self, t: NDArray[np.float64], pixels: Pixels) -> None:
        known = pixels.unit >= 0
        for level, groups in self._covered.items():
            if self._intervals is None or not known.any():
                return
            bounds = self._intervals.bounds(
                pixels.values[0][known], level=level, clip=self._task.range
            )
            low, high = (bound.astype(np.float64) for bound in bounds)
            inside = (low <= t[known]) & (t[known] <= high)
            terms = (np.ones(len(low)), inside, high - low)
            groups.add(pixels.unit[known], np.stack(terms, axis=1))

    def result(self) -> TaskEvaluation:
        """See :class:`Accumulator`."""
        detail = ValueDetail(
            span=self._span,
            joint=self._joint,
            errors=self._errors,
            coverage={
                level: Coverage.of(groups.table()) for level, groups in self._covered.items()
            },
        )
        stand = None
        if len(self._stands):
            n, t, p = self._stands.table().T
            each = np.stack([value_sums(*pair) for pair in zip((t / n)[:, None], (p / n)[:, None],
                                                               strict=True)])  # fmt: skip
            stand = (score_blocks(self._task, each), np.stack([t / n, p / n]))
        pixel = score_blocks(self._task, self._blocks.table(), n_unmapped=self._n_unmapped)
        return TaskEvaluation(task=self._task, pixel=pixel, stand=stand, detail=detail)


def accumulator_of(
    task: Task, *, spans: Mapping[str, tuple[float, float]], intervals: Mapping[str, Intervals]
) -> Accumulator:
    """Return what takes the figures of a task."""
    if task.kind is Kind.CATEGORICAL:
        return ClassAccumulator(task)
    return ValueAccumulator(task, spans[task.name], intervals=intervals.get(task.name))


def _cells(values: NDArray[np.float64], low: float, high: float, n_bins: int) -> NDArray[np.int64]:
    """Return the bin of each value; those beyond the ends go to the end bins."""
    cells = np.floor((values - low) / (high - low) * n_bins).astype(np.int64)
    inside: NDArray[np.int64] = np.clip(cells, 0, n_bins - 1)
    return inside

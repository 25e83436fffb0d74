"""Scores of one task over a fold, with standard errors that know pixels are not independent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.evaluation._scores import class_counts, class_scores, value_scores, value_sums
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from hsimap.tasks import Task

_RESAMPLES: Final = 1000
_CHUNK: Final = 100
_ONE_SIGMA: Final = (0.158655, 0.841345)
"""Standard normal distribution function at -1 and 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScores:
    """How well one task was mapped over the labelled pixels (or stands) of a fold."""

    n: int
    """Pixels, or stands, compared."""
    n_unmapped: int
    """Labelled pixels that came out invalid; they are in no score."""
    scores: Mapping[str, float]
    """As :func:`class_scores` or :func:`value_scores` names them."""
    standard_errors: Mapping[str, float]
    """Of each score, by block bootstrap; NaN with fewer than two blocks."""
    confusion: tuple[tuple[int, ...], ...] | None
    """Rows = target, columns = predicted, in the order of the classes; None if continuous."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        record: dict[str, Any] = {"n": self.n, "n_unmapped": self.n_unmapped}
        record |= dict(self.scores)
        record["standard_error"] = dict(self.standard_errors)
        if self.confusion is not None:
            record["confusion"] = [list(row) for row in self.confusion]
        return record


def square_blocks(shape: tuple[int, int], *, size: int) -> NDArray[np.int64]:
    """Give each pixel the number of its square.

    Parameters
    ----------
    shape : tuple of int
        ``(height, width)`` in pixels.
    size : int
        Side of a square in pixels.

    Returns
    -------
    ndarray
        ``(y, x) int64``: index of the square that each pixel lies in.

    Examples
    --------
    >>> square_blocks((3, 4), size=2).tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]
    """
    rows, cols = np.arange(shape[0]) // size, np.arange(shape[1]) // size
    blocks: NDArray[np.int64] = rows[:, None] * (cols[-1] + 1) + cols[None, :]
    return blocks


def score_task(
    task: Task,
    target: NDArray[np.generic],
    predicted: NDArray[np.generic],
    *,
    blocks: NDArray[np.integer],
) -> TaskScores:
    """Compare a map with labels.

    Parameters
    ----------
    task : Task
        Categorical or continuous.
    target : ndarray
        Any shape: channel index with -1 = no label, or a value with NaN = no label.
    predicted : ndarray
        The same shape and form; -1 or NaN = invalid in the map.
    blocks : ndarray
        The same shape: index of the block of each pixel. Blocks are resampled whole, because
        neighbouring pixels repeat each other.

    Returns
    -------
    TaskScores
    """
    labelled, mapped = _known(task, target), _known(task, predicted)
    use = labelled & mapped
    t, p = target[use], predicted[use]
    _, block = np.unique(blocks[use], return_inverse=True)
    order = np.argsort(block, kind="stable")
    edges = np.cumsum(np.bincount(block))[:-1] if block.size else np.array([], dtype=np.int64)
    parts = zip(np.split(t[order], edges), np.split(p[order], edges), strict=True)
    statistics = np.stack([_statistics(task, *part) for part in parts])
    return score_blocks(task, statistics, n_unmapped=int((labelled & ~mapped).sum()))


def score_blocks(task: Task, statistics: NDArray[np.float64], *, n_unmapped: int = 0) -> TaskScores:
    """Return the scores of a task from the additive statistics of its blocks.

    Parameters
    ----------
    task : Task
        Categorical or continuous.
    statistics : ndarray
        ``(block, k)`` of :func:`class_counts` or :func:`value_sums`; at least one row.
    n_unmapped : int
        Labelled pixels that came out invalid.
    """
    total = statistics.sum(axis=0)
    confusion, n = None, total[0]
    if task.kind is Kind.CATEGORICAL:
        confusion = tuple(tuple(int(n) for n in row) for row in _square(total))
        n = total.sum()
    return TaskScores(
        n=int(n),
        n_unmapped=n_unmapped,
        scores={name: float(value) for name, value in _measure(task)(total).items()},
        standard_errors=block_bootstrap(statistics, _measure(task)),
        confusion=confusion,
    )


def score_stands(
    task: Task,
    target: NDArray[np.generic],
    predicted: NDArray[np.generic],
    *,
    stands: NDArray[np.integer],
) -> TaskScores:
    """Compare a map with labels stand by stand.

    A stand's value is the mean over its labelled pixels, its class the most frequent one. Stands
    are the units of the bootstrap.

    Parameters
    ----------
    task, target, predicted
        As in :func:`score_task`.
    stands : ndarray
        The same shape: stand id, 0 or less = none.
    """
    use = _known(task, target) & _known(task, predicted) & (stands > 0)
    ids, index = np.unique(stands[use], return_inverse=True)
    t, p = (_by_stand(task, values[use], index, len(ids)) for values in (target, predicted))
    return score_task(task, t, p, blocks=ids)


def block_bootstrap(
    statistics: NDArray[np.float64],
    measure: Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]],
    *,
    resamples: int = _RESAMPLES,
    seed: int = 0,
) -> dict[str, float]:
    """Estimate the standard error of scores by resampling blocks with replacement.

    Parameters
    ----------
    statistics : ndarray
        ``(block, k)`` additive statistics of each block.
    measure : callable
        Turns ``(..., k)`` summed statistics into named scores ``(...)``.
    resamples : int
        Number of resamples.
    seed : int
        Of the resampling.

    Returns
    -------
    dict
        Half the width of the central 68.3 % of the resamples, which is the standard deviation
        where they are normal and stays sound where few blocks make R² explode; NaN with fewer
        than two blocks.
    """
    n, rng = len(statistics), np.random.default_rng(seed)
    if n < 2:  # noqa: PLR2004  # one block has no spread
        return dict.fromkeys(measure(statistics.sum(axis=0)), float("nan"))
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, resamples, _CHUNK):
        times = rng.multinomial(n, np.full(n, 1 / n), size=min(_CHUNK, resamples - start))
        for name, values in measure(times @ statistics).items():
            drawn.setdefault(name, []).append(values)
    return {name: _spread(np.concatenate(values)) for name, values in drawn.items()}


def _spread(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    if finite.size < 2:  # noqa: PLR2004  # one resample has no spread
        return float("nan")
    low, high = np.quantile(finite, _ONE_SIGMA)
    return float(high - low) / 2


def _known(task: Task, values: NDArray[Any]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = values >= 0 if task.kind is Kind.CATEGORICAL else np.isfinite(values)
    return known


def _statistics(task: Task, target: NDArray[Any], predicted: NDArray[Any]) -> NDArray[np.float64]:
    if task.kind is Kind.CATEGORICAL:
        return class_counts(target, predicted, n_classes=task.channels)
    return value_sums(target, predicted)


def _measure(task: Task) -> Callable[[NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    if task.kind is Kind.CATEGORICAL:
        return lambda statistics: class_scores(_square(statistics))
    return value_scores


def _square(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    side = round(counts.shape[-1] ** 0.5)
    return counts.reshape(*counts.shape[:-1], side, side)


def _by_stand(task: Task, values: NDArray[Any], index: NDArray[np.integer], n: int) -> NDArray[Any]:
    if task.kind is not Kind.CATEGORICAL:
        means: NDArray[np.float64] = np.bincount(index, values, n) / np.bincount(index, minlength=n)
        return means
    votes = np.zeros((n, task.channels), dtype=np.int64)
    np.add.at(votes, (index, values), 1)
    majority: NDArray[np.int64] = votes.argmax(axis=1)
    return majority

"""Scores from additive statistics, so that they can be streamed, summed and resampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_SUMS: Final = 7
"""Numbers of :func:`value_sums`."""


def class_counts(
    target: NDArray[np.integer], predicted: NDArray[np.integer], *, n_classes: int
) -> NDArray[np.float64]:
    """Count pixels by class.

    Parameters
    ----------
    target, predicted : ndarray
        ``(n,)`` channel indices, 0 to ``n_classes - 1``.
    n_classes : int
        Number of classes.

    Returns
    -------
    ndarray
        ``(class * class,) float64``: the confusion matrix, rows = target, flattened.
    """
    cell = target.astype(np.int64) * n_classes + predicted
    return np.bincount(cell, minlength=n_classes * n_classes).astype(np.float64)


def value_sums(
    target: NDArray[np.floating], predicted: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Sum what the scores of a continuous task need.

    Parameters
    ----------
    target, predicted : ndarray
        ``(n,)`` values in physical units.

    Returns
    -------
    ndarray
        ``(7,) float64``: n, Σt, Σp, Σt², Σp², Σ(p - t)², Σ|p - t|.
    """
    t, p = target.astype(np.float64), predicted.astype(np.float64)
    error = p - t
    terms = (np.ones_like(t), t, p, t * t, p * p, error * error, np.abs(error))
    return np.array([term.sum() for term in terms])


def class_scores(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of confusion matrices.

    Parameters
    ----------
    counts : ndarray
        ``(..., class, class)`` counts, rows = target.

    Returns
    -------
    dict
        ``overall_accuracy``, ``balanced_accuracy`` and ``macro_f1``, each ``(...)``. The last two
        are means over the classes present in the target; NaN where there is no pixel.
    """
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    actual, claimed = counts.sum(axis=-1), counts.sum(axis=-2)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / actual
        f1 = np.where(actual > 0, 2 * hits / (actual + claimed), np.nan)
        overall = hits.sum(axis=-1) / actual.sum(axis=-1)
    present = np.maximum((actual > 0).sum(axis=-1), 1)
    empty = ~(actual > 0).any(axis=-1)
    means = {
        "balanced_accuracy": np.nansum(recall, axis=-1) / present,
        "macro_f1": np.nansum(f1, axis=-1) / present,
    }
    return {"overall_accuracy": overall} | {
        name: np.where(empty, np.nan, mean) for name, mean in means.items()
    }


def value_scores(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of a continuous task.

    Parameters
    ----------
    sums : ndarray
        ``(..., 7)`` sums of :func:`value_sums`.

    Returns
    -------
    dict
        ``r2`` (1 - residual / total sum of squares), ``rmse``, ``mae`` and ``bias`` (mean of
        predicted minus target), each ``(...)``; NaN where there is no pixel.
    """
    n, t, p, tt, _, squared, absolute = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = tt - t * t / n
        r2 = np.where(spread > 0, 1 - squared / spread, np.nan)
        return {"r2": r2, "rmse": np.sqrt(squared / n), "mae": absolute / n, "bias": (p - t) / n}

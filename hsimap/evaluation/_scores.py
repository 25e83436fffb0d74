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
        Each ``(...)``; NaN where there is no pixel.

        * ``overall_accuracy``: hits over pixels (arXiv 2407.16384, eq. 28).
        * ``balanced_accuracy``: mean recall, which is also the macro recall.
        * ``macro_accuracy``: mean of the classes' own accuracies, (TP + TN) / pixels (eq. 29).
        * ``macro_precision``, ``macro_f1``: means over the classes; a class that is never
          predicted has precision 0.
        * ``weighted_precision``, ``weighted_f1``: the same, weighted by the target's pixels; the
          weighted recall is the overall accuracy.
        * ``kappa``: Cohen's; NaN where target and prediction are one and the same class.

        Means run over the classes present in the target.
    """
    hits, actual, claimed = _margins(counts)
    total = actual.sum(axis=-1)
    each = class_table(counts)
    present = actual > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        overall = hits.sum(axis=-1) / total
        share = actual / total[..., None]
        own = 1 - (actual + claimed - 2 * hits) / total[..., None]
        chance = (actual * claimed).sum(axis=-1) / total**2
        kappa = np.where(chance < 1, (overall - chance) / (1 - chance), np.nan)

    def macro(values: NDArray[np.float64]) -> NDArray[np.float64]:
        n = np.maximum(present.sum(axis=-1), 1)
        mean = np.where(present, values, 0).sum(axis=-1) / n
        return np.where(total > 0, mean, np.nan)

    def weighted(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(total > 0, np.where(present, share * values, 0).sum(axis=-1), np.nan)

    return {
        "overall_accuracy": overall,
        "balanced_accuracy": macro(each["recall"]),
        "macro_accuracy": macro(own),
        "macro_precision": macro(each["precision"]),
        "macro_f1": macro(each["f1"]),
        "weighted_precision": weighted(each["precision"]),
        "weighted_f1": weighted(each["f1"]),
        "kappa": kappa,
    }


def class_table(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return precision, recall and F1 of every class (arXiv 2407.16384, eq. 25 to 27).

    Parameters
    ----------
    counts : ndarray
        ``(..., class, class)`` counts, rows = target.

    Returns
    -------
    dict
        ``precision`` (0 where the class is never predicted), ``recall`` and ``f1``, each
        ``(..., class)``; all NaN where the target has no pixel of the class.
    """
    hits, actual, claimed = _margins(counts)
    present = actual > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(claimed > 0, hits / claimed, 0.0)
        found = {
            "precision": precision,
            "recall": hits / actual,
            "f1": 2 * hits / (actual + claimed),
        }
    return {name: np.where(present, values, np.nan) for name, values in found.items()}


def normalise_confusion(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows of a confusion matrix as shares of the target's pixels; NaN without any."""
    with np.errstate(invalid="ignore"):
        shares: NDArray[np.float64] = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def value_scores(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the scores of a continuous task.

    Parameters
    ----------
    sums : ndarray
        ``(..., 7)`` sums of :func:`value_sums`.

    Returns
    -------
    dict
        ``r2`` (1 - residual / total sum of squares), ``rmse``, ``mae``, ``bias`` (mean of
        predicted minus target), ``rrmse`` (RMSE over the mean of the target) and ``pearson``
        (correlation coefficient), each ``(...)``; NaN where there is no pixel.
    """
    n, t, p, tt, pp, squared, absolute = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread, found = tt - t * t / n, pp - p * p / n
        # 2 cov(t, p) = var(t) + var(p) - var(p - t), all times n.
        joint = (spread + found - (squared - (p - t) ** 2 / n)) / 2
        norm = np.sqrt(np.maximum(spread, 0) * np.maximum(found, 0))
        rmse = np.sqrt(squared / n)
        return {
            "r2": np.where(spread > 0, 1 - squared / spread, np.nan),
            "rmse": rmse,
            "mae": absolute / n,
            "bias": (p - t) / n,
            "rrmse": np.where(t != 0, rmse / np.abs(t / n), np.nan),
            "pearson": np.where(norm > 0, np.clip(joint / norm, -1, 1), np.nan),
        }


def _margins(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return hits, pixels of the target and pixels of the prediction, ``(..., class)`` each."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return hits, counts.sum(axis=-1), counts.sum(axis=-2)

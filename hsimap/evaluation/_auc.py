"""Area under the ROC curve from histograms, so that memory does not grow with the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS: Final = 4096
_LARGEST_LOGIT: Final = 16.0
"""Probabilities nearer to 0 or 1 than 1.1e-7, float32's resolution at 1, share a bin."""


class RocBins:
    """One-vs-rest histograms of class probabilities: 4096 bins of equal width in the logit.

    Pixels of one bin are counted as ties. What that can cost is bounded by :meth:`auc` itself.

    Parameters
    ----------
    n_classes : int
        Number of classes.
    """

    def __init__(self, n_classes: int) -> None:
        self._n = n_classes
        self._counts = np.zeros((2, n_classes, _BINS))

    def add(self, target: NDArray[np.integer], probabilities: NDArray[np.floating]) -> None:
        """Add ``(n,)`` channel indices and ``(class, n)`` probabilities."""
        cells = _bin(probabilities)
        for channel in range(self._n):
            own = target == channel
            self._counts[1, channel] += np.bincount(cells[channel][own], minlength=_BINS)
            self._counts[0, channel] += np.bincount(cells[channel][~own], minlength=_BINS)

    def auc(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the area of each class against the rest, and the largest error of each.

        Returns
        -------
        area : ndarray
            ``(class,)``; NaN for a class without pixels, or without pixels of other classes.
        error : ndarray
            ``(class,)``: half the share of pairs that fall into one bin; the exact area is no
            farther off.
        """
        others, own = self._counts
        n_pairs = own.sum(axis=1) * others.sum(axis=1)
        below = np.cumsum(others, axis=1) - others
        with np.errstate(invalid="ignore"):
            area = (own * (below + others / 2)).sum(axis=1) / n_pairs
            error = (own * others).sum(axis=1) / 2 / n_pairs
        return area, error


def exact_auc(
    target: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return the area of each class against the rest, ties counted half.

    Parameters
    ----------
    target : ndarray
        ``(n,)`` channel indices.
    probabilities : ndarray
        ``(class, n)``.

    Returns
    -------
    ndarray
        ``(class,)``; NaN for a class without members or without others.
    """
    areas = np.full(len(probabilities), np.nan)
    for channel, scores in enumerate(probabilities):
        own = np.sort(scores[target == channel])
        others = np.sort(scores[target != channel])
        if own.size and others.size:
            below = np.searchsorted(others, own, side="left")
            upto = np.searchsorted(others, own, side="right")
            areas[channel] = (below + upto).sum() / (2 * own.size * others.size)
    return areas


def _bin(probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    p = probabilities.astype(np.float64)
    with np.errstate(divide="ignore"):
        logit = np.log(p) - np.log1p(-np.minimum(p, 1.0))
    scaled = (np.clip(logit, -_LARGEST_LOGIT, _LARGEST_LOGIT) / _LARGEST_LOGIT + 1) / 2
    cells: NDArray[np.int64] = np.minimum((scaled * _BINS).astype(np.int64), _BINS - 1)
    return cells

"""Split-conformal intervals and temperatures, calibrated on stands or blocks and not on pixels.

Pixels of a stand repeat each other, so that they are not exchangeable with those of another
stand; stands are. Each pixel of calibration stand k, which holds n_k of them, has the weight
1 / n_k, and the stand to come has the weight 1 at infinity. The half width is the smallest residual
at which the weights reach the level (hierarchical conformal prediction, Lee, Barber and Willett
2023, arXiv 2306.06342; earlier Dunn, Wasserman and Ramdas 2023, arXiv 1809.07441). With one pixel a
stand it is the usual split-conformal quantile, the ceil((K + 1) level)-th smallest of K residuals
(Lei et al. 2018, JASA 113).

The same is done in each bin of the mapped value, with the weights of the pixels in that bin. The
guarantee holds there too: of K + 1 exchangeable stands, in no order, the pixel that is asked for is
pixel i of stand k with a probability proportional to 1 / n_k among those in the bin, and the weight
of its own stand in the bin is at most the 1 that stands at infinity. So a pixel of a random new
stand is covered with at least the level's probability, for any K; the edges, which are quantiles of
the same mapped values, are taken as fixed.

Temperatures: Guo et al. 2017, arXiv 1706.04599.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.optimize import minimize_scalar

from hsimap.bundle import Intervals, Sharpness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LEVELS: Final = (80, 90, 95)
"""Percent."""
ECE_BINS: Final = 15
"""Equal bins of the highest probability, as Guo et al. have."""
_MOST_BINS: Final = 5
_UNITS_A_BIN: Final = 60
"""At least: the weight at infinity makes n units a bin cover up to level / n more than the level,
which are 1.5 points at 90 %."""
_PIXELS_A_UNIT: Final = 256
"""At most; drawn at random, so that a large stand costs no more than this."""
_ROUNDING: Final = 1e-12
_LEAST_PROBABILITY: Final = 1e-12
_LOG_TEMPERATURE: Final = (-3.0, 3.0)


class UnitSample:
    """Pixels of a fold, at most 256 a unit, drawn at random while the strips stream by.

    Parameters
    ----------
    columns : int
        Numbers kept of a pixel.
    seed : int
        Of the draw.
    """

    def __init__(self, columns: int, *, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._rows = np.zeros((0, columns))
        self._units = np.zeros(0, dtype=np.int64)
        self._keys = np.zeros(0)

    def add(self, units: NDArray[np.integer], rows: NDArray[np.floating]) -> None:
        """Add ``(n, columns)`` numbers of pixels of the ``(n,)`` units."""
        self._rows = np.concatenate([self._rows, rows])
        self._units = np.concatenate([self._units, units])
        self._keys = np.concatenate([self._keys, self._rng.random(len(units))])
        order = np.lexsort((self._keys, self._units))
        sorted_units = self._units[order]
        first = np.searchsorted(sorted_units, sorted_units, side="left")
        kept = order[np.arange(len(order)) - first < _PIXELS_A_UNIT]
        self._rows, self._units, self._keys = self._rows[kept], self._units[kept], self._keys[kept]

    def pixels(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return ``(n,)`` units and ``(n, columns)`` numbers."""
        return self._units, self._rows


def unit_weights(units: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return ``(n,)`` weights that add up to 1 in each unit.

    Examples
    --------
    >>> unit_weights(np.array([7, 7, 9])).tolist()
    [0.5, 0.5, 1.0]
    """
    _, index, count = np.unique(units, return_inverse=True, return_counts=True)
    weights: NDArray[np.float64] = 1.0 / count[index]
    return weights


def conformal_quantile(
    residuals: NDArray[np.floating], weights: NDArray[np.floating], *, level: float
) -> float:
    """Return the half width that covers a pixel of a new unit with probability ``level``.

    Parameters
    ----------
    residuals : ndarray
        ``(n,)`` absolute residuals of calibration pixels.
    weights : ndarray
        ``(n,)``: one over the pixels of the unit that each lies in.
    level : float
        Between 0 and 1.

    Returns
    -------
    float
        Infinite where the weights add up to less than level / (1 - level) units.

    Examples
    --------
    >>> conformal_quantile(np.arange(1.0, 10.0), np.ones(9), level=0.9)
    9.0
    >>> conformal_quantile(np.arange(1.0, 9.0), np.ones(8), level=0.9)
    inf
    """
    order = np.argsort(residuals, kind="stable")
    wanted = level * (weights.sum() + 1)
    # Rounding of the sum must not cost a rank.
    index = int(np.searchsorted(np.cumsum(weights[order]), wanted * (1 - _ROUNDING)))
    return float(residuals[order[index]]) if index < len(order) else float("inf")


def fit_intervals(
    predicted: NDArray[np.floating],
    target: NDArray[np.floating],
    units: NDArray[np.integer],
    *,
    levels: Sequence[int] = LEVELS,
) -> Intervals | None:
    """Calibrate the intervals of a continuous task, bin by bin of the mapped value.

    Parameters
    ----------
    predicted, target : ndarray
        ``(n,)`` mapped and true values of calibration pixels.
    units : ndarray
        ``(n,)``: the unit that each pixel lies in.
    levels : sequence of int
        In percent; one that the number of units does not reach is left out.

    Returns
    -------
    Intervals or None
        With as many bins, up to 5, as leave 60 units to each. None where no level is reached.
    """
    residuals = np.abs(np.asarray(predicted, np.float64) - target)
    weights = unit_weights(units)
    edges = _choose_edges(predicted, weights)
    cells = np.searchsorted(edges, predicted, side="right")
    bins = [cells == k for k in range(len(edges) + 1)]
    widths: dict[str, tuple[float, ...]] = {}
    for level in levels:
        found = [conformal_quantile(residuals[b], weights[b], level=level / 100) for b in bins]
        if np.isfinite(found).all():
            widths[str(level)] = tuple(found)
    if not widths:
        return None
    held = tuple(round(float(weights[b].sum()), 3) for b in bins)
    return Intervals(edges=tuple(edges.tolist()), half_widths=widths, units=held)


def _choose_edges(
    predicted: NDArray[np.floating], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the inner edges of the most bins of like weight that hold enough units each."""
    order = np.argsort(predicted, kind="stable")
    exact, reached = np.asarray(predicted, np.float64)[order], np.cumsum(weights[order])
    for n_bins in range(_MOST_BINS, 1, -1):
        wanted = reached[-1:] * np.arange(1, n_bins) / n_bins
        edges = np.unique(exact[np.searchsorted(reached, wanted)]) if len(order) else exact
        cells = np.searchsorted(edges, predicted, side="right")
        held = np.bincount(cells, weights, len(edges) + 1)
        if len(edges) == n_bins - 1 and held.min() >= _UNITS_A_BIN:
            return edges
    return np.zeros(0)


def fit_temperature(
    probabilities: NDArray[np.floating],
    target: NDArray[np.integer],
    units: NDArray[np.integer],
) -> tuple[float, Sharpness]:
    """Find the temperature with the least negative log-likelihood; every unit counts once.

    Parameters
    ----------
    probabilities : ndarray
        ``(n, class)``, given with temperature 1. Their logarithms serve as logits, from which they
        differ by a constant a pixel.
    target : ndarray
        ``(n,)`` channel indices.
    units : ndarray
        ``(n,)``: the unit that each pixel lies in.

    Returns
    -------
    temperature : float
        From 0.05 to 20; above 1 where the network is too sure.
    sharpness : Sharpness
        Likelihood and calibration error before and after, on these very pixels.
    """
    logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST_PROBABILITY))
    weights = unit_weights(units)
    weights /= weights.sum()
    rows = np.arange(len(target))

    def nll(log_temperature: float) -> float:
        scaled = _log_softmax(logits / np.exp(log_temperature))
        return float(-(weights * scaled[rows, target]).sum())

    found = minimize_scalar(nll, bounds=_LOG_TEMPERATURE, method="bounded", options={"xatol": 1e-5})
    temperature = float(np.exp(found.x)) if found.fun < nll(0.0) else 1.0
    cooled = np.exp(_log_softmax(logits / temperature))
    return temperature, Sharpness(
        units=len(np.unique(units)),
        nll_before=nll(0.0),
        nll_after=nll(float(np.log(temperature))),
        ece_before=calibration_error(np.exp(logits), target, weights=weights),
        ece_after=calibration_error(cooled, target, weights=weights),
    )


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def reliability_sums(
    probabilities: NDArray[np.floating],
    target: NDArray[np.integer],
    *,
    weights: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Sum, by bin of the highest probability, what a reliability diagram is drawn from.

    Parameters
    ----------
    probabilities : ndarray
        ``(n, class)``.
    target : ndarray
        ``(n,)`` channel indices.
    weights : ndarray, optional
        ``(n,)``; 1 by default.

    Returns
    -------
    ndarray
        ``(bin, 3)``: weight, sum of the highest probability, hits; 15 bins from 0 to 1, each with
        its upper end. Additive.
    """
    highest = probabilities.max(axis=1)
    hits = probabilities.argmax(axis=1) == target
    cells = np.clip(np.ceil(highest * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    ones = np.ones(len(target)) if weights is None else weights
    terms = (ones, ones * highest, ones * hits)
    return np.stack([np.bincount(cells, term, ECE_BINS) for term in terms], axis=1)


def error_of_sums(sums: NDArray[np.float64]) -> float:
    """Return the expected calibration error of :func:`reliability_sums`; NaN without a pixel."""
    weight, sure, hits = sums.T
    total = weight.sum()
    return float(np.abs(hits - sure).sum() / total) if total else float("nan")


def calibration_error(
    probabilities: NDArray[np.floating],
    target: NDArray[np.integer],
    *,
    weights: NDArray[np.floating] | None = None,
) -> float:
    """Return the expected calibration error of the highest probability over 15 equal bins."""
    return error_of_sums(reliability_sums(probabilities, target, weights=weights))

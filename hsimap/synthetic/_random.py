"""Randomness as a function of position, so that any block of a scene can be made on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_STEP: Final = 0x9E3779B97F4A7C15
_MIX: Final = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MASK: Final = (1 << 64) - 1


def uniform(*keys: ArrayLike) -> NDArray[np.float64]:
    """Return numbers in (0, 1) that depend on the keys and on nothing else.

    The mixing function is the finaliser of SplitMix64 (Steele, Lea & Flood 2014, OOPSLA).

    Parameters
    ----------
    *keys : array_like of int
        Integers that broadcast together: seed, stream, row, column...

    Returns
    -------
    ndarray
        float64, of the broadcast shape.
    """
    state = np.zeros((), dtype=np.uint64)
    for key in keys:
        state = _mix(state + np.uint64(_STEP) + np.asarray(key, dtype=np.int64).astype(np.uint64))
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def normal(*keys: ArrayLike) -> NDArray[np.float64]:
    """Return standard normal numbers that depend on the keys and on nothing else."""
    values: NDArray[np.float64] = ndtri(uniform(*keys))
    return values


def smooth_noise(
    rows: NDArray[np.floating], cols: NDArray[np.floating], *, step: float, keys: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return noise that varies over ``step``, of mean 0 and standard deviation about 1.

    Parameters
    ----------
    rows, cols : ndarray
        Coordinates, of one shape; any real numbers.
    step : float
        Distance between independent values, in the unit of the coordinates.
    keys : tuple of int
        Seed and stream.

    Returns
    -------
    ndarray
        float64, of the coordinates' shape: standard normal lattice values, joined by cubic weights.
    """
    row, col = rows / step, cols / step
    top, left = np.floor(row), np.floor(col)
    nodes, place = _lattice(top, left, keys)
    down, right = _ease(row - top), _ease(col - left)
    i, j = place
    upper = nodes[i, j] * (1 - right) + nodes[i, j + 1] * right
    lower = nodes[i + 1, j] * (1 - right) + nodes[i + 1, j + 1] * right
    # Mean square of the weights over a cell is (26/35)^2: undone, so that the sd is about 1.
    values: NDArray[np.float64] = (upper * (1 - down) + lower * down) * (35 / 26)
    return values


def _lattice(
    top: NDArray[np.float64], left: NDArray[np.float64], keys: tuple[int, ...]
) -> tuple[NDArray[np.float64], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    i, j = top.astype(np.int64), left.astype(np.int64)
    if not i.size:
        return np.zeros((2, 2)), (i, j)
    first, last = (int(i.min()), int(j.min())), (int(i.max()) + 2, int(j.max()) + 2)
    rows = np.arange(first[0], last[0])[:, None]
    cols = np.arange(first[1], last[1])[None, :]
    return normal(*keys, rows, cols), (i - first[0], j - first[1])


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX[0])
        state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX[1])
    return np.asarray(state ^ (state >> np.uint64(31)), dtype=np.uint64)


def _ease(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return share * share * (3 - 2 * share)

"""Deal units out to the folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hsimap.errors import InputError
from hsimap.labels._specs import NO_FOLD, TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from numpy.typing import NDArray


def deal(
    counts: NDArray[Any], shares: tuple[float, float, float], *, seed: int, what: str
) -> NDArray[np.uint8]:
    """Deal units out to the folds in random order, each to the fold that is furthest behind.

    A fold that has none yet comes first, so that each has one; no fold gets more than its share
    by more than one unit.

    Parameters
    ----------
    counts : ndarray
        ``(unit,)``: weight of each; a unit of weight 0 is in no fold.
    shares : tuple of float
        Of training, validation and test.
    seed : int
        Fixes the order.
    what : str
        What the units are called in errors.

    Returns
    -------
    ndarray
        ``(unit,) uint8`` fold codes.

    Raises
    ------
    InputError
        If there are fewer units than folds.
    """
    wanted = [i for i in range(3) if shares[i] > 0]
    units = np.flatnonzero(counts)
    if len(units) < len(wanted):
        raise InputError(f"{len(units)} {what} cannot fill {len(wanted)} folds; use smaller blocks")
    folds = np.full(len(counts), NO_FOLD, np.uint8)
    dealt = dict.fromkeys(wanted, 0.0)
    for unit in np.random.default_rng(seed).permutation(units):
        fold = min(wanted, key=lambda i: (dealt[i] / shares[i], -shares[i]))
        dealt[fold] += float(counts[unit])
        folds[unit] = (TRAIN, VALIDATION, TEST)[fold]
    return folds

"""Sums by group (block or stand), taken while a scene streams by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class GroupSums:
    """One vector of sums a group; its memory grows with the groups and not with the pixels.

    Parameters
    ----------
    size : int
        Numbers of a vector.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._sums: dict[int, NDArray[np.float64]] = {}

    def add(self, groups: NDArray[np.integer], terms: NDArray[np.floating]) -> None:
        """Add ``(n, size)`` terms to the groups that ``(n,)`` ids name."""
        ids, index = np.unique(groups, return_inverse=True)
        found = np.zeros((len(ids), self._size))
        for column in range(self._size):
            found[:, column] = np.bincount(index, terms[:, column], len(ids))
        self._merge(ids, found)

    def count(self, groups: NDArray[np.integer], cells: NDArray[np.integer]) -> None:
        """Count ``(n,)`` cells, 0 to ``size - 1``, in the groups that ``(n,)`` ids name."""
        ids, index = np.unique(groups, return_inverse=True)
        flat = index.astype(np.int64) * self._size + cells
        found = np.bincount(flat, minlength=len(ids) * self._size).astype(np.float64)
        self._merge(ids, found.reshape(len(ids), self._size))

    def _merge(self, ids: NDArray[np.integer], found: NDArray[np.float64]) -> None:
        for group, sums in zip(ids.tolist(), found, strict=True):
            known = self._sums.get(group)
            self._sums[group] = sums if known is None else known + sums

    def table(self) -> NDArray[np.float64]:
        """Return ``(group, size)``, in the order of the ids; at least one row, of zeros."""
        if not self._sums:
            return np.zeros((1, self._size))
        return np.stack([self._sums[group] for group in sorted(self._sums)])

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._sums)

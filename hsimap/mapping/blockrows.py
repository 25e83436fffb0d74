"""Decode each row of a raster's blocks once, whatever windows are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hsimap.geometry import Window, clear_outside, round_up
from hsimap.scenes import Quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.mapping.adapter import SceneAdapter


class BlockRows:
    """Windows of a scene; what their blocks hold for the tile row below is kept.

    A row of tiles shares its lowest row of blocks with the next one: read window by window, it
    would be decoded twice or more. Each tile row asks for the same columns.

    Parameters
    ----------
    adapter : SceneAdapter
        Where the pixels come from.
    kept : int
        Rows from one tile row to the next, in pixels.
    """

    def __init__(self, adapter: SceneAdapter, kept: int) -> None:
        self._adapter, self._kept = adapter, kept
        self._below: dict[tuple[int, int], _Rows] = {}
        self.n_bands, self.dtype = adapter.n_bands, adapter.dtype

    @property
    def network_bands(self) -> int:
        """Bands that the network takes."""
        return self._adapter.network_bands

    @property
    def is_stored(self) -> bool:
        """Whether a runtime takes the samples as they are stored."""
        return self._adapter.is_stored

    def read_flagged(
        self, window: Window, out: NDArray[np.generic]
    ) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """Fill ``out``, ``(band, y, x)``, with stored values; return it and ``(y, x)`` flags.

        What lies outside the scene is 0 and ``NO_DATA``.
        """
        height, width = self._adapter.shape
        inside = window.clip(height=height, width=width)
        flags = np.full((window.height, window.width), Quality.NO_DATA, np.uint8)
        clear_outside(out, inside.shift(rows=-window.row, cols=-window.col).slices)
        if inside.is_empty:
            return out, flags
        target = inside.shift(rows=-window.row, cols=-window.col).slices
        shown = _Rows(inside.row, out[(..., *target)], flags[target])
        after = self._fill(shown, inside)
        self._below[inside.col, inside.width] = _joined(shown, after, window.row + self._kept)
        return out, flags

    def to_network(
        self, values: NDArray[np.generic], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Convert as :meth:`SceneAdapter.to_network` does."""
        return self._adapter.to_network(values, out)

    def _fill(self, shown: _Rows, inside: Window) -> _Rows:
        """Fill the rows of a window; return those below it that their blocks hold as well."""
        start, bottom = shown.start, shown.end
        before = self._below.pop((inside.col, inside.width), None)
        if before is not None and before.start <= start < before.end:
            shown.take(before)
            start = before.end
            if start >= bottom:
                return before.part(bottom, start)
        end = min(round_up(bottom, self._adapter.storage.block[0]), self._adapter.shape[0])
        if not self._adapter.storage.keeps:
            fresh = self._read(start, end, inside)
            shown.take(fresh)
            return fresh.part(bottom, end)
        self._read(start, bottom, inside, shown.part(start, bottom))
        return self._read(bottom, end, inside)

    def _read(self, start: int, end: int, inside: Window, room: _Rows | None = None) -> _Rows:
        """Read rows of a window's columns, if given into ``room``."""
        rows = Window(row=start, col=inside.col, height=end - start, width=inside.width)
        if room is None:
            shape = (self.n_bands, rows.height, rows.width)
            room = _Rows(start, np.empty(shape, self.dtype), np.empty(shape[1:], np.uint8))
        if not rows.is_empty:
            room.flags[...] = self._adapter.read_flagged(rows, room.values)[1]
        return room


class _Rows:
    """Decoded rows of some columns."""

    def __init__(self, start: int, values: NDArray[np.generic], flags: NDArray[np.uint8]) -> None:
        self.start, self.values, self.flags = start, values, flags

    @property
    def end(self) -> int:
        return self.start + len(self.flags)

    def part(self, start: int, end: int) -> _Rows:
        """Return some of the rows, in the same memory."""
        rows = slice(start - self.start, end - self.start)
        return _Rows(start, self.values[:, rows], self.flags[rows])

    def take(self, other: _Rows) -> None:
        """Copy the rows that others hold, too."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        mine, theirs = self.part(start, end), other.part(start, end)
        mine.values[...], mine.flags[...] = theirs.values, theirs.flags


def _joined(shown: _Rows, after: _Rows, row: int) -> _Rows:
    """Return the rows from ``row`` on as a copy, so that the rest can go."""
    above = shown.part(min(max(row, shown.start), shown.end), shown.end)
    row = min(max(row, above.start), after.end)
    below = after.part(max(row, after.start), after.end)
    values = np.concatenate([above.values, below.values], axis=1)
    return _Rows(row, values, np.concatenate([above.flags, below.flags]))

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
        parts = self._rows(inside)
        for rows in parts:
            part = rows.overlap(inside)
            own = slice(part.row - rows.start, part.row - rows.start + part.height)
            target = part.shift(rows=-window.row, cols=-window.col).slices
            out[(..., *target)] = rows.values[:, own]
            flags[target] = rows.flags[own]
        self._below[inside.col, inside.width] = _joined(parts, window.row + self._kept)
        return out, flags

    def to_network(
        self, values: NDArray[np.generic], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Convert as :meth:`SceneAdapter.to_network` does."""
        return self._adapter.to_network(values, out)

    def _rows(self, inside: Window) -> list[_Rows]:
        """Return the rows of a window and of its lowest blocks, those that were kept first."""
        parts = []
        start, bottom = inside.row, inside.row + inside.height
        before = self._below.pop((inside.col, inside.width), None)
        if before is not None and before.start <= start < before.end:
            parts.append(before)
            start = before.end
        if start < bottom:
            end = min(round_up(bottom, self._adapter.storage.block[0]), self._adapter.shape[0])
            fresh = Window(row=start, col=inside.col, height=end - start, width=inside.width)
            room = np.empty((self.n_bands, fresh.height, fresh.width), self.dtype)
            parts.append(_Rows(start, *self._adapter.read_flagged(fresh, room)))
        return parts


class _Rows:
    """Decoded rows of some columns."""

    def __init__(self, start: int, values: NDArray[np.generic], flags: NDArray[np.uint8]) -> None:
        self.start, self.values, self.flags = start, values, flags

    @property
    def end(self) -> int:
        return self.start + len(self.flags)

    def overlap(self, window: Window) -> Window:
        """Return the rows of a window that are among these."""
        top = min(max(window.row, self.start), self.end)
        bottom = max(min(window.row + window.height, self.end), top)
        return Window(row=top, col=window.col, height=bottom - top, width=window.width)


def _joined(parts: list[_Rows], row: int) -> _Rows:
    """Return the rows from ``row`` on as a copy, so that the rest can go."""
    row = min(max(row, parts[0].start), parts[-1].end)
    cuts = [max(row - part.start, 0) for part in parts]
    values = [part.values[:, cut:] for part, cut in zip(parts, cuts, strict=True)]
    flags = [part.flags[cut:] for part, cut in zip(parts, cuts, strict=True)]
    return _Rows(row, np.concatenate(values, axis=1), np.concatenate(flags))

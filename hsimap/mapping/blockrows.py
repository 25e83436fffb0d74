"""Decode each row of a raster's blocks once, whatever windows are asked for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.geometry import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.mapping.adapter import SceneAdapter

_PIECE_BYTES: Final = 96 << 20
"""Decoded at a time; the file library holds it beside the rows that are kept."""


class BlockRows:
    """Windows of a scene whose blocks are kept, decoded, as long as a later window needs them.

    Windows must not go back up by more than a tile row. A row of tiles shares its last rows of
    blocks with the next one; read window by window, they would be decoded twice or more.

    Parameters
    ----------
    adapter : SceneAdapter
        Where the pixels come from.
    """

    def __init__(self, adapter: SceneAdapter) -> None:
        self._adapter, self._block, self._shape = adapter, adapter.storage.block, adapter.shape
        self._rows: deque[_Rows] = deque()
        self.n_bands, self.dtype = adapter.n_bands, adapter.dtype

    def read(
        self, window: Window, out: NDArray[np.generic]
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Fill ``out``, ``(band, y, x)``, with stored values; return it and ``(y, x)`` validity.

        What lies outside the scene is 0 and invalid.
        """
        height, width = self._shape
        inside = window.clip(height=height, width=width)
        self._keep(inside)
        valid = np.zeros((window.height, window.width), dtype=bool)
        if (inside.height, inside.width) != (window.height, window.width):
            out[...] = 0
        columns = slice(inside.col, inside.col + inside.width)
        for rows in self._rows:
            part = rows.overlap(inside)
            if part.height:
                own = slice(part.row - rows.start, part.row - rows.start + part.height)
                target = part.shift(rows=-window.row, cols=-window.col).slices
                out[(..., *target)] = rows.values[:, own, columns]
                valid[target] = rows.valid[own, columns]
        return out, valid

    def to_network(
        self, values: NDArray[np.generic], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Convert as :meth:`SceneAdapter.to_network` does."""
        return self._adapter.to_network(values, out)

    def _keep(self, inside: Window) -> None:
        """Drop what lies above a window and decode what is missing of it."""
        if self._rows and not self._rows[0].start <= inside.row <= self._rows[-1].end:
            self._rows.clear()
        while self._rows and self._rows[0].end <= inside.row:
            self._rows.popleft()
        if self._rows:
            self._rows[0] = self._rows[0].below(inside.row)
        step = self._block[0]
        start = self._rows[-1].end if self._rows else inside.row // step * step
        while start < inside.row + inside.height:
            end = min(start // step * step + step, self._shape[0])
            self._rows.append(self._decode(start, end))
            start = end

    def _decode(self, start: int, end: int) -> _Rows:
        width = self._shape[1]
        values = np.empty((self.n_bands, end - start, width), self.dtype)
        valid = np.empty((end - start, width), dtype=bool)
        column = values.itemsize * self.n_bands * (end - start)
        step = max(_PIECE_BYTES // column // self._block[1], 1) * self._block[1]
        for first in range(0, width, step):
            last = min(first + step, width)
            window = Window(row=start, col=first, height=end - start, width=last - first)
            _, valid[:, first:last] = self._adapter.read(window, values[:, :, first:last])
        return _Rows(start, values, valid)


class _Rows:
    """Decoded rows of a scene, over its whole width."""

    def __init__(self, start: int, values: NDArray[np.generic], valid: NDArray[np.bool_]) -> None:
        self.start, self.values, self.valid = start, values, valid

    @property
    def end(self) -> int:
        return self.start + len(self.valid)

    def overlap(self, window: Window) -> Window:
        """Return the rows of a window that are among these."""
        top = max(window.row, self.start)
        bottom = max(min(window.row + window.height, self.end), top)
        return Window(row=top, col=window.col, height=bottom - top, width=window.width)

    def below(self, row: int) -> _Rows:
        """Return the rows from ``row`` on, as a copy if that frees half of the memory or more."""
        gone = row - self.start
        if 2 * gone < self.values.shape[1]:
            return self
        return _Rows(row, self.values[:, gone:].copy(), self.valid[gone:].copy())

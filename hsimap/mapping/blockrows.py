"""Decode each row of a raster's blocks once, whatever windows are asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.geometry import Window, clear_outside, round_up
from hsimap.scenes import Quality

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.mapping.adapter import SceneAdapter

_READERS: Final = 2
"""Columns of blocks that are read side by side: one is looked at while the next is decoded."""


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
        self._free: list[NDArray[np.generic]] = []
        self._pool: ThreadPoolExecutor | None = None
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
        target = inside.shift(rows=-window.row, cols=-window.col).slices
        clear_outside(out, target)
        if not inside.is_empty:
            shown = _Rows(inside, out[(..., *target)], flags[target])
            self._below[inside.col, inside.width] = self._fill(shown, window)
        return out, flags

    def to_network(
        self, values: NDArray[np.generic], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Convert as :meth:`SceneAdapter.to_network` does."""
        return self._adapter.to_network(values, out)

    def _fill(self, shown: _Rows, window: Window) -> _Rows:
        """Fill the rows of a window; return those that the tile row below needs of its blocks."""
        start, bottom = shown.start, shown.end
        before = self._below.pop((shown.place.col, shown.place.width), None)
        if before is not None and before.start <= start < before.end:
            shown.take(before)
            start = before.end
        block, keeps = self._adapter.storage.block[0], self._adapter.storage.keeps
        end = max(min(round_up(bottom, block), self._adapter.shape[0]), start)
        first = min(max(window.row + self._kept, shown.start), end)
        below = self._room(shown.between(first, end), window.height - self._kept + block)
        if before is not None:
            below.take(before)
            self._free.append(before.memory)
        if start < bottom and keeps:
            pieces = [shown.part(start, bottom), below.part(max(bottom, first), end)]
            self._read(pieces, self._following(window))
        elif start < bottom:
            fresh = self._room(shown.between(start, end), 0)
            self._adapter_fills(fresh, fresh.place)
            shown.take(fresh)
            below.take(fresh)
        below.take(shown)
        return below

    def _room(self, place: Window, most: int) -> _Rows:
        """Return memory for rows, used before if there is some for so many of those columns."""
        shape = (self.n_bands, place.height, place.width)
        size = self.n_bands * max(most, place.height) * place.width
        k = next((k for k, memory in enumerate(self._free) if memory.size == size), None)
        memory = np.empty(size, self.dtype) if k is None else self._free.pop(k)
        values = memory[: self.n_bands * place.height * place.width].reshape(shape)
        return _Rows(place, values, np.empty(shape[1:], np.uint8), memory)

    def _read(self, pieces: Sequence[_Rows], following: Window | None) -> None:
        """Read rows one below the other, some columns of blocks at a time, each from the top.

        Once the last of them is under way, the decoders may begin with what is ``following``.
        """

        def read(columns: Window) -> None:
            for rows in pieces:
                self._adapter_fills(rows, replace(rows.place, col=columns.col, width=columns.width))

        if self._pool is None:
            self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="columns")
        works = [self._pool.submit(read, columns) for columns in self._columns(pieces[0].place)]
        if following is not None:
            works.append(self._pool.submit(self._adapter.expect, following))
        wait(works)  # until every thread has let go of the memory, also where one of them failed
        for work in works:
            work.result()

    def _following(self, window: Window) -> Window | None:
        """Return what the next window needs of blocks that this one does not reach.

        The columns to the right are next, as in the tile row above; at its end the first ones.
        """
        (height, width), right = self._adapter.shape, window.col + window.width
        beyond = 0 if right >= width else right
        later = [place for place in self._below if sum(place) > beyond]
        if not later:
            return None
        columns = min(later, key=sum)
        rows, stop = self._below[columns], sum(columns)
        left = max(columns[0], round_up(beyond, self._adapter.storage.block[1]))
        end = min(rows.start + window.height, height)
        if left >= stop or rows.end >= end:
            return None
        return Window(row=rows.end, col=left, height=end - rows.end, width=stop - left)

    def _adapter_fills(self, rows: _Rows, place: Window) -> None:
        """Read a part of some rows into their memory."""
        if not place.is_empty:
            here = place.shift(rows=-rows.place.row, cols=-rows.place.col).slices
            flags = self._adapter.read_flagged(place, rows.values[(..., *here)])[1]
            rows.flags[here] = flags

    def _columns(self, place: Window) -> Iterator[Window]:
        """Yield what of a window lies in each column of blocks."""
        step, left, right = self._adapter.storage.block[1], place.col, place.col + place.width
        while left < right:
            stop = min(round_up(left + 1, step), right)
            yield replace(place, col=left, width=stop - left)
            left = stop


class _Rows:
    """Decoded rows of some columns.

    Parameters
    ----------
    place : Window
        Where they lie.
    values, flags : ndarray
        ``(band, y, x)`` and ``(y, x)``.
    memory : ndarray, optional
        What the values lie in, if nothing else does.
    """

    def __init__(
        self,
        place: Window,
        values: NDArray[np.generic],
        flags: NDArray[np.uint8],
        memory: NDArray[np.generic] | None = None,
    ) -> None:
        self.place, self.values, self.flags = place, values, flags
        self.memory = values if memory is None else memory

    @property
    def start(self) -> int:
        return self.place.row

    @property
    def end(self) -> int:
        return self.place.row + self.place.height

    def between(self, start: int, end: int) -> Window:
        """Return a window of these columns."""
        return replace(self.place, row=start, height=end - start)

    def part(self, start: int, end: int) -> _Rows:
        """Return some of the rows, in the same memory."""
        rows = slice(start - self.start, end - self.start)
        return _Rows(self.between(start, end), self.values[:, rows], self.flags[rows])

    def take(self, other: _Rows) -> None:
        """Copy the rows that others hold, too."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        if start < end:
            mine, theirs = self.part(start, end), other.part(start, end)
            mine.values[...], mine.flags[...] = theirs.values, theirs.flags

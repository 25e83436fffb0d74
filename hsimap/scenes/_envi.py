"""Raw ENVI files: windows by plain reads, never a memory map, which a shrinking file would kill."""

from __future__ import annotations

import gzip
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import InputError
from hsimap.scenes._envi_bands import bands_of
from hsimap.scenes._envi_header import (
    Layout,
    find_pair,
    is_packed,
    layout_of,
    number_of,
    parse_header,
    remarks,
    scale_of,
)
from hsimap.scenes._map_info import grid_of
from hsimap.scenes._page_cache import PassingPages
from hsimap.scenes._scene import Scene
from hsimap.scenes._storage import Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.geometry import Window

_CHUNK: Final = 8 << 20
_MOST_BUFFERS: Final = 1024
"""Buffers that one call may fill, as POSIX systems allow."""
_GAP: Final = 8 << 10
"""Bytes that the page cache gives in the time of one more system call (1 us, measured)."""
_BEHIND: Final = 8 << 20
"""Bytes that are read before their pages are given back."""


def open_envi(path: Path) -> Scene:
    """Open an ENVI raster given its data file or its header.

    Raises
    ------
    InputError
        If the header is malformed, or the data file has not exactly the size that it states.
    """
    data, header = find_pair(path)
    fields = parse_header(header)
    layout = layout_of(fields, header)
    if not layout.compressed and is_packed(data, layout):
        layout = replace(layout, compressed=True)
    bands, notes = bands_of(fields, layout.shape[0], header)
    source = _inflate(data, layout) if layout.compressed else data
    _check_size(source, layout, data)
    grid = grid_of(fields, *layout.shape[1:])
    if grid.crs is None:
        notes.append(f"{data.name} has no CRS")
    notes += remarks(fields, layout, grid)
    return Scene(
        RawReader(source, layout, temporary=layout.compressed),
        name=_stem(data),
        grid=grid,
        bands=bands,
        scale=scale_of(fields, header),
        nodata=number_of(fields, "data ignore value", header),
        files=(data, header),
        notes=notes,
    )


def _stem(data: Path) -> str:
    return data.stem


def _check_size(source: Path, layout: Layout, data: Path) -> None:
    found = source.stat().st_size
    if found != layout.size:
        bands, height, width = layout.shape
        raise InputError(
            f"{data} has {found} bytes and its header states {layout.size} ({bands} bands x"
            f" {height} lines x {width} samples x {layout.dtype.itemsize} bytes + {layout.offset});"
            f" the file is truncated or the header is wrong"
        )


def _inflate(data: Path, layout: Layout) -> Path:
    """Unpack a gzip file to a temporary one, at most one byte past the stated size."""
    handle, name = tempfile.mkstemp(prefix="hsimap-", suffix=".raw")
    left = layout.size + 1
    try:
        with gzip.open(data, "rb") as packed, os.fdopen(handle, "wb") as plain:
            while left > 0 and (piece := packed.read(min(_CHUNK, left))):
                plain.write(piece)
                left -= len(piece)
    except (OSError, EOFError) as error:
        Path(name).unlink()
        raise InputError(f"{data} is no sound gzip file: {error}") from error
    return Path(name)


class RawReader:
    """Windows of a raw file in any interleave.

    Parameters
    ----------
    path : Path
        Uncompressed samples.
    layout : Layout
        Shape, type and interleave.
    temporary : bool
        Delete the file at the end.
    """

    def __init__(self, path: Path, layout: Layout, *, temporary: bool = False) -> None:
        self._path, self._layout, self._temporary = path, layout, temporary
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._pages = PassingPages(path)
        self.shape = layout.shape
        self.dtype = layout.dtype.newbyteorder("=")
        self.storage = Storage(
            driver="ENVI",
            interleave=layout.interleave,
            block=(1, layout.shape[2]),
            compression="gzip" if layout.compressed else "none",
        )

    def __reduce__(self) -> tuple[type[RawReader], tuple[Path, Layout]]:
        return RawReader, (self._path, self._layout)

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values; a raw file has no mask of its own."""
        if out is None:
            out = np.empty((len(bands), window.height, window.width), self.dtype)
        until = self._pages.begin(window, width=self.shape[2])
        self._give_back(self._pages.passed(window.row))
        raw = out.view(self._layout.dtype)
        if self._layout.interleave == "bsq":
            rows = self._pages.passed(until)
            for plane, band in zip(raw, bands, strict=True):
                self._read_pieces(self._place(band, window), self.shape[2], plane)
                self._give_back(rows, range(band, band + 1))
        else:
            self._read_lines(window, bands, raw, until)
        if not self._layout.dtype.isnative:
            out.byteswap(inplace=True)
        return out, None

    def _give_back(self, rows: range, bands: range | None = None) -> None:
        """Give the pages of rows back that have been read, in BSQ of some bands, else of all."""
        if not rows:
            return
        count, height, width = self.shape
        is_bsq = self._layout.interleave == "bsq"
        step = width * self.dtype.itemsize * (1 if is_bsq else count)
        for part in bands or range(count if is_bsq else 1):
            start = (part * height + rows.start) * step
            self._pages.give_back(self._layout.offset + start, len(rows) * step)

    def _read_lines(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic], until: int
    ) -> None:
        """Read lines that hold all bands; those above ``until`` are not wanted again."""
        n_bands, _, width = self.shape
        every = max(1, _BEHIND // (n_bands * width * self.dtype.itemsize))
        read = self._read_bil_line if self._layout.interleave == "bil" else self._read_bip_line
        for y in range(window.height):
            read(window.row + y, window.col, bands, out[:, y])
            if (y + 1) % every == 0 or y + 1 == window.height:
                self._give_back(self._pages.passed(min(window.row + y + 1, until)))

    def _place(self, band: int, window: Window) -> int:
        """Return where a window's first sample of a band stands in a BSQ file, in samples."""
        _, height, width = self.shape
        return (band * height + window.row) * width + window.col

    def _read_into(self, first: int, target: NDArray[np.generic]) -> None:
        """Read samples that lie side by side in the file, from the ``first`` one on."""
        offset = self._layout.offset + first * self.dtype.itemsize
        view = target.view(np.uint8).data
        while view:
            n = os.preadv(self._handle, [view], offset)
            if n == 0:
                raise InputError(f"{self._path} became shorter while it was read")
            view, offset = view[n:], offset + n

    def _read_pieces(self, first: int, step: int, out: NDArray[np.generic]) -> None:
        """Read ``out.shape[1]`` samples every ``step`` samples; ``out`` has contiguous rows.

        Samples between are read as well where that costs less than asking again.
        """
        n, width = out.shape
        if (step - width) * self.dtype.itemsize > _GAP:
            for i in range(n):
                self._read_into(first + i * step, out[i])
            return
        gap = [np.empty(step - width, self._layout.dtype)] if step > width else []
        rows_at_once = _MOST_BUFFERS // (1 + len(gap))
        for i in range(0, n, rows_at_once):
            rows = [piece for row in out[i : i + rows_at_once] for piece in (row, *gap)]
            self._scatter(first + i * step, rows[: len(rows) - len(gap)])

    def _scatter(self, first: int, targets: list[Any]) -> None:
        """Read samples that lie side by side in the file into arrays, one after another."""
        offset = self._layout.offset + first * self.dtype.itemsize
        got = os.preadv(self._handle, targets, offset)
        for target in targets:
            if got < target.nbytes:  # the call was cut short
                self._read_into(first, target)
            got = max(got - target.nbytes, 0)
            first += target.size

    def _read_bil_line(
        self, row: int, col: int, bands: Sequence[int], out: NDArray[np.generic]
    ) -> None:
        n_bands, _, width = self.shape
        low, high = min(bands), max(bands) + 1
        first = (row * n_bands + low) * width + col
        if list(bands) == list(range(low, high)):
            self._read_pieces(first, width, out)
            return
        line = np.empty((high - low, out.shape[1]), self._layout.dtype)
        self._read_pieces(first, width, line)
        out[...] = line[[band - low for band in bands]]

    def _read_bip_line(
        self, row: int, col: int, bands: Sequence[int], out: NDArray[np.generic]
    ) -> None:
        n_bands, _, width = self.shape
        line = np.empty((out.shape[1], n_bands), self._layout.dtype)
        self._read_into((row * width + col) * n_bands, line.reshape(-1))
        everything = list(bands) == list(range(n_bands))
        out[...] = line.T if everything else line.T[list(bands)]

    def close(self) -> None:
        """Close the file, and delete it if it was temporary."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            self._pages.close()
            if self._temporary:
                self._path.unlink(missing_ok=True)

    def __del__(self) -> None:
        self.close()

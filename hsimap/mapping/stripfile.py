"""The strips of one map on disk, tile after tile, and the encoder that makes a file of them."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from imagecodecs import deflate_crc32 as crc32

from hsimap.errors import StorageError
from hsimap.geometry import Window
from hsimap.products import CogWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.mapping.tiling import TilePlan
    from hsimap.products import Layer

SUFFIX: Final = ".squares"
"""Of a strip file. Ones that older versions left are of another order and another name."""
_PIECE: Final = 1 << 20
"""Bytes that are read back at a time."""


@dataclass(frozen=True, slots=True)
class Squares:
    """Where a map is cut into squares that are stored one after another, strip by strip."""

    rows: tuple[int, ...]
    """First row of each strip, and the height."""
    cols: tuple[int, ...]
    """First column of each square of a strip, and the width."""

    @classmethod
    def of(cls, tiles: TilePlan, stride: int) -> Squares:
        """Return the squares of a plan's tiles in a map of one pixel for ``stride`` of them."""
        strips = (tiles.strip(k) for k in range(tiles.n_rows))
        tops = (tiles.in_maps(strip).row for strip in strips)
        footprints = (tile.footprint for tile in tiles.row_tiles(0))
        lefts = (tiles.in_maps(footprint).col for footprint in footprints)
        height, width = (-(-size // stride) for size in tiles.map_shape)
        return cls(_cuts(tops, stride, height), _cuts(lefts, stride, width))

    def parts(self, window: Window) -> Iterator[tuple[Window, Window]]:
        """Yield each square that a window meets, and what of it lies in the window."""
        bottom, right = window.row + window.height, window.col + window.width
        for top, end in _pieces(self.rows, window.row, bottom):
            for left, stop in _pieces(self.cols, window.col, right):
                first, start = max(top, window.row), max(left, window.col)
                height, width = min(end, bottom) - first, min(stop, right) - start
                square = Window(row=top, col=left, height=end - top, width=stop - left)
                yield square, Window(row=first, col=start, height=height, width=width)


def _cuts(starts: Iterator[int], stride: int, size: int) -> tuple[int, ...]:
    return (*sorted({0} | {start // stride for start in starts} - {size}), size)


def _pieces(cuts: Sequence[int], start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield the intervals between cuts that ``start`` to ``stop`` meets."""
    k = bisect_right(cuts, start) - 1
    while k + 1 < len(cuts) and cuts[k] < stop:
        yield cuts[k], cuts[k + 1]
        k += 1


class StripFile:
    """The strips of one map: band by band, strip by strip, square by square; room taken up front.

    A square is written in one piece, where lines of a scene's width would be cut into a piece a
    line.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    layer : Layer
        Shape and dtype.
    squares : Squares, optional
        How the map is cut; None = not at all.
    """

    def __init__(self, path: Path, layer: Layer, squares: Squares | None = None) -> None:
        height, width = layer.grid.height, layer.grid.width
        self._shape = (len(layer.bands), height, width)
        self._squares = squares or Squares((0, height), (0, width))
        self._dtype = np.dtype(layer.dtype)
        self._path = path
        self._handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        size = int(np.prod(self._shape)) * self._dtype.itemsize
        try:
            os.posix_fallocate(self._handle, 0, size)
        except OSError as error:
            os.close(self._handle)
            raise StorageError(
                f"{path.parent} has no room for the {size / 2**20:.1f} MiB of {layer.name}:"
                f" {error.strerror}; free some space or choose another --out"
            ) from error

    def _start(self, band: int, row: int) -> int:
        """Return where a strip of a band begins, in bytes."""
        return (band * self._shape[1] + row) * self._shape[2] * self._dtype.itemsize

    def _offset(self, square: Window, row: int, col: int) -> int:
        """Return where a pixel of a square lies behind its strip's beginning, in bytes."""
        before = square.height * square.col + (row - square.row) * square.width
        return (before + col - square.col) * self._dtype.itemsize

    def write(self, row: int, col: int, values: NDArray[np.generic]) -> None:
        """Write ``(band, y, x)`` values whose first pixel is at a row and column."""
        window = Window(row=row, col=col, height=values.shape[1], width=values.shape[2])
        for square, part in self._squares.parts(window):
            source = values[(..., *part.shift(rows=-row, cols=-col).slices)]
            ready = np.ascontiguousarray(source, dtype=self._dtype)
            whole = part.width == square.width
            for band, plane in enumerate(ready):
                start = self._start(band, square.row)
                for y, piece in enumerate((plane,) if whole else plane, part.row):
                    offset = start + self._offset(square, y, part.col)
                    _pwrite_all(self._handle, piece.data, offset)

    def checksum(self, row: int, height: int) -> int:
        """Return the CRC-32 of whole strips as they are on disk."""
        crc = 0
        for band in range(self._shape[0]):
            left, offset = height * self._shape[2] * self._dtype.itemsize, self._start(band, row)
            while left and (piece := os.pread(self._handle, min(left, _PIECE), offset)):
                crc = crc32(piece, crc)
                left, offset = left - len(piece), offset + len(piece)
        return crc

    def read(self, window: Window) -> NDArray[np.generic]:
        """Return ``(band, y, x)`` of a window that lies inside."""
        out = np.empty((self._shape[0], window.height, window.width), dtype=self._dtype)
        for square, part in self._squares.parts(window):
            target = part.shift(rows=-window.row, cols=-window.col).slices
            left = part.col - square.col
            for band, plane in enumerate(out):
                start = self._start(band, square.row) + self._offset(square, part.row, square.col)
                size = part.height * square.width * self._dtype.itemsize
                data = np.frombuffer(os.pread(self._handle, size, start), dtype=self._dtype)
                lines = data.reshape(part.height, square.width)
                plane[target] = lines[:, left : left + part.width]
        return out

    def give_back(self, done: int, rows: int) -> None:
        """Let the system forget durable strips that nobody reads again; new ones take their room.

        Those that end in the rows from ``done`` to ``rows``. Pages are given back whole, so that
        some of them stay.
        """
        cuts = self._squares.rows
        first, last = (cuts[bisect_right(cuts, row) - 1] for row in (done, rows))
        for band in range(self._shape[0]):
            start, stop = self._start(band, first), self._start(band, last)
            os.posix_fadvise(self._handle, start, stop - start, os.POSIX_FADV_DONTNEED)

    def sync(self) -> None:
        """Wait until what was written is durable."""
        os.fdatasync(self._handle)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._handle)


class LayerStore(StripFile):
    """The strips of one map, and the encoder that makes tiles of them.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    layer : Layer
        Shape and dtype.
    squares : Squares, optional
        How the map is cut; None = not at all.
    """

    def __init__(self, path: Path, layer: Layer, squares: Squares | None = None) -> None:
        super().__init__(path, layer, squares)
        self.cog = CogWriter(path.parent, layer, self.read)
        """Encodes the rows that are told to be final; nothing of it is needed for a resume."""

    def advance(self, rows: int) -> None:
        """Make tiles of the first ``rows`` rows, which are final and durable."""
        before = self.cog.encoded_rows
        self.cog.advance(rows)
        self.give_back(before, self.cog.encoded_rows)

    def close(self) -> None:
        """Give the files back."""
        self.cog.close()
        super().close()


def _pwrite_all(handle: int, data: memoryview, offset: int) -> None:
    view = data.cast("B")
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written

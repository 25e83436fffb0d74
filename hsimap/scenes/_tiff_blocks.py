"""Blocks of a tiled GeoTIFF that holds a pixel's bands side by side, decoded without GDAL.

GDAL turns each block into one block a band in its cache, and those into what is asked for. Of a
deflate scene of 128 bands that is half of its time (docs/adr/0025-own-block-decoding.md).
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import imagecodecs
import numpy as np

from hsimap.geometry import Window
from hsimap.scenes._kept_blocks import KeptBlocks
from hsimap.streams import available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.scenes._kept_blocks import Place, Room

_DECODERS: Final[dict[str, Callable[..., Any]]] = {
    "deflate": imagecodecs.deflate_decode,
    "lzw": imagecodecs.lzw_decode,
    "zstd": imagecodecs.zstd_decode,
}
_PREDICTORS: Final = frozenset({"1", "2"})
_THREADS: Final = 8
"""Most that decode side by side; no more than there are blocks that may be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLayout:
    """How the blocks of a file are stored."""

    shape: tuple[int, int, int]
    """``(y, x, sample)`` of a block."""
    raster: tuple[int, int]
    """``(height, width)`` of the file."""
    dtype: np.dtype[np.generic]
    codec: str
    predictor: str
    """1 = none, 2 = differences along a row."""

    def window(self, place: Place) -> Window:
        """Return the pixels of a block that lie in the file."""
        rows, cols, _ = self.shape
        whole = Window(row=place[0] * rows, col=place[1] * cols, height=rows, width=cols)
        return whole.clip(height=self.raster[0], width=self.raster[1])

    def places(self, window: Window) -> Iterator[Place]:
        """Yield the blocks of a window, column by column: the next window lies to the right."""
        rows, cols, _ = self.shape
        bottom, right = window.row + window.height, window.col + window.width
        for x in range(window.col // cols, -(-right // cols)):
            for y in range(window.row // rows, -(-bottom // rows)):
                yield y, x

    def decode(self, data: memoryview, out: NDArray[np.generic]) -> None:
        """Decode a block into ``(y, x, sample)`` memory.

        Raises
        ------
        ValueError
            If it is not of the size that it must have.
        RuntimeError
            If it is damaged.
        """
        flat = out.reshape(-1).view(np.uint8)
        decoded = _DECODERS[self.codec](data, out=flat)
        if len(decoded) != flat.size:
            raise ValueError(f"a block of {len(decoded)} bytes in place of {flat.size}")
        if self.predictor == "2":
            stored = out.view(f"u{self.dtype.itemsize}")
            imagecodecs.delta_decode(stored, axis=1, out=stored)


def layout_of(file: Any, path: Path) -> BlockLayout | None:  # noqa: ANN401  # rasterio has no types
    """Return how an open file's blocks are stored, None where GDAL alone reads them."""
    structure, dtype = file.tags(ns="IMAGE_STRUCTURE"), np.dtype(file.dtypes[0])
    rows, cols = file.block_shapes[0]
    layout = BlockLayout(
        shape=(rows, cols, file.count),
        raster=(file.height, file.width),
        dtype=dtype,
        codec=structure.get("COMPRESSION", "none").lower(),
        predictor=structure.get("PREDICTOR", "1"),
    )
    with path.open("rb") as head:
        is_native = head.read(2) == b"II" and np.dtype("<u2").isnative
    is_plain = (
        file.driver == "GTiff"
        and is_native
        and structure.get("INTERLEAVE") == "PIXEL"
        and "NBITS" not in file.tags(1, ns="IMAGE_STRUCTURE")
        and file.profile["tiled"]
        and dtype.kind in "uif"
    )
    known = layout.codec in _DECODERS and layout.predictor in _PREDICTORS
    return layout if is_plain and known else None


class TiffBlocks:
    """Reads windows from a file's blocks.

    Blocks that reach beyond a window are kept for the next one, as many as GDAL's cache may take
    (``GDAL_CACHEMAX``). The first block is held against GDAL's own reading.

    Parameters
    ----------
    path : Path
        The file.
    layout : BlockLayout
        How it is stored.
    """

    def __init__(self, path: Path, layout: BlockLayout) -> None:
        self._layout, self._handle = layout, -1
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._kept = KeptBlocks(layout.shape, layout.dtype)
        self._lock, self._own = threading.Lock(), threading.local()
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: dict[Place, Future[None]] = {}
        """Blocks that are decoded, or soon, for a window that has not been asked for yet."""
        self._is_trusted: bool | None = None

    def read(
        self,
        file: Any,  # noqa: ANN401
        window: Window,
        samples: Sequence[int],
        out: NDArray[np.generic],
    ) -> bool:
        """Fill ``out``, ``(sample, y, x)``; say whether that could be done.

        Where it could not, as a block is missing or damaged, GDAL is to read the window.

        Parameters
        ----------
        file : DatasetReader
            The file as rasterio opened it for this thread: it knows where blocks lie.
        window : Window
            Pixels, inside the file.
        samples : sequence of int
            Of a pixel, counted from 0.
        out : ndarray
            Of the file's type.
        """
        if self._is_trusted is False:
            return False
        stored = []
        for place in self._layout.places(window):
            where = _stored(file, place)
            if where is None:
                return False
            stored.append((place, where))
        if self._is_trusted is None:
            self._is_trusted = self._agrees(file, *stored[0])
            return self._is_trusted and self.read(file, window, samples, out)
        picks = None if list(samples) == list(range(self._layout.shape[2])) else list(samples)
        works = [
            self._threads().submit(self._place, place, where, window, picks, out)
            for place, where in stored
        ]
        wait(works)  # until every thread has let go of ``out``, also where one of them failed
        return all(work.result() for work in works)

    def expect(self, file: Any, window: Window) -> None:  # noqa: ANN401
        """Begin to decode a window that is read next, behind the reads that are under way.

        No more than as many blocks as are decoded side by side, and only where twice as many may
        be kept: the decoders do not wait until the last block of a read is done.
        """
        if not self._is_trusted or self._kept.most < 2 * self._workers():
            return
        places = [p for p in self._layout.places(window) if not self._kept.has(p)]
        for place in places[: self._workers()]:
            where = None if place in self._ahead else _stored(file, place)
            if where is not None:
                self._ahead[place] = self._threads().submit(self._decode_ahead, place, where)

    def _decode_ahead(self, place: Place, where: tuple[int, int]) -> None:
        """Keep a block, unless it is damaged: who asks for it will find that."""
        room = self._kept.room()
        if self._decode(where, room.values):
            self._label(room, place)
        self._kept.give(room)

    def _label(self, room: Room, place: Place) -> None:
        own = self._layout.window(place)
        room.place, room.left = place, own.height * own.width

    def _agrees(self, file: Any, place: Place, where: tuple[int, int]) -> bool:  # noqa: ANN401
        """Whether a block is what GDAL makes of it."""
        window = self._layout.window(place)
        block = np.empty(self._layout.shape, self._layout.dtype)
        if not self._decode(where, block):
            return False
        rows, cols = window.slices
        expected = file.read(window=((rows.start, rows.stop), (cols.start, cols.stop)))
        found = block[: window.height, : window.width].transpose(2, 0, 1)
        return bool(found.tobytes() == expected.tobytes())

    def _place(
        self,
        place: Place,
        where: tuple[int, int],
        window: Window,
        picks: list[int] | None,
        out: NDArray[np.generic],
    ) -> bool:
        """Write what a block holds of a window; say whether it could be decoded."""
        own = self._layout.window(place)
        bottom = min(own.row + own.height, window.row + window.height)
        right = min(own.col + own.width, window.col + window.width)
        top, left = max(own.row, window.row), max(own.col, window.col)
        part = Window(row=top, col=left, height=bottom - top, width=right - left)
        ahead = self._ahead.pop(place, None)
        if ahead is not None and not ahead.cancel():
            ahead.result()  # it has a thread of its own
        room = self._kept.take(place)
        if room is None:
            room = self._kept.room()
            if not self._decode(where, room.values):
                self._kept.give(room)
                return False
            if part != own:
                self._label(room, place)
        y, x = part.shift(rows=-own.row, cols=-own.col).slices
        target = out[(..., *part.shift(rows=-window.row, cols=-window.col).slices)]
        pixels = room.values[y, x] if picks is None else room.values[y, x][..., picks]
        for row in range(part.height):  # a line at a time stays in the processor's cache
            target[:, row] = pixels[row].T
        self._kept.give(room, part.height * part.width)
        return True

    def _decode(self, where: tuple[int, int], room: NDArray[np.generic]) -> bool:
        offset, size = where
        data: bytearray = getattr(self._own, "data", bytearray())
        if len(data) < size:  # fresh memory for each block costs as much as reading it
            data = self._own.data = bytearray(size)
        stored = memoryview(data)[:size]
        try:
            if os.preadv(self._handle, [stored], offset) < size:
                return False
            self._layout.decode(stored, room)
        except (OSError, RuntimeError, ValueError):
            return False
        return True

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._workers(), thread_name_prefix="blocks")
            return self._pool

    def _workers(self) -> int:
        """Return how many blocks are decoded side by side."""
        return max(min(available_cpus(), self._kept.most, _THREADS), 1)

    def close(self) -> None:
        """End the threads and close the file."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._ahead.clear()
        self._kept.clear()
        self._close_file()

    def __del__(self) -> None:
        self._close_file()

    def _close_file(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _stored(file: Any, place: Place) -> tuple[int, int] | None:  # noqa: ANN401
    """Return offset and size of a block in bytes, None where the file has none there."""
    found = [
        file.get_tag_item(f"BLOCK_{what}_{place[1]}_{place[0]}", "TIFF", bidx=1)
        for what in ("OFFSET", "SIZE")
    ]
    return None if None in found else (int(found[0]), int(found[1]))

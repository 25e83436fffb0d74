"""Blocks of a tiled GeoTIFF that holds a pixel's bands side by side, decoded without GDAL.

GDAL turns each block into one block a band in its cache, and those into what is asked for. Of a
deflate scene of 128 bands that is half of its time (docs/adr/0025-own-block-decoding.md).
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import imagecodecs
import numpy as np
from rasterio.env import get_gdal_config

from hsimap.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_DECODERS: Final[dict[str, Callable[..., Any]]] = {
    "deflate": imagecodecs.deflate_decode,
    "lzw": imagecodecs.lzw_decode,
    "zstd": imagecodecs.zstd_decode,
}
_PREDICTORS: Final = frozenset({"1", "2"})
_CACHE: Final = 64 << 20
"""Bytes of decoded blocks that are kept where nobody has bounded the file library's cache."""
_THREADS: Final = 8
"""Most that decode side by side; no more than there are blocks that may be kept."""

Place = tuple[int, int]
"""``(row, column)`` of a block, counted in blocks."""


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

    @property
    def block_bytes(self) -> int:
        """Size of a decoded block."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

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


class _Room:
    """Memory of a block, ``(y, x, sample)``."""

    def __init__(self, layout: BlockLayout) -> None:
        self.values = np.empty(layout.shape, layout.dtype)
        self.users = 1
        self.place: Place | None = None
        """Which block is in it, if it is to be kept."""
        self.left = 0
        """Pixels of it that nobody has asked for yet."""


class KeptBlocks:
    """Decoded blocks that the next window needs too, and memory that is used over and over.

    No more is kept than GDAL's cache may take (``GDAL_CACHEMAX``).

    Parameters
    ----------
    layout : BlockLayout
        Of the blocks.
    """

    def __init__(self, layout: BlockLayout) -> None:
        self._layout, self._lock = layout, threading.Lock()
        self._kept: OrderedDict[Place, _Room] = OrderedDict()
        self._free: list[_Room] = []

    def take(self, place: Place) -> _Room | None:
        """Return a block that is kept, to be given back."""
        with self._lock:
            room = self._kept.get(place)
            if room is not None:
                self._kept.move_to_end(place)
                room.users += 1
            return room

    def room(self) -> _Room:
        """Return memory to decode a block into, to be given back."""
        with self._lock:
            if self._free:
                room = self._free.pop()
                room.users, room.place = 1, None
                return room
        return _Room(self._layout)

    def give(self, room: _Room, pixels: int = 0) -> None:
        """Take a block back of which so many pixels were used.

        It is kept if it says where it lies, until each of its pixels was used.
        """
        with self._lock:
            room.users -= 1
            room.left -= pixels
            if room.place is not None and self._kept.setdefault(room.place, room) is not room:
                room.place = None  # another thread was faster
            elif room.place is not None and room.left <= 0:
                del self._kept[room.place]
                room.place = None
            while len(self._kept) * self._layout.block_bytes > _cache_bytes():
                oldest = self._kept.popitem(last=False)[1]
                oldest.place = None
                if oldest is not room and not oldest.users:
                    self._free.append(oldest)
            if room.place is None and not room.users:
                self._free.append(room)

    def clear(self) -> None:
        """Give all memory back."""
        with self._lock:
            self._kept.clear()
            self._free.clear()


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
        self._kept = KeptBlocks(layout)
        self._lock, self._own = threading.Lock(), threading.local()
        self._pool: ThreadPoolExecutor | None = None
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
        room = self._kept.take(place)
        if room is None:
            room = self._kept.room()
            if not self._decode(where, room.values):
                self._kept.give(room)
                return False
            room.place = place if part != own else None
            room.left = own.height * own.width
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
                fitting = max(_cache_bytes() // self._layout.block_bytes, 1)
                workers = min(os.cpu_count() or 1, fitting, _THREADS)
                self._pool = ThreadPoolExecutor(workers, thread_name_prefix="blocks")
            return self._pool

    def close(self) -> None:
        """End the threads and close the file."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
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


def _cache_bytes() -> int:
    limit = get_gdal_config("GDAL_CACHEMAX")
    return int(limit) if isinstance(limit, int) else _CACHE

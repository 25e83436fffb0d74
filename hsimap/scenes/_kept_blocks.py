"""Decoded blocks of a raster that are kept for the next window, and memory to decode into."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

import numpy as np
from rasterio.env import get_gdal_config

_CACHE: Final = 64 << 20
"""Bytes of decoded blocks that are kept where nobody has bounded the file library's cache."""

Place = tuple[int, int]
"""``(row, column)`` of a block, counted in blocks."""


class Room:
    """Memory of a block, ``(y, x, sample)``."""

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[np.generic]) -> None:
        self.values = np.empty(shape, dtype)
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
    shape : tuple of int
        ``(y, x, sample)`` of a block.
    dtype : dtype
        Of a sample.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype[np.generic]) -> None:
        self._shape, self._dtype, self._lock = shape, dtype, threading.Lock()
        self._block_bytes = int(np.prod(shape)) * dtype.itemsize
        self._kept: OrderedDict[Place, Room] = OrderedDict()
        self._free: list[Room] = []

    @property
    def most(self) -> int:
        """How many are kept at most."""
        limit = get_gdal_config("GDAL_CACHEMAX")
        return (limit if isinstance(limit, int) else _CACHE) // self._block_bytes

    def take(self, place: Place) -> Room | None:
        """Return a block that is kept, to be given back."""
        with self._lock:
            room = self._kept.get(place)
            if room is not None:
                self._kept.move_to_end(place)
                room.users += 1
            return room

    def has(self, place: Place) -> bool:
        """Whether a block is kept."""
        with self._lock:
            return place in self._kept

    def room(self) -> Room:
        """Return memory to decode a block into, to be given back."""
        with self._lock:
            if self._free:
                room = self._free.pop()
                room.users, room.place = 1, None
                return room
        return Room(self._shape, self._dtype)

    def give(self, room: Room, pixels: int = 0) -> None:
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
            while len(self._kept) > self.most:
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

"""Read tiles into memory that is used over and over; fresh memory costs a third more."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from hsimap.geometry import Window

BATCHES_AHEAD: Final = 1
"""Batches that wait for forwards that run side by side."""


class Pixels(Protocol):
    """What :class:`RecyclingSource` reads from; :class:`SceneAdapter` is one."""

    @property
    def n_bands(self) -> int:
        """Bands that are read."""

    @property
    def network_bands(self) -> int:
        """Bands that the network takes."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of a stored sample."""

    @property
    def is_stored(self) -> bool:
        """Whether a runtime takes the samples as they are stored."""

    def read_flagged(
        self, window: Window, out: NDArray[np.generic]
    ) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """Return ``(band, y, x)`` stored values, in ``out``, and ``(y, x)`` flags."""

    def to_network(
        self, values: NDArray[np.generic], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Convert stored values to float32 in the bundle's storage units, in ``out``."""


class RecyclingSource:
    """Reads a scene into memory that is used over and over.

    Parameters
    ----------
    pixels : Pixels
        Where they come from.
    ahead : int
        Reads that are made before they are asked for. One thread reads.
    streams : int
        Tiles that the network has in use at a time.
    cuts : bool
        Whether what is read holds several tiles, which are copied out of it.
    columns : int
        Of the widest read, for which memory is taken from the first one on.
    """

    def __init__(
        self,
        pixels: Pixels,
        ahead: int,
        *,
        streams: int = 1,
        cuts: bool = False,
        columns: int = 0,
    ) -> None:
        self._adapter, self._cuts, self._columns = pixels, cuts, columns
        in_use = reads_in_use(streams, as_stored=pixels.is_stored, cuts=cuts)
        self._rooms: list[NDArray[np.generic]] = [np.empty(0)] * (ahead + in_use)
        self._images: list[NDArray[np.generic]] = [np.empty(0)] * batches_in_use(streams)
        self._last: tuple[NDArray[np.generic], NDArray[np.uint8]] | None = None

    def read_flagged(
        self, window: Window, *, shared: int = 0
    ) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """Return ``(band, y, x)`` stored values, which stand for some more reads, and flags.

        The reads are those made ahead and the next ones of those in use. The first ``shared``
        columns are the last ones of the read before and are copied from it.
        """
        shape = (self._adapter.n_bands, window.height, window.width)
        room, size = self._rooms.pop(0), prod(shape)
        if room.size < size:
            widest = max(window.width, self._columns)
            room = np.empty(prod(shape[:2]) * widest, self._adapter.dtype)
        self._rooms.append(room)
        values = room[:size].reshape(shape)
        flags = np.empty(shape[1:], np.uint8)
        fresh = replace(window, col=window.col + shared, width=window.width - shared)
        flags[:, shared:] = self._adapter.read_flagged(fresh, values[:, :, shared:])[1]
        if shared and self._last is not None:
            values[:, :, :shared] = self._last[0][:, :, -shared:]
            flags[:, :shared] = self._last[1][:, -shared:]
        self._last = values, flags
        return values, flags

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return what a runtime takes; the result stands while the network has it in use."""
        if not self._adapter.is_stored:
            image = self._image((self._adapter.network_bands, *values.shape[1:]), np.float32)
            return self._adapter.to_network(values, image)
        if values.flags.c_contiguous and not self._cuts:
            return values
        image = self._image(values.shape, values.dtype)
        np.copyto(image, values)
        return image

    def _image(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        image = self._images.pop(0)
        if image.shape != shape:
            image = np.empty(shape, dtype)
        self._images.append(image)
        return image


def reads_in_use(streams: int, *, as_stored: bool, cuts: bool) -> int:
    """Return how many reads are in use at a time: one where the network has copies of its own."""
    return batches_in_use(streams) if as_stored and not cuts else 1


def batches_in_use(streams: int) -> int:
    """Return how many batches the network has in use, those that are made for it included."""
    return streams + BATCHES_AHEAD if streams > 1 else 1

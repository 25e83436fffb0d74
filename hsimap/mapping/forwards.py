"""Run the network over the tiles of a row, one or several of them at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hsimap.mapping.flags import footprint_flags
from hsimap.scenes import valid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from hsimap.mapping.adapter import FlaggedSource
    from hsimap.mapping.arrays import Array
    from hsimap.mapping.flags import Area
    from hsimap.mapping.tiling import Tile, TilePlan
    from hsimap.runtimes import Runtime

    TilePixels = tuple[Tile, NDArray[np.generic], NDArray[np.uint8]]


@dataclass(slots=True, kw_only=True)
class TileResult:
    """What the network makes of a tile."""

    tile: Tile
    inner: NDArray[np.uint8]
    """``(y, x)`` flags of the footprint."""
    values: dict[str, Array] | None
    """Output name to ``(channel, side / stride, side / stride)``; None where no pixel is both
    valid and wanted: it was not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwards:
    """The network over the tiles of a scene; rows may be run side by side.

    Of a row those tiles that are to be run are put together, from left to right, in batches of
    ``plan.batch``. No batch holds tiles of two rows: the last one of a row is filled up with
    members without a valid pixel, so that all have one shape and a row has the same bits whoever
    runs it.
    """

    plan: TilePlan
    source: FlaggedSource
    runtime: Runtime
    area: Area | None
    on_tile: Callable[[], None]
    """Called after each tile."""

    def row(self, pixels: Iterator[TilePixels]) -> Iterator[TileResult]:
        """Yield the tiles of a row, the next ``n_cols`` items of ``pixels``, in their order.

        What is yielded may be changed in place.
        """
        batch = _Batch(self.plan.batch)
        waiting: list[TileResult] = []
        for _ in range(self.plan.n_cols):
            tile, values, flags = next(pixels)
            inner = footprint_flags(self.plan, tile, flags, area=self.area)
            waiting.append(TileResult(tile=tile, inner=inner, values=None))
            if valid_of(inner).any():
                batch.put(self.source.to_network(values), valid_of(flags), len(waiting) - 1)
            del values  # not needed while the network runs
            if not batch.places or batch.is_full:
                yield from self._finished(batch, waiting)
        yield from self._finished(batch, waiting)

    def _finished(self, batch: _Batch, waiting: list[TileResult]) -> Iterator[TileResult]:
        """Run a batch and yield all tiles up to its last one; both are empty thereafter."""
        if batch.places:
            found = self.runtime.forward(*batch.arrays())
            for member, place in enumerate(batch.places):
                waiting[place].values = {name: array[member] for name, array in found.items()}
            del found
            batch.clear()
        while waiting:
            self.on_tile()
            yield waiting.pop(0)


class _Batch:
    """Room for some tiles; one alone stays where it is.

    Parameters
    ----------
    size : int
        Tiles.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.places: list[int] = []
        """Of the tiles that are in it, among those that wait."""
        self._image: NDArray[np.generic] = np.empty(0)
        self._valid: NDArray[np.float32] = np.empty(0, np.float32)

    @property
    def is_full(self) -> bool:
        """Whether no tile fits in any more."""
        return len(self.places) == self._size

    def put(self, image: NDArray[np.generic], valid: NDArray[np.bool_], place: int) -> None:
        """Add ``(band, y, x)`` and ``(y, x)``; the image stands until the next one is read."""
        mask = valid.astype(np.float32)[None]
        if self._size == 1:
            self._image, self._valid = image[None], mask[None]
        else:
            if not self._image.size:
                self._image = np.empty((self._size, *image.shape), image.dtype)
                self._valid = np.empty((self._size, *mask.shape), np.float32)
            member = len(self.places)
            self._image[member], self._valid[member] = image, mask
        self.places.append(place)

    def arrays(self) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
        """Return ``(batch, band, y, x)`` and ``(batch, 1, y, x)``; what is missing is 0."""
        self._image[len(self.places) :] = 0
        self._valid[len(self.places) :] = 0
        return self._image, self._valid

    def clear(self) -> None:
        """Make room for the next tiles."""
        self.places = []
        if self._size == 1:
            self._image, self._valid = np.empty(0), np.empty(0, np.float32)

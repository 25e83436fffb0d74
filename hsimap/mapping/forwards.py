"""Run the network over the tiles of a row, one or several of them at a time."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from hsimap.mapping.flags import footprint_flags
from hsimap.mapping.recycling import BATCHES_AHEAD, batches_in_use
from hsimap.scenes import valid_of
from hsimap.streams import prefetch, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from numpy.typing import NDArray

    from hsimap.arrays import Array
    from hsimap.mapping.adapter import FlaggedSource
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
    streams: int = 1
    """Batches that the runtime is given at a time, in threads of their own if more than 1."""

    def over(self, pixels: Iterable[TilePixels]) -> Generator[TileResult]:
        """Yield the tiles of whole rows in their order.

        What is yielded may be changed in place.
        """
        batches: Iterable[_Batch] = self._batches(pixels)
        if self.streams > 1:  # no stream waits until the next batch is made
            batches = prefetch(batches, depth=BATCHES_AHEAD)
        with closing(side_by_side(self._run, batches, workers=self.streams)) as done:
            for results in done:
                while results:
                    self.on_tile()
                    yield results.pop(0)

    def _batches(self, pixels: Iterable[TilePixels]) -> Iterator[_Batch]:
        """Yield batches, each with all tiles up to its last one; it is free when it was run."""
        rooms = cycle([_Batch(self.plan.batch) for _ in range(batches_in_use(self.streams))])
        batch = next(rooms)
        for tile, values, flags in pixels:
            inner = footprint_flags(self.plan, tile, flags, area=self.area)
            batch.results.append(TileResult(tile=tile, inner=inner, values=None))
            if valid_of(inner).any():
                batch.put(self.source.to_network(values), valid_of(flags))
            del values  # not needed while the network runs
            is_last = tile.col == self.plan.n_cols - 1
            if batch.is_full or is_last or not batch.places:
                yield batch
                batch = next(rooms)

    def _run(self, batch: _Batch) -> list[TileResult]:
        """Run a batch and empty it; return its tiles."""
        results = batch.results
        if batch.places:
            found = self.runtime.forward(*batch.arrays())
            for member, place in enumerate(batch.places):
                results[place].values = {name: array[member] for name, array in found.items()}
        batch.clear()
        return results


class _Batch:
    """Room for some tiles; one alone stays where it is.

    Parameters
    ----------
    size : int
        Tiles.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.results: list[TileResult] = []
        """Tiles that are in it, and such between them as are not run."""
        self.places: list[int] = []
        """Which of them are in it."""
        self._image: NDArray[np.generic] = np.empty(0)
        self._valid: NDArray[np.float32] = np.empty(0, np.float32)

    @property
    def is_full(self) -> bool:
        """Whether no tile fits in any more."""
        return len(self.places) == self._size

    def put(self, image: NDArray[np.generic], valid: NDArray[np.bool_]) -> None:
        """Add ``(band, y, x)`` and ``(y, x)`` of the last result."""
        mask = valid.astype(np.float32)[None]
        if self._size == 1:
            self._image, self._valid = image[None], mask[None]
        else:
            if not self._image.size:
                self._image = np.empty((self._size, *image.shape), image.dtype)
                self._valid = np.empty((self._size, *mask.shape), np.float32)
            member = len(self.places)
            self._image[member], self._valid[member] = image, mask
        self.places.append(len(self.results) - 1)

    def arrays(self) -> tuple[NDArray[np.generic], NDArray[np.float32]]:
        """Return ``(batch, band, y, x)`` and ``(batch, 1, y, x)``; what is missing is 0."""
        self._image[len(self.places) :] = 0
        self._valid[len(self.places) :] = 0
        return self._image, self._valid

    def clear(self) -> None:
        """Make room for the next tiles."""
        self.results, self.places = [], []
        if self._size == 1:
            self._image, self._valid = np.empty(0), np.empty(0, np.float32)

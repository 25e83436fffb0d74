"""The strips of a run on disk: which are there, which are still wanted, and how one is taken in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hsimap.crashpoints import crash_point
from hsimap.mapping.events import Listener, StripClock, ignore
from hsimap.mapping.journal import LayerStore, StripFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from hsimap.mapping.encoding import Product
    from hsimap.mapping.journal import RunFolder
    from hsimap.mapping.tiling import TilePlan


def strip_path(run: Path, product: Product) -> Path:
    """Return the file in a run folder that the strips of a map are in."""
    return run / f"{product.layer.name}.strips"


def strip_rows(tiles: TilePlan, strip: int, stride: int) -> tuple[int, int]:
    """Return the first row and the number of rows of a strip in a map of this stride."""
    window = tiles.strip(strip)
    return window.row // stride, -(-window.height // stride)


def write_strip(
    tiles: TilePlan,
    files: Sequence[tuple[Product, StripFile]],
    strip: int,
    values: Mapping[str, NDArray[np.generic]],
) -> dict[str, int]:
    """Write one strip of every map and wait until it is durable.

    Parameters
    ----------
    tiles : TilePlan
        Where the strip lies.
    files : sequence
        The maps and their files.
    strip : int
        Its index.
    values : mapping
        Map name to ``(band, y, x)`` of its dtype.

    Returns
    -------
    dict
        Map name to CRC-32 of what was written.
    """
    crc = {}
    for product, file in files:
        name = product.layer.name
        crc[name] = file.write(strip_rows(tiles, strip, product.output.stride)[0], values[name])
    crash_point("strip-written")
    for _, file in files:
        file.sync()
    crash_point("strip-durable")
    return crc


class StripBook:
    """The strips of one run: what is journalled and sound, and what is missing.

    Parameters
    ----------
    tiles : TilePlan
        How the rows are parted.
    products : sequence of Product
        The maps.
    run : RunFolder
        Where strips and journal are.
    listen : Listener
        Told of each strip.
    """

    def __init__(
        self,
        tiles: TilePlan,
        products: Sequence[Product],
        run: RunFolder,
        *,
        listen: Listener = ignore,
    ) -> None:
        self._tiles, self._run = tiles, run
        self._clock = StripClock(tiles, listen)
        self.stores: list[tuple[Product, LayerStore]] = []
        for product in products:
            self.stores.append((product, LayerStore(strip_path(run.path, product), product.layer)))
        self.wanted = [k for k in range(tiles.n_rows) if not self._is_sound(k)]
        self._missing = set(self.wanted)

    def _is_sound(self, strip: int) -> bool:
        stored = self._run.done.get(strip)
        return stored is not None and all(
            store.checksum(*strip_rows(self._tiles, strip, product.output.stride))
            == stored.get(product.layer.name)
            for product, store in self.stores
        )

    def start(self, tile_rows: int) -> None:
        """Start the clock of the missing strips, which stand on so many tile rows."""
        self._clock.start(self.wanted, tile_rows)

    def take(self, strip: int, values: Mapping[str, NDArray[np.generic]]) -> None:
        """Write a strip, journal it, and make tiles of the rows above the first one missing."""
        crc = write_strip(self._tiles, self.stores, strip, values)
        self._run.record(strip, crc)
        crash_point("strip-journalled")
        self._clock.finished(strip)
        self._missing.discard(strip)
        first = min(self._missing, default=self._tiles.n_rows)
        for product, store in self.stores:
            store.cog.advance(first * self._tiles.kept // product.output.stride)

    def close(self) -> None:
        """Give the files back."""
        for _, store in self.stores:
            store.close()

"""The strips of a run on disk: which are there, which are still wanted, and how one is taken in."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from hsimap.crashpoints import crash_point
from hsimap.mapping.encoding import encode_product
from hsimap.mapping.events import Listener, StripClock, ignore
from hsimap.mapping.memory import MAPS_AT_A_TIME, WRITE_BEHIND
from hsimap.mapping.stripfile import SUFFIX, LayerStore, Squares, StripFile
from hsimap.streams import drain, side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from hsimap.geometry import Window
    from hsimap.mapping.encoding import Product
    from hsimap.mapping.engine import Square
    from hsimap.mapping.journal import RunFolder
    from hsimap.mapping.tiling import TilePlan

    Files = Sequence[tuple[Product, StripFile]]
    Piece = tuple[Window, Mapping[str, NDArray[np.generic]]]
    """A window of some maps' own grid, and map name to ``(band, y, x)`` of its dtype."""
R = TypeVar("R")
File = TypeVar("File", bound=StripFile)


def open_strips(run: Path, product: Product, tiles: TilePlan, kind: type[File]) -> File:
    """Open the file in a run folder that the strips of a map are in, with an encoder or without."""
    path = run / f"{product.layer.name}{SUFFIX}"
    return kind(path, product.layer, Squares.of(tiles, product.stride))


def pour(
    tiles: TilePlan,
    files: Files,
    squares: Iterable[Square],
    settle: Callable[[int], R],
    *,
    streams: int = 1,
) -> Generator[R, None, None]:
    """Write squares as they come; settle each strip that is whole while the next is computed.

    Parameters
    ----------
    tiles : TilePlan
        Where the squares lie.
    files : sequence
        The maps and their files.
    squares : iterable of Square
        Row by row, from left to right.
    settle : callable
        Called with the index of a strip whose every square is written, in another thread.
    streams : int
        Squares that are computed side by side.

    Yields
    ------
    object
        What ``settle`` gave, strip by strip.
    """

    def write(square: Square) -> int | None:
        write_square(tiles, files, square)
        return square.tile.row if square.tile.col == tiles.n_cols - 1 else None

    # While a strip is made durable, no more than a tile row is computed, or two squares more than
    # are computed at a time where a row has fewer.
    written = min(WRITE_BEHIND, max(tiles.n_cols - streams - 1, 1))
    behind = max(tiles.n_cols - written - streams, 1)
    strips = drain(write, squares, depth=written)
    settled = drain(lambda k: [] if k is None else [settle(k)], strips, depth=behind)
    with closing(settled):  # type: ignore[type-var]  # drain is a generator
        for told in settled:
            yield from told


def write_square(tiles: TilePlan, files: Files, square: Square) -> None:
    """Encode one square for every map and store what of it stands in the maps."""
    foot, (height, width) = square.tile.footprint, square.flags.shape
    place = tiles.in_maps(replace(foot, height=height, width=width))
    if place.is_empty:
        return
    skip = (place.row + tiles.skip_rows - foot.row, place.col + tiles.skip_cols - foot.col)
    for product, file in files:
        s = product.stride
        values = encode_product(product, square.values, square.flags)
        rows, cols = (slice(n // s, None) for n in skip)
        part = values[:, rows, cols][:, : -(-place.height // s), : -(-place.width // s)]
        file.write(place.row // s, place.col // s, part)


def make_durable(tiles: TilePlan, files: Files, strip: int) -> dict[str, int]:
    """Wait until a strip is durable; return map name to the CRC-32 of what its file now holds."""
    crash_point("strip-written")

    def settle(item: tuple[Product, StripFile]) -> tuple[str, int]:
        product, file = item
        crc = _checksum(tiles, strip, product, file)
        file.sync()
        return product.layer.name, crc

    crc = dict(side_by_side(settle, files, workers=MAPS_AT_A_TIME))
    crash_point("strip-durable")
    return crc


def _checksum(tiles: TilePlan, strip: int, product: Product, file: StripFile) -> int:
    window, stride = tiles.in_maps(tiles.strip(strip)), product.stride
    return file.checksum(window.row // stride, -(-window.height // stride))


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
            self.stores.append((product, open_strips(run.path, product, tiles, LayerStore)))
        self.wanted = [k for k in range(tiles.n_rows) if not self._is_sound(k)]
        self._missing = set(self.wanted)

    def _is_sound(self, strip: int) -> bool:
        stored = self._run.done.get(strip)
        return stored is not None and all(
            _checksum(self._tiles, strip, product, store) == stored.get(product.layer.name)
            for product, store in self.stores
        )

    def start(self, tile_rows: int) -> None:
        """Start the clock of the missing strips, which stand on so many tile rows."""
        self._clock.start(self.wanted, tile_rows)

    def fill(self, squares: Iterable[Square], *, streams: int = 1) -> None:
        """Take in the squares of the missing strips; storing them overlaps computing them.

        ``streams`` squares are computed side by side.
        """
        settled = pour(self._tiles, self.stores, squares, self._settle, streams=streams)
        advanced = drain(self._advance, settled, depth=1)
        with closing(advanced):  # type: ignore[type-var]  # drain is a generator
            for _ in advanced:
                pass

    def take(self, strip: int, pieces: Iterable[Piece]) -> None:
        """Take in all pieces of a strip, each as it comes."""
        stores = {product.layer.name: store for product, store in self.stores}
        for window, values in pieces:
            for name, part in values.items():
                stores[name].write(window.row, window.col, part)
        self._advance(self._settle(strip))

    def _settle(self, strip: int) -> int:
        """Make a strip durable and journal it; return the row above which all are final."""
        self._run.record({strip: make_durable(self._tiles, self.stores, strip)})
        crash_point("strip-journalled")
        self._clock.finished(strip)
        self._missing.discard(strip)
        return self._tiles.in_maps(self._tiles.strip(min(self._missing, default=strip))).row

    def _advance(self, final: int) -> None:
        """Make tiles of the rows above ``final``, several maps at a time.

        What the last strip leaves is done at the end.
        """

        def advance(item: tuple[Product, LayerStore]) -> None:
            product, store = item
            store.advance(final // product.stride)

        for _ in side_by_side(advance, self.stores, workers=MAPS_AT_A_TIME):
            pass

    def close(self) -> None:
        """Give the files back."""
        for _, store in self.stores:
            store.close()

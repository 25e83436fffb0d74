"""How many tiles of a row are read in one piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hsimap.mapping.tiling import even_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsimap.mapping.memory import Reading
    from hsimap.mapping.tiling import TilePlan
    from hsimap.scenes import Storage

_PIECE_BYTES: Final = 512 << 20
"""Most that is read in one piece for its width's sake; wider ones cost more memory than time. An
eighth of it where blocks are decoded once anyway."""


def even_piece(tiles: TilePlan, widest: int, fits: Callable[[int], bool]) -> int:
    """Return how many tiles are read at once: in as few pieces as fit, and those of one size."""
    most = next((n for n in range(min(tiles.n_cols, widest), 1, -1) if fits(n)), 1)
    return even_group(tiles.n_cols, most)


def widest_piece(tiles: TilePlan, pixel: int, reading: Reading, storage: Storage | None) -> int:
    """Return the most tiles that are worth reading in one piece, of so many bytes a pixel.

    Our own decoder goes on with the next piece by itself. There a piece need only be as wide as a
    block; of a single tile nothing has to be cut out, which is a copy of all pixels less.
    """
    if reading.block and storage is not None and storage.keeps:
        return -(-storage.block[1] // tiles.kept)
    return _PIECE_BYTES // ((8 if reading.block else 1) * tiles.side * tiles.kept * pixel)

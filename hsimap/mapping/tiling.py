"""Plan the overlapped tiles of a scene. Integers only: no pixel is read here.

One axis of a scene of 20 pixels; kept = 8, ramp = 2, trim = 3 (``-`` trim, ``r`` ramp)::

    tile 0   reads [-3, 13)   ---KKKKKKKKrr---
    tile 1   reads [ 5, 21)           ---rrKKKKKKrr---
    tile 2   reads [13, 29)                   ---rrKKKKKKrr---

The *footprint* of tile k is ``[k * kept, (k + 1) * kept + ramp)``; its first ``ramp`` pixels
are shared with tile k - 1. Strip k, ``[k * kept, (k + 1) * kept)``, needs tile rows k - 1 and
k only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hsimap.errors import UsageError
from hsimap.geometry import Window, round_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_AS_GOOD: Final = 1.02
"""Price over the least that is possible; a smaller tile is worth it."""
_TILE_PIXELS: Final = 8192
"""Pixels of a light network that take the time which a tile takes besides: 15 ms."""
READ_AHEAD: Final = 1
"""Pieces of a tile row that wait between the reader and the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One square that the network is run on."""

    row: int
    """Tile row."""
    col: int
    """Tile column."""
    read: Window
    """Pixels of the scene fed to the network: always ``side x side``, past its edge if needed."""
    footprint: Window
    """Pixels of the plan that the tile contributes to (kept square and lower ramps), clipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """The global tile grid of one scene, counted from its pixel (0, 0), or a part of it."""

    height: int
    """Rows of the scene, or of the part."""
    width: int
    """Columns of the scene, or of the part."""
    kept: int
    """Side of the square a tile answers for, in pixels."""
    trim: int
    """Context on each side that is thrown away, in pixels."""
    ramp: int
    """Width of the cross-fade with the next tile, in pixels."""
    alignment: int
    """Step that ``kept``, ``trim`` and ``ramp`` are multiples of."""
    row: int = 0
    """Row of the scene that is this plan's first; a plan of a part begins at one of its tiles."""
    col: int = 0
    """Column of the scene that is this plan's first."""
    skip_rows: int = 0
    """Rows at the top that stand in no map: their tiles are needed for what lies below."""
    skip_cols: int = 0
    """The same of columns on the left."""
    batch: int = 1
    """Tiles of a row that the network is given at a time; the last batch of a row is filled up."""

    def __post_init__(self) -> None:
        """Refuse a plan that leaves the alignment grid or fades across more than one tile."""
        if self.height < 1 or self.width < 1:
            raise UsageError(f"a scene needs 1 x 1 pixel or more, got {self.height} x {self.width}")
        if self.kept < 1 or min(self.trim, self.ramp) < 0 or self.ramp > self.kept:
            raise UsageError(
                f"tile must be positive, trim and ramp not negative and ramp at most the tile;"
                f" got tile {self.kept}, trim {self.trim}, ramp {self.ramp}"
            )
        if self.batch < 1:
            raise UsageError(f"a batch needs 1 tile or more, got {self.batch}")
        if any(value % self.alignment for value in (self.kept, self.trim, self.ramp)):
            raise UsageError(
                f"tile, trim and ramp must be multiples of {self.alignment} (the model's"
                f" alignment); got {self.kept}, {self.trim}, {self.ramp}"
            )

    @property
    def side(self) -> int:
        """Side of the square that is read, in pixels."""
        return self.kept + 2 * self.trim + self.ramp

    @property
    def n_rows(self) -> int:
        """Tile rows, which is also the number of strips."""
        return -(-self.height // self.kept)

    @property
    def n_cols(self) -> int:
        """Tiles in a tile row."""
        return -(-self.width // self.kept)

    @property
    def map_shape(self) -> tuple[int, int]:
        """``(y, x)`` of the maps, in pixels of the scene."""
        return self.height - self.skip_rows, self.width - self.skip_cols

    @property
    def ratio(self) -> float:
        """Computed pixels (padding and what fills up a batch counted) over mapped pixels."""
        height, width = self.map_shape
        columns = -(-self.n_cols // self.batch) * self.batch
        return self.n_rows * columns * self.side**2 / (height * width)

    def tile(self, row: int, col: int) -> Tile:
        """Return one tile."""
        top, left = row * self.kept, col * self.kept
        foot = Window(row=top, col=left, height=self.kept + self.ramp, width=self.kept + self.ramp)
        return Tile(
            row=row,
            col=col,
            read=Window(
                row=self.row + top - self.trim,
                col=self.col + left - self.trim,
                height=self.side,
                width=self.side,
            ),
            footprint=foot.clip(height=self.height, width=self.width),
        )

    def in_scene(self, window: Window) -> Window:
        """Return a window of the plan as one of the scene."""
        return window.shift(rows=self.row, cols=self.col)

    def in_maps(self, window: Window) -> Window:
        """Return the part of a window of the plan that stands in the maps, as one of theirs."""
        moved = window.shift(rows=-self.skip_rows, cols=-self.skip_cols)
        height, width = self.map_shape
        return moved.clip(height=height, width=width)

    def part(self, window: Window) -> TilePlan:
        """Return the tiles that the pixels of a window are made of, as a plan of their own.

        Its pixels in the window have the bits of the whole plan's.

        Parameters
        ----------
        window : Window
            Inside the scene; a window of the whole plan.
        """
        top, left = (self._first_tile(start) for start in (window.row, window.col))
        return replace(
            self,
            height=window.row + window.height - top,
            width=window.col + window.width - left,
            row=self.row + top,
            col=self.col + left,
            skip_rows=window.row - top,
            skip_cols=window.col - left,
        )

    def _first_tile(self, start: int) -> int:
        """Return where the first tile begins that a pixel is made of, along one axis."""
        tile = start // self.kept
        faded = tile > 0 and start - tile * self.kept < self.ramp
        return (tile - faded) * self.kept

    def row_tiles(self, row: int) -> Iterator[Tile]:
        """Yield the tiles of a tile row, from left to right."""
        return (self.tile(row, col) for col in range(self.n_cols))

    def row_window(self, row: int) -> Window:
        """Return the rows that a tile row contributes to, over the scene's whole width."""
        top = row * self.kept
        window = Window(row=top, col=0, height=self.kept + self.ramp, width=self.width)
        return window.clip(height=self.height, width=self.width)

    def strip(self, index: int) -> Window:
        """Return the rows of a strip, over the scene's whole width."""
        window = Window(row=index * self.kept, col=0, height=self.kept, width=self.width)
        return window.clip(height=self.height, width=self.width)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileRules:
    """What a bundle, and where given the user, ask of the tile grid."""

    alignment: int
    """Tile starts, trims and ramps are multiples of this, in pixels."""
    patch: int
    """The network refuses squares whose side is smaller, in pixels."""
    trim: int
    """Context thrown away on each side, in pixels."""
    ramp: int
    """Cross-fade, in pixels."""
    max_tile: int
    """Largest kept side that is chosen unasked, in pixels."""
    tile: int | None = None
    """Kept side asked for by the user; None = choose."""
    batch: int = 1
    """Tiles in a batch, as far as a row has so many."""


def even_group(count: int, most: int) -> int:
    """Return the size of a group where so many are parted in as few groups as may be.

    Examples
    --------
    >>> even_group(9, 8)
    5
    """
    return -(-count // -(-count // most))


def plan_tiles(
    *, height: int, width: int, rules: TileRules, fits: Callable[[TilePlan], bool]
) -> TilePlan:
    """Lay the tile grid with about the fewest computed pixels that the rules and the memory allow.

    Parameters
    ----------
    height, width : int
        Shape of the scene, in pixels.
    rules : TileRules
        Alignment, patch, trim, ramp and tile; rounded up to the alignment.
    fits : callable
        Whether a plan fits the memory; a plan that the user asked for is not put to it.

    Returns
    -------
    TilePlan
        Of plans that cost at most 2 % more than the best one that of the smallest tile: fresh
        memory is dear. A plan costs its computed pixels and some for each tile. A scene that fits
        one tile has no ramp, since it has no neighbour to fade into. Where no plan fits, the
        smallest one is returned: the caller names the memory it needs.
    """
    step = rules.alignment
    trim, ramp = round_up(rules.trim, step), round_up(rules.ramp, step)
    least = round_up(max(step, ramp, rules.patch - 2 * trim - ramp), step)

    def plan(kept: int) -> TilePlan:
        single = kept >= max(height, width) and kept + 2 * trim >= rules.patch
        return TilePlan(
            height=height,
            width=width,
            kept=kept,
            trim=trim,
            ramp=0 if single else ramp,
            alignment=step,
            batch=min(rules.batch, -(-width // kept)),
        )

    if rules.tile is not None:
        return plan(max(least, round_up(rules.tile, step)))
    most = max(least, min(round_up(rules.max_tile, step), round_up(max(height, width), step)))
    plans = [plan(kept) for kept in range(least, most + 1, step)]
    fitting = [plan for plan in plans if fits(plan)] or plans[:1]
    best = min(_price(plan) for plan in fitting)
    return next(plan for plan in fitting if _price(plan) <= _AS_GOOD * best)


def _price(plan: TilePlan) -> float:
    """Return what a plan costs, in computed pixels a mapped one; tiles cost some besides theirs."""
    return plan.ratio * (1 + _TILE_PIXELS / plan.side**2)

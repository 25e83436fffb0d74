"""Run the network over a scene, tile row by tile row, and give out finished strips."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hsimap.mapping.blending import TileRow, TileSquares, blend_strip
from hsimap.mapping.forwards import Forwards
from hsimap.mapping.recycling import RecyclingSource
from hsimap.mapping.tiling import READ_AHEAD
from hsimap.scenes import Quality, valid_of
from hsimap.streams import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.arrays import Array
    from hsimap.geometry import Window
    from hsimap.mapping.adapter import FlaggedSource
    from hsimap.mapping.flags import Area
    from hsimap.mapping.forwards import TilePixels, TileResult
    from hsimap.mapping.tiling import Tile, TilePlan
    from hsimap.runtimes import Runtime
    from hsimap.tasks import Output

    TileGroup = tuple[list[Tile], Window, NDArray[np.generic], NDArray[np.uint8]]

    class ReadNext(Protocol):
        """See :meth:`hsimap.mapping.recycling.RecyclingSource.read_flagged`."""

        def __call__(
            self, window: Window, *, shared: int
        ) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
            """Read a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Finished rows of a scene, over its whole width."""

    index: int
    values: dict[str, NDArray[np.float32]]
    """Output name to ``(channel, y, x) float32``, blended; meaningless where not valid."""
    flags: NDArray[np.uint8]
    """``(y, x)`` :class:`Quality` at the scene's resolution; ``UNWANTED`` = outside the area."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """``(y, x)`` True = mapped."""
        return valid_of(self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Finished pixels that one tile answers for."""

    tile: Tile
    values: dict[str, Array]
    """Output name to ``(channel, y, x) float32``, blended, where the network left its results;
    meaningless where not valid."""
    flags: NDArray[np.uint8]
    """``(y, x)`` :class:`Quality` at the scene's resolution; ``UNWANTED`` = outside the area."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """``(y, x)`` True = mapped."""
        return valid_of(self.flags)


@dataclass(slots=True, kw_only=True)
class RowResult:
    """The canvases of one tile row."""

    values: dict[str, NDArray[np.float32]]
    """Output name to ``(channel, y, x) float32`` over the row's footprint."""
    flags: NDArray[np.uint8]
    """``(y, x)`` over the row's footprint."""

    def copy(self) -> RowResult:
        """Return a copy whose canvases may be blended in place."""
        values = {name: canvas.copy() for name, canvas in self.values.items()}
        return RowResult(values=values, flags=self.flags)


class Engine:
    """One network over one scene.

    Parameters
    ----------
    plan : TilePlan
        The scene's tile grid.
    source : FlaggedSource
        Where the pixels come from.
    runtime : Runtime
        The network.
    outputs : sequence of Output
        What the network gives.
    on_tile : callable, optional
        Called after each tile.
    at_once : int
        Tiles of a row that are read in one piece: a wide window spans several blocks of a GeoTIFF,
        which are decoded side by side, and whole lines of a raw file.
    grows : bool
        Whether the first pieces are smaller, so that the network soon has work; a source that
        keeps rows of blocks is to be asked for the same columns in each row.
    streams : int
        Forwards that are run side by side; the source must give them memory of their own.
    area : Area, optional
        Which pixels are wanted; tiles without any are not run.
    """

    def __init__(  # noqa: PLR0913  # what a run consists of
        self,
        plan: TilePlan,
        source: FlaggedSource,
        *,
        runtime: Runtime,
        outputs: Sequence[Output],
        on_tile: Callable[[], None] = lambda: None,
        at_once: int = 1,
        grows: bool = True,
        streams: int = 1,
        area: Area | None = None,
    ) -> None:
        self._plan, self._source, self._area = plan, source, area
        self._outputs, self._at_once, self._grows = outputs, at_once, grows
        self._forwards = Forwards(
            plan=plan, source=source, runtime=runtime, area=area, on_tile=on_tile, streams=streams
        )

    def strips(self, wanted: Sequence[int]) -> Iterator[Strip]:
        """Yield the wanted strips in rising order.

        Each gap in ``wanted`` costs one tile row that is computed for its lower ramp only.
        """
        rows = rows_needed(self._plan, wanted)
        emit = set(wanted)
        carry: dict[str, NDArray[np.float32]] = {}
        previous = -1
        with closing(self._read_ahead(rows)) as groups:
            pixels = cut_tiles(self._plan, groups)
            for row in rows:
                if row != previous + 1:
                    carry = {}
                result = self.compute_row(row, pixels)
                strip, carry = self.blend(row, result, carry)
                previous = row
                if row in emit:
                    yield strip

    def squares(self, wanted: Sequence[int]) -> Iterator[Square]:
        """Yield the finished squares of the wanted strips, row by row, from left to right.

        The numbers are those of :meth:`strips`; no more than a tile and the ramps is held.
        """
        rows, emit = rows_needed(self._plan, wanted), set(wanted)
        canvases = {
            output.name: TileSquares(self._plan, channels=output.channels, stride=output.stride)
            for output in self._outputs
        }
        row = -1
        with (
            closing(self._read_ahead(rows)) as groups,
            closing(self._forwards.over(cut_tiles(self._plan, groups))) as results,
        ):
            for result in results:
                if result.tile.row != row:
                    for canvas in canvases.values():
                        canvas.start_row(result.tile.row, follows=result.tile.row == row + 1)
                    row = result.tile.row
                square = self._square(result, canvases)
                del result  # the next tile needs the memory
                if row in emit:
                    yield square
                del square

    def _square(self, result: TileResult, canvases: dict[str, TileSquares]) -> Square:
        """Blend a tile in."""
        tile, values, kept = result.tile, result.values, self._plan.kept
        finished = {
            name: canvas.add(tile, None if values is None else values[name])
            for name, canvas in canvases.items()
        }
        return Square(tile=tile, values=finished, flags=result.inner[:kept, :kept])

    def _read_ahead(self, rows: Sequence[int]) -> Generator[TileGroup]:
        """Read tile rows ahead."""
        first = rows[0] if self._grows and rows else None
        groups = (g for row in rows for g in self._groups(row, growing=row == first))
        return prefetch(groups, depth=READ_AHEAD)

    def read_row(self, row: int) -> Iterator[TilePixels]:
        """Read the tiles of one row, one by one, without reading ahead."""
        parts = groups_of(self._plan, row, 1)
        return cut_tiles(self._plan, read_groups(self._source, self._plan, parts, self._is_wanted))

    def _groups(self, row: int, *, growing: bool) -> Iterator[TileGroup]:
        parts = groups_of(self._plan, row, self._at_once, growing=growing)
        return read_groups(self._source, self._plan, parts, self._is_wanted)

    def _is_wanted(self, tile: Tile) -> bool:
        return self._area is None or self._area.touches(self._plan.in_scene(tile.footprint))

    def compute_row(self, row: int, pixels: Iterator[TilePixels]) -> RowResult:
        """Run the network on the tiles of one row, the next ``n_cols`` items of ``pixels``."""
        canvases = {
            output.name: TileRow(self._plan, row, channels=output.channels, stride=output.stride)
            for output in self._outputs
        }
        window = self._plan.row_window(row)
        seen = np.zeros((window.height, window.width), np.uint8)
        for result in self._forwards.over(islice(pixels, self._plan.n_cols)):
            foot = result.tile.footprint
            seen[:, foot.col : foot.col + foot.width] = result.inner
            for name, values in (result.values or {}).items():
                canvases[name].add(result.tile, values)
        return RowResult(
            values={name: canvas.values for name, canvas in canvases.items()}, flags=seen
        )

    def blend(
        self, row: int, result: RowResult, carry: dict[str, NDArray[np.float32]]
    ) -> tuple[Strip, dict[str, NDArray[np.float32]]]:
        """Fade ``carry``, the lower ramps of the row above, in; give the strip and its ramps."""
        strip, lower = {}, {}
        for output in self._outputs:
            strip[output.name], lower[output.name] = blend_strip(
                carry.get(output.name),
                result.values[output.name],
                kept=self._plan.kept // output.stride,
                ramp=self._plan.ramp // output.stride,
            )
        height = self._plan.strip(row).height
        return Strip(index=row, values=strip, flags=result.flags[:height]), lower

    def lower_ramps(self, result: RowResult) -> dict[str, NDArray[np.float32]]:
        """Return the lower ramp of each canvas of a row."""
        ramps = {}
        for output in self._outputs:
            kept, ramp = self._plan.kept // output.stride, self._plan.ramp // output.stride
            ramps[output.name] = result.values[output.name][:, kept : kept + ramp]
        return ramps


def rows_needed(plan: TilePlan, wanted: Sequence[int]) -> list[int]:
    """Return the tile rows that the wanted strips stand on, in rising order.

    Strip k stands on rows k - 1 and k; without a ramp on row k alone.
    """
    above = {index - 1 for index in wanted if index and plan.ramp}
    return sorted(above | set(wanted))


def groups_of(plan: TilePlan, row: int, at_once: int, *, growing: bool = False) -> list[list[Tile]]:
    """Return the tiles of a row in runs of ``at_once``, if asked for after ones of 1, 2, 4..."""
    tiles = list(plan.row_tiles(row))
    groups, size = [], 1 if growing else at_once
    while tiles:
        groups.append(tiles[:size])
        del tiles[:size]
        size = min(2 * size, at_once)
    return groups


def read_groups(
    source: FlaggedSource,
    plan: TilePlan,
    groups: Iterable[list[Tile]],
    wanted: Callable[[Tile], bool] = lambda tile: True,  # noqa: ARG005  # every one
) -> Iterator[TileGroup]:
    """Read the tiles of a row in groups; columns that two groups share are read once.

    Groups without a wanted tile are not read; theirs are empty arrays of pixels, ``NO_DATA``.

    Parameters
    ----------
    source : FlaggedSource
        Where the pixels come from.
    plan : TilePlan
        Where the tiles lie.
    groups : iterable of list
        Neighbours each, from left to right, as :func:`groups_of` parts a row.
    wanted : callable
        Whether a tile is mapped.

    Yields
    ------
    tiles : list of Tile
        A group.
    window : Window
        Their pixels.
    values : ndarray
        ``(band, side, x)`` in storage units.
    flags : ndarray
        ``(side, x)``.
    """
    overlap = max(plan.side - plan.kept, 0)
    read = source.read_flagged if isinstance(source, RecyclingSource) else _joining(source)
    shared = 0
    for group in groups:
        left, right = group[0].read.col, group[-1].read.col + plan.side
        window = replace(group[0].read, width=right - left)
        if any(map(wanted, group)):
            yield group, window, *read(window, shared=shared)
            shared = overlap
        else:
            size = (window.height, window.width)
            yield group, window, np.empty((0, *size)), np.full(size, Quality.NO_DATA, np.uint8)
            shared = 0


def _joining(source: FlaggedSource) -> ReadNext:
    """Return how a source reads whose pixels are in fresh memory each time."""
    last: list[tuple[NDArray[np.generic], NDArray[np.uint8]]] = []

    def read(window: Window, *, shared: int) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        fresh = replace(window, col=window.col + shared, width=window.width - shared)
        values, flags = source.read_flagged(fresh)
        if shared:
            before = last.pop()
            values = np.concatenate([before[0][:, :, -shared:], values], axis=2)
            flags = np.concatenate([before[1][:, -shared:], flags], axis=1)
        last[:] = [(values, flags)]
        return values, flags

    return read


def cut_tiles(plan: TilePlan, groups: Iterable[TileGroup]) -> Iterator[TilePixels]:
    """Yield ``(tile, values, flags)``, ``(band, side, side)`` and ``(side, side)``, from groups."""
    for group, window, values, flags in groups:
        for tile in group:
            left = tile.read.col - window.col
            yield tile, values[:, :, left : left + plan.side], flags[:, left : left + plan.side]

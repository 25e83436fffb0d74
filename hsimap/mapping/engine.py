"""Run the network over a scene, tile row by tile row, and give out finished strips."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hsimap.mapping.adapter import RecyclingSource
from hsimap.mapping.blending import TileRow, TileSquares, blend_strip
from hsimap.mapping.tiling import READ_AHEAD
from hsimap.streams import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.geometry import Window
    from hsimap.mapping.adapter import Source
    from hsimap.mapping.tiling import Tile, TilePlan
    from hsimap.runtimes import Runtime
    from hsimap.tasks import Output

    TileGroup = tuple[list[Tile], Window, NDArray[np.generic], NDArray[np.bool_]]
    TilePixels = tuple[Tile, NDArray[np.generic], NDArray[np.bool_]]

    class ReadNext(Protocol):
        """See :meth:`hsimap.mapping.adapter.RecyclingSource.read`."""

        def __call__(
            self, window: Window, *, shared: int
        ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
            """Read a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Finished rows of a scene, over its whole width."""

    index: int
    values: dict[str, NDArray[np.float32]]
    """Output name to ``(channel, y, x) float32``, blended; meaningless where not valid."""
    valid: NDArray[np.bool_]
    """``(y, x)`` at the scene's resolution, True = valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Finished pixels that one tile answers for."""

    tile: Tile
    values: dict[str, NDArray[np.float32]]
    """Output name to ``(channel, y, x) float32``, blended; meaningless where not valid."""
    valid: NDArray[np.bool_]
    """``(y, x)`` at the scene's resolution, True = valid."""


@dataclass(slots=True, kw_only=True)
class RowResult:
    """The canvases of one tile row."""

    values: dict[str, NDArray[np.float32]]
    """Output name to ``(channel, y, x) float32`` over the row's footprint."""
    valid: NDArray[np.bool_]
    """``(y, x)`` over the row's footprint."""

    def copy(self) -> RowResult:
        """Return a copy whose canvases may be blended in place."""
        values = {name: canvas.copy() for name, canvas in self.values.items()}
        return RowResult(values=values, valid=self.valid)


class Engine:
    """One network over one scene.

    Parameters
    ----------
    plan : TilePlan
        The scene's tile grid.
    source : Source
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
    """

    def __init__(
        self,
        plan: TilePlan,
        source: Source,
        *,
        runtime: Runtime,
        outputs: Sequence[Output],
        on_tile: Callable[[], None] = lambda: None,
        at_once: int = 1,
    ) -> None:
        self._plan, self._source, self._runtime = plan, source, runtime
        self._outputs, self._on_tile, self._at_once = outputs, on_tile, at_once

    def strips(self, wanted: Sequence[int]) -> Iterator[Strip]:
        """Yield the wanted strips in rising order.

        Each gap in ``wanted`` costs one tile row that is computed for its lower ramp only.
        """
        rows = rows_needed(self._plan, wanted)
        emit = set(wanted)
        groups = self._read_ahead(rows)
        pixels = cut_tiles(self._plan, groups)
        carry: dict[str, NDArray[np.float32]] = {}
        previous = -1
        with closing(groups):  # type: ignore[type-var]  # prefetch is a generator
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
        groups = self._read_ahead(rows)
        pixels = cut_tiles(self._plan, groups)
        previous = -1
        with closing(groups):  # type: ignore[type-var]  # prefetch is a generator
            for row in rows:
                for canvas in canvases.values():
                    canvas.start_row(row, follows=row == previous + 1)
                previous = row
                for _ in range(self._plan.n_cols):
                    square = self._square(pixels, canvases)
                    if row in emit:
                        yield square
                    del square  # the next tile needs the memory

    def _square(self, pixels: Iterator[TilePixels], canvases: dict[str, TileSquares]) -> Square:
        """Run the network on the next tile and blend it in."""
        tile, inner, results = self._run(pixels)
        finished = {
            name: canvas.add(tile, None if results is None else results[name][0])
            for name, canvas in canvases.items()
        }
        kept = self._plan.kept
        return Square(tile=tile, values=finished, valid=inner[:kept, :kept])

    def _run(
        self, pixels: Iterator[TilePixels]
    ) -> tuple[Tile, NDArray[np.bool_], dict[str, NDArray[np.float32]] | None]:
        """Return the next tile, its footprint's validity, and what the network makes of it.

        None where no pixel is valid.
        """
        tile, values, valid = next(pixels)
        foot, trim = tile.footprint, self._plan.trim
        inner = valid[trim:, trim:][: foot.height, : foot.width]
        results = None
        if inner.any():
            image = self._source.to_network(values)[None]
            del values  # not needed while the network runs
            results = self._runtime.forward(image, valid.astype(np.float32)[None, None])
        self._on_tile()
        return tile, inner, results

    def _read_ahead(self, rows: Sequence[int]) -> Iterator[TileGroup]:
        return prefetch(
            (
                group
                for row in rows
                for group in read_groups(self._source, self._plan, row, at_once=self._at_once)
            ),
            depth=READ_AHEAD,
        )

    def read_row(self, row: int) -> Iterator[TilePixels]:
        """Read the tiles of one row, one by one, without reading ahead."""
        return cut_tiles(self._plan, read_groups(self._source, self._plan, row, at_once=1))

    def compute_row(self, row: int, pixels: Iterator[TilePixels]) -> RowResult:
        """Run the network on the tiles of one row, the next ``n_cols`` items of ``pixels``."""
        canvases = {
            output.name: TileRow(self._plan, row, channels=output.channels, stride=output.stride)
            for output in self._outputs
        }
        window = self._plan.row_window(row)
        seen = np.zeros((window.height, window.width), dtype=bool)
        for _ in range(self._plan.n_cols):
            tile, inner, results = self._run(pixels)
            foot = tile.footprint
            seen[:, foot.col : foot.col + foot.width] = inner
            for name, result in (results or {}).items():
                canvases[name].add(tile, result[0])
        return RowResult(
            values={name: canvas.values for name, canvas in canvases.items()}, valid=seen
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
        return Strip(index=row, values=strip, valid=result.valid[:height]), lower

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


def read_groups(source: Source, plan: TilePlan, row: int, *, at_once: int) -> Iterator[TileGroup]:
    """Read the tiles of a row in groups; columns that two groups share are read once.

    Yields
    ------
    tiles : list of Tile
        Up to ``at_once`` neighbours.
    window : Window
        Their pixels.
    values : ndarray
        ``(band, side, x)`` in storage units.
    valid : ndarray
        ``(side, x)``.
    """
    tiles, overlap = list(plan.row_tiles(row)), max(plan.side - plan.kept, 0)
    read = source.read if isinstance(source, RecyclingSource) else _joining(source)
    for first in range(0, len(tiles), at_once):
        group = tiles[first : first + at_once]
        left, right = group[0].read.col, group[-1].read.col + plan.side
        window = replace(group[0].read, width=right - left)
        yield group, window, *read(window, shared=overlap if first else 0)


def _joining(source: Source) -> ReadNext:
    """Return how a source reads whose pixels are in fresh memory each time."""
    last: list[tuple[NDArray[np.generic], NDArray[np.bool_]]] = []

    def read(window: Window, *, shared: int) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        fresh = replace(window, col=window.col + shared, width=window.width - shared)
        values, valid = source.read(fresh)
        if shared:
            before = last.pop()
            values = np.concatenate([before[0][:, :, -shared:], values], axis=2)
            valid = np.concatenate([before[1][:, -shared:], valid], axis=1)
        last[:] = [(values, valid)]
        return values, valid

    return read


def cut_tiles(plan: TilePlan, groups: Iterable[TileGroup]) -> Iterator[TilePixels]:
    """Yield ``(tile, values, valid)``, ``(band, side, side)`` and ``(side, side)``, from groups."""
    for group, window, values, valid in groups:
        for tile in group:
            left = tile.read.col - window.col
            yield tile, values[:, :, left : left + plan.side], valid[:, left : left + plan.side]

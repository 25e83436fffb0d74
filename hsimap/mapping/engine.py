"""Run the network over a scene, tile row by tile row, and give out finished strips."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hsimap.mapping.blending import TileRow, blend_strip
from hsimap.streams import prefetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.mapping.adapter import Source
    from hsimap.mapping.tiling import Tile, TilePlan
    from hsimap.runtimes import Runtime
    from hsimap.tasks import Output

    TilePixels = tuple[Tile, NDArray[np.generic], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """Finished rows of a scene, over its whole width."""

    index: int
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
    read_ahead : int
        Tiles that are read while one is computed.
    """

    def __init__(
        self,
        plan: TilePlan,
        source: Source,
        *,
        runtime: Runtime,
        outputs: Sequence[Output],
        on_tile: Callable[[], None] = lambda: None,
        read_ahead: int = 1,
    ) -> None:
        self._plan, self._source, self._runtime = plan, source, runtime
        self._outputs, self._on_tile, self._read_ahead = outputs, on_tile, read_ahead

    def strips(self, wanted: Sequence[int]) -> Iterator[Strip]:
        """Yield the wanted strips in rising order.

        Each gap in ``wanted`` costs one tile row that is computed for its lower ramp only.
        """
        rows = rows_needed(self._plan, wanted)
        emit = set(wanted)
        pixels = prefetch(
            (item for row in rows for item in read_tiles(self._source, self._plan, row)),
            depth=self._read_ahead,
        )
        carry: dict[str, NDArray[np.float32]] = {}
        previous = -1
        with closing(pixels):  # type: ignore[type-var]  # prefetch is a generator
            for row in rows:
                if row != previous + 1:
                    carry = {}
                result = self.compute_row(row, pixels)
                strip, carry = self.blend(row, result, carry)
                previous = row
                if row in emit:
                    yield strip

    def read_row(self, row: int) -> Iterator[TilePixels]:
        """Read the tiles of one row, without reading ahead."""
        return read_tiles(self._source, self._plan, row)

    def compute_row(self, row: int, pixels: Iterator[TilePixels]) -> RowResult:
        """Run the network on the tiles of one row, the next ``n_cols`` items of ``pixels``."""
        canvases = {
            output.name: TileRow(self._plan, row, channels=output.channels, stride=output.stride)
            for output in self._outputs
        }
        window = self._plan.row_window(row)
        seen = np.zeros((window.height, window.width), dtype=bool)
        for _ in range(self._plan.n_cols):
            tile, values, valid = next(pixels)
            foot = tile.footprint
            inner = valid[self._plan.trim :, self._plan.trim :][: foot.height, : foot.width]
            seen[:, foot.col : foot.col + foot.width] = inner
            if inner.any():
                image = self._source.to_network(values)[None]
                del values  # as large as half the image; not needed while the network runs
                mask = valid.astype(np.float32)[None, None]
                results = self._runtime.forward(image, mask)
                del image  # else it lies beside the next tile's
                for name, result in results.items():
                    canvases[name].add(tile, result[0])
            self._on_tile()
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


def read_tiles(
    source: Source, plan: TilePlan, row: int
) -> Iterator[tuple[Tile, NDArray[np.generic], NDArray[np.bool_]]]:
    """Yield ``(tile, values, valid)`` of a tile row; columns that two tiles share are read once.

    ``values`` is ``(band, side, side)`` in storage units, ``valid`` is ``(side, side)``.
    """
    shared = plan.side - plan.kept
    edge: tuple[NDArray[np.generic], NDArray[np.bool_]] | None = None
    for tile in plan.row_tiles(row):
        if edge is None:
            values, valid = source.read(tile.read)
        else:
            fresh = replace(tile.read, col=tile.read.col + shared, width=plan.side - shared)
            values, valid = source.read(fresh)
            values = np.concatenate([edge[0], values], axis=2)
            valid = np.concatenate([edge[1], valid], axis=1)
        if shared > 0:  # a copy: a view would keep the whole tile
            edge = values[:, :, -shared:].copy(), valid[:, -shared:].copy()
        whole = [(tile, values, valid)]
        del values, valid
        yield whole.pop()

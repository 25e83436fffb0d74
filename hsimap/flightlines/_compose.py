"""The maps of a mosaic, and how a strip of them is computed."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.flightlines._agreement import Sums
from hsimap.flightlines._blend import COUNT, SOURCE, agreements, blend, read_part, sources
from hsimap.flightlines._grid import bounds_on
from hsimap.flightlines._lines import layer_on, value_layer
from hsimap.flightlines._weights import Method
from hsimap.geometry import Window, round_up
from hsimap.mapping.encoding import Product
from hsimap.mapping.tiling import TilePlan
from hsimap.products import Layer
from hsimap.tasks import ClassLabel, Kind, Task, default_colors, main_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.flightlines._lines import FilePool, MappedLine, Variable
    from hsimap.flightlines._weights import Weight
    from hsimap.geometry import Grid

_BLOCK: Final = 256
_AGREEMENT: Final = Task(
    name="agreement",
    kind=Kind.CONTINUOUS,
    title="share of the lines' pairs that agree",
    unit="1",
    range=(0, 1),
)
_DIFFERENCE: Final = Task(name="difference", kind=Kind.CONTINUOUS, title="difference of the lines")


@dataclass(frozen=True, slots=True, kw_only=True)
class MosaicSettings:
    """The options of ``hsimap mosaic``."""

    method: Method = Method.NADIR
    template: Path | None = None
    """Raster whose grid is taken."""
    zenith: str | None = None
    """Path of each line's layer of the view's zenith angle; ``{line}`` = the line's name."""
    overwrite: bool = False
    """Replace another mosaic."""
    block: int = _BLOCK
    """Side of what is computed at once, in pixels; no byte depends on it."""


class Composer:
    """A mosaic's maps, and how a strip of them is computed.

    Parameters
    ----------
    lines : sequence of MappedLine
        In the order of their numbers.
    weights : sequence of Weight
        How much each of them counts.
    grid : Grid
        Of the mosaic.
    settings : MosaicSettings
        Method and block.
    pool : FilePool
        Opens the lines' maps.
    """

    def __init__(
        self,
        lines: Sequence[MappedLine],
        weights: Sequence[Weight],
        *,
        grid: Grid,
        settings: MosaicSettings,
        pool: FilePool,
    ) -> None:
        self._lines, self._weights, self._pool = lines, weights, pool
        self.names = [line.name for line in lines]
        self._grid, self._method, self._block = grid, settings.method, settings.block
        self.variables = lines[0].variables
        self._strides = sorted({variable.stride for variable in self.variables})
        self._bounds = {
            s: [bounds_on(grid.coarsen(s), line.grid) for line in lines] for s in self._strides
        }
        step = lcm(*self._strides)
        kept = min(round_up(settings.block, step), round_up(grid.height, step))
        self.tiles = TilePlan(
            height=grid.height, width=grid.width, kept=kept, trim=0, ramp=0, alignment=step
        )

    def products(self) -> list[Product]:
        """List the maps of the mosaic."""
        tags = {
            "HSIMAP_MODEL": self._lines[0].model_name,
            "HSIMAP_MODEL_DIGEST": self._lines[0].model,
            "HSIMAP_MOSAIC": self._method.value,
        }
        maps = [
            Product(layer=layer, output=main_output(v.task, stride=v.stride))
            for v in self.variables
            for layer in layer_on(self._grid, v, tags=tags)
        ]
        maps += [
            Product(layer=layer, output=main_output(layer.task))
            for layer in _own_layers(self._lines, self._grid, tags)
        ]
        for task in (_AGREEMENT, _DIFFERENCE):
            if compared := self._compared(task):
                bands = tuple(_band(variable) for variable in compared)
                layer = value_layer(task, self._grid, name=task.name, tags=tags, bands=bands)
                maps.append(Product(layer=layer, output=main_output(task)))
        return maps

    def _compared(self, task: Task) -> list[Variable]:
        """Return the variables that stand in a map of comparisons, a band each."""
        classes = task is _AGREEMENT
        return [v for v in self.variables if v.stride == 1 and v.is_classes == classes]

    def strip(self, index: int) -> tuple[dict[str, NDArray[np.generic]], Sums]:
        """Compute a strip: map name to ``(band, y, x)``, and what its overlaps count."""
        sums = Sums()
        rows = self.tiles.strip(index)
        done: dict[str, NDArray[np.generic]] = {}
        for stride in self._strides:
            grid = self._grid.coarsen(stride)
            height = -(-rows.height // stride)
            strip = Window(row=rows.row // stride, col=0, height=height, width=grid.width)
            blocks = [self._compute(block, grid, stride, sums) for block in self._blocks(strip)]
            for name in blocks[0]:
                done[name] = np.concatenate([block[name] for block in blocks], axis=2)
        return done, sums

    def _blocks(self, strip: Window) -> Iterator[Window]:
        for col in range(0, strip.width, self._block):
            width = min(self._block, strip.width - col)
            yield Window(row=strip.row, col=col, height=strip.height, width=width)

    def _compute(
        self, window: Window, grid: Grid, stride: int, sums: Sums
    ) -> dict[str, NDArray[np.generic]]:
        variables = [v for v in self.variables if v.stride == stride]
        shape = (window.height, window.width)
        found = [
            read_part(n, line, variables, weight=weight, pool=self._pool, place=(window, grid))
            for n, (line, weight) in enumerate(zip(self._lines, self._weights, strict=True))
            if _meet(self._bounds[stride][n], window)
        ]
        parts = [part for part in found if part is not None]
        out = blend(parts, variables, self._method, shape=shape)
        agreed = agreements(parts, variables, sums, shape=shape)
        if stride == 1:
            out |= sources(parts, shape=shape)
            for task in (_AGREEMENT, _DIFFERENCE):
                if bands := [agreed[v.name] for v in self._compared(task)]:
                    out[task.name] = np.stack(bands)
        return out


def _meet(one: Window, other: Window) -> bool:
    return (
        one.row < other.row + other.height
        and other.row < one.row + one.height
        and one.col < other.col + other.width
        and other.col < one.col + one.width
    )


def _band(variable: Variable) -> str:
    unit = variable.task.unit
    return variable.name if unit in {"", "1"} else f"{variable.name} [{unit}]"


def _own_layers(lines: Sequence[MappedLine], grid: Grid, tags: dict[str, str]) -> list[Layer]:
    """Return the maps of the lines' numbers and counts."""
    numbers = [(n, line.name) for n, line in enumerate(lines, 1)]
    counts = [(n, f"{n} line{'s' if n > 1 else ''}") for n in range(1, len(lines) + 1)]
    layers = []
    told = ((SOURCE, "source line", numbers), (COUNT, "lines that see the pixel", counts))
    for name, title, entries in told:
        colors = default_colors(len(entries))
        classes = tuple(
            ClassLabel(code=code, name=text, color=color)
            for (code, text), color in zip(entries, colors, strict=True)
        )
        task = Task(name=name, kind=Kind.CATEGORICAL, title=title, classes=classes)
        layers.append(
            Layer(
                name=name,
                kind="classes",
                grid=grid,
                task=task,
                bands=(name,),
                dtype="uint8",
                nodata=255,
                tags=tags,
            )
        )
    return layers

"""The maps of a mosaic, and how a strip of them is computed."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Final

from hsimap.errors import MismatchError
from hsimap.flightlines._blend import (
    COUNT,
    SOURCE,
    agreements,
    blend,
    flags_of,
    read_part,
    sources,
)
from hsimap.flightlines._grid import bounds_on
from hsimap.flightlines._lines import code_layer, layers_on, shared_flags
from hsimap.flightlines._weights import Method
from hsimap.geometry import Window, round_up
from hsimap.mapping.encoding import Product
from hsimap.mapping.tiling import TilePlan
from hsimap.products import QA
from hsimap.tasks import ClassLabel, Kind, Task, default_colors, main_output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from hsimap.flightlines._agreement import Sums
    from hsimap.flightlines._lines import FilePool, MappedLine, Variable
    from hsimap.flightlines._weights import Weight
    from hsimap.geometry import Grid
    from hsimap.labels import AreaSpec
    from hsimap.products import Layer

_BLOCK: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class MosaicSettings:
    """The options of ``hsimap mosaic``."""

    method: Method = Method.NADIR
    template: Path | None = None
    """Raster whose grid is taken."""
    area: AreaSpec | None = None
    """Where the mosaic ends, if it takes no raster's grid."""
    zenith: str | None = None
    """Path of each line's layer of the view's zenith angle; ``{line}`` = the line's name."""
    overwrite: bool = False
    """Replace another mosaic."""
    block: int = _BLOCK
    """Side of what is computed at once, in pixels; no byte depends on it."""
    alone: bool = False
    """One line that is put on another grid: nothing is compared, and its name stays."""
    shares: bool = True
    """Of one line alone: whether probabilities are kept."""


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
        self._settings = settings
        self._wanted: frozenset[str] = frozenset()
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
        alone = self._settings.alone
        tags = {
            "HSIMAP_MODEL": self._lines[0].model_name,
            "HSIMAP_MODEL_DIGEST": self._lines[0].model,
        }
        tags |= {"HSIMAP_SCENE" if alone else "HSIMAP_MOSAIC": self.title}
        maps = [
            Product(layer=layer, output=main_output(layer.task, stride=variable.stride))
            for variable in self.variables
            for layer in layers_on(self._grid, variable, tags=tags)
            if not (alone and self._is_left_out(layer, variable))
        ]
        own = [] if alone else _own_layers(self._lines, self._grid, tags)
        maps += [Product(layer=layer, output=main_output(layer.task)) for layer in own]
        flags = shared_flags(self._lines, self._grid, tags=tags)
        maps += [Product(layer=layer, output=None) for layer in flags]
        names = [product.layer.name for product in maps]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise MismatchError(f"two maps of the mosaic would be named {twice!r}; rename the task")
        self._wanted = frozenset(names)
        return maps

    @property
    def title(self) -> str:
        """Of one line alone its scene's name, else how lines become one map."""
        if not self._settings.alone:
            return self._method.value
        return str(self._lines[0].maps.manifest["scene"]["name"])

    def _is_left_out(self, layer: Layer, variable: Variable) -> bool:
        """Whether one line alone has no such map."""
        compared = layer.name == variable.comparison.name
        return compared or (layer.kind == "probabilities" and not self._settings.shares)

    def blocks(
        self, index: int, sums: Sums
    ) -> Iterator[tuple[Window, dict[str, NDArray[np.generic]]]]:
        """Compute a strip, block by block; what its overlaps count goes to ``sums``.

        Yields
        ------
        window : Window
            On the grid of the maps that are given.
        values : dict
            Map name to ``(band, y, x)``.
        """
        rows = self.tiles.strip(index)
        for stride in self._strides:
            grid = self._grid.coarsen(stride)
            height = -(-rows.height // stride)
            strip = Window(row=rows.row // stride, col=0, height=height, width=grid.width)
            for block in self._blocks(strip):
                yield block, self._compute(block, grid, stride, sums)

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
        out |= {v.comparison.name: agreed[v.name][None] for v in variables}
        if stride == 1:
            out |= sources(parts, shape=shape)
            source = out[SOURCE][0]
            flags = flags_of(
                parts, self._lines, source=source, pool=self._pool, place=(window, grid)
            )
            out[QA] = flags[None]
        return {name: values for name, values in out.items() if name in self._wanted}


def _meet(one: Window, other: Window) -> bool:
    return (
        one.row < other.row + other.height
        and other.row < one.row + one.height
        and one.col < other.col + other.width
        and other.col < one.col + one.width
    )


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
        layers.append(code_layer(task, grid, tags=tags, group="QA"))
    return layers

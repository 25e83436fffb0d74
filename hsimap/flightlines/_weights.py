"""How much a line counts at a place: by nadir, by the distance to its edge, by probability."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import shapely

from hsimap.errors import HsimapError, MismatchError, UsageError
from hsimap.flightlines._grid import is_part, positions
from hsimap.flightlines._sample import sample
from hsimap.geometry import Window
from hsimap.scenes import open_scene

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.flightlines._lines import FilePool, MappedLine
    from hsimap.geometry import Grid
    from hsimap.scenes import Scene

_LEAST: Final = 0.25
"""Pixels: the distance to the edge of a valid pixel that lies on the edge."""
_ROWS: Final = 128
"""Rows of a scene that its middle line is found from."""
_SQUARE: Final = 0.95
"""Shorter over longer side from which on a swath counts as square."""
_ZENITH: Final = (
    "to-sensor zenith",
    "to-sensor_zenith",
    "view zenith",
    "view_zenith",
    "sensor zenith",
)


class Method(StrEnum):
    """How overlapping lines become one map."""

    NADIR = "nadir"
    FEATHER = "feather"
    BEST = "best"

    @property
    def is_mean(self) -> bool:
        """Whether lines are averaged; else the line of the greatest weight is taken."""
        return self is Method.FEATHER


class Weight(Protocol):
    """How much one line counts; more is better."""

    def at(self, window: Window, grid: Grid) -> NDArray[np.float64]:
        """Return ``(y, x) float64`` for a window of a grid; meaningless where the line is not."""


class Equal:
    """Every pixel counts the same, as of one line alone."""

    def at(self, window: Window, grid: Grid) -> NDArray[np.float64]:
        """Return zeros."""
        del grid
        return np.zeros((window.height, window.width))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Nadir by geometry: the nearer to the middle line of the swath, the better."""

    line: Grid
    middle: tuple[float, float]
    """Row and column of a point of the middle line."""
    across: tuple[float, float]
    """Unit vector across the flight, in rows and columns; rows and columns are as long."""
    size: float
    """Side of a pixel."""

    def at(self, window: Window, grid: Grid) -> NDArray[np.float64]:
        """Return minus the distance to the middle line."""
        rows, cols = positions(window, grid, self.line)
        off = (rows - self.middle[0]) * self.across[0] + (cols - self.middle[1]) * self.across[1]
        return -np.abs(off) * self.size


def axis_of(valid: NDArray[np.bool_], line: Grid, *, step: int) -> Axis:
    """Find the middle line of a swath: of the smallest rectangle around its valid pixels.

    Parameters
    ----------
    valid : ndarray
        ``(y, x)`` True = valid, ``step`` times as coarse as ``line``.
    line : Grid
        The line's grid.
    step : int
        Pixels of the line per pixel of ``valid``, along each axis.
    """
    rows, cols = np.nonzero(valid)
    if not rows.size:
        rows, cols = np.array([0, line.height // step]), np.array([0, line.width // step])
    order = np.lexsort((cols, rows))
    rows, cols = rows[order], cols[order]
    ends = np.flatnonzero(np.diff(rows, prepend=-1, append=-1))
    keep = np.unique(np.concatenate([ends[:-1], ends[1:] - 1]))  # the ends of each row
    return _axis_through(rows[keep] * step, cols[keep] * step, line, side=step)


def axis_of_scene(scene: Scene) -> Axis:
    """Find the middle line of a scene of which a part alone was mapped.

    Of its rows some are read, at even distances.
    """
    grid = scene.grid
    ends = []
    for row in np.unique(np.linspace(0, grid.height - 1, _ROWS).round().astype(int)).tolist():
        _, valid = scene.read(Window(row=row, col=0, height=1, width=grid.width))
        found = np.flatnonzero(valid[0])
        ends += [(row, int(found[0])), (row, int(found[-1]))] if found.size else []
    rows, cols = np.array(ends or [(0, 0), (grid.height - 1, grid.width - 1)]).T
    return _axis_through(rows, cols, grid, side=1)


def _axis_through(rows: NDArray[np.intp], cols: NDArray[np.intp], line: Grid, *, side: int) -> Axis:
    """Return the middle line of the smallest rectangle around squares of so many pixels."""
    corners = np.concatenate(
        [np.stack([cols + i, rows + j], axis=1) for i in (0, side) for j in (0, side)]
    )
    corners = np.minimum(corners, (line.width, line.height))
    box = shapely.minimum_rotated_rectangle(shapely.MultiPoint(corners.astype(float)))
    ring = np.array(shapely.get_coordinates(box))
    sides = np.diff(ring[:3], axis=0)
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    short = int(np.argmin(lengths))
    if lengths.min() > _SQUARE * lengths.max():  # no side is the longer one: rows follow the flight
        short = int(np.argmax(np.abs(sides[:, 0]) / lengths))
    unit = sides[short] / lengths[short]
    centre = ring[:4].mean(axis=0) - 0.5
    return Axis(
        line=line,
        middle=(float(centre[1]), float(centre[0])),
        across=(float(unit[1]), float(unit[0])),
        size=line.pixel_size,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Coarse:
    """A field that was computed once, coarser than the line."""

    line: Grid
    """Grid of the field."""
    field: NDArray[np.float32]
    """``(y, x)``."""
    least: float

    @property
    def grid(self) -> Grid:
        """Grid of the field, for :func:`sample`."""
        return self.line

    def masked(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return a window of the field."""
        part = self.field[window.slices]
        return part[None], np.ones(part.shape, dtype=bool)

    def at(self, window: Window, grid: Grid) -> NDArray[np.float64]:
        """Return the field, bilinear, and never less than what keeps a pixel in the mean."""
        rows, cols = positions(window, grid, self.line)
        inside = np.clip(rows, 0, self.line.height - 1), np.clip(cols, 0, self.line.width - 1)
        found: NDArray[np.float64] = np.maximum(sample(self, inside)[0][0], self.least)
        return found


def edge_distance(valid: NDArray[np.bool_], line: Grid, *, step: int, keep: Path) -> Coarse:
    """Return the distance to the nearest invalid pixel or edge, in units of the CRS.

    Parameters
    ----------
    valid, line, step
        As for :func:`axis_of`.
    keep : Path
        File that the field is kept in, so that it takes no memory.
    """
    from scipy.ndimage import distance_transform_edt

    size = line.pixel_size
    field = distance_transform_edt(np.pad(valid, 1))[1:-1, 1:-1]
    np.save(keep, ((field - 0.5) * (size * step)).clip(min=0).astype(np.float32))
    return Coarse(line=line.coarsen(step), field=np.load(keep, mmap_mode="r"), least=_LEAST * size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zenith:
    """Nadir by measurement: the smaller the zenith angle of the view, the better."""

    pool: FilePool
    path: Path

    def at(self, window: Window, grid: Grid) -> NDArray[np.float64]:
        """Return minus the angle; where the layer has none, the worst."""
        file = self.pool.get(self.path)
        band = zenith_band(file.bands)
        values, valid = sample(_Band(file.grid, self, band), positions(window, grid, file.grid))
        return np.where(valid, -np.abs(values[0]), -np.inf)


@dataclass(frozen=True, slots=True)
class _Band:
    grid: Grid
    owner: Zenith
    band: int

    def masked(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        file = self.owner.pool.get(self.owner.path)
        values = file.read(window, [self.band])
        return values, file.valid(values)[0]


def zenith_band(names: tuple[str, ...]) -> int:
    """Return the band of a layer of angles that holds the zenith of the view.

    Examples
    --------
    >>> zenith_band(("path length", "To-sensor azimuth", "To-sensor zenith (0 to 90 degrees)"))
    2
    """
    for index, name in enumerate(names):
        if any(word in name.lower().replace("_", " ") for word in _ZENITH):
            return index
    if len(names) == 1:
        return 0
    raise MismatchError(
        f"none of the bands {', '.join(names)} is named after the zenith angle of the view"
        f" ({_ZENITH[0]}); give a layer of that one band"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """The highest probability, averaged over the class maps."""

    pool: FilePool
    line: MappedLine

    def at(self, window: Window, grid: Grid) -> NDArray[np.float64]:
        """Return the mean of the highest probabilities."""
        total = np.zeros((window.height, window.width))
        classes = [v for v in self.line.variables if v.is_classes]
        for variable in classes:
            file = self.pool.get(self.line.folder / f"{variable.blended}.tif")
            total += sample(file, positions(window, grid, file.grid))[0].max(axis=0)
        return total / len(classes)


def weight_of(
    method: Method, line: MappedLine, *, pool: FilePool, scratch: Path, zenith: Path | None
) -> Weight:
    """Return how much a line counts.

    Parameters
    ----------
    method : Method
        How lines are put together.
    line : MappedLine
        The line.
    pool : FilePool
        Opens its maps.
    scratch : Path
        Folder for what is computed once.
    zenith : Path, optional
        Layer of the zenith angle of the view, for ``nadir``.

    Raises
    ------
    UsageError
        If ``best`` is asked for and no class is mapped.
    """
    if method is Method.BEST:
        if not any(v.is_classes for v in line.variables):
            raise UsageError("--mosaic best needs a class map, and there is none; use nadir")
        return Confidence(pool=pool, line=line)
    if method is Method.NADIR and zenith is not None:
        zenith_band(pool.get(zenith).bands)
        return Zenith(pool=pool, path=zenith)
    finest = next(v for v in line.variables if v.stride == 1)
    file = pool.get(line.folder / f"{finest.name}.tif")
    valid, step = file.coarse_valid()
    if method is Method.NADIR:
        if whole := _whole_swath(line):
            return whole
        return axis_of(valid, file.grid, step=step)
    return edge_distance(valid, file.grid, step=step, keep=scratch / f"{line.name}.distance.npy")


def _whole_swath(line: MappedLine) -> Axis | None:
    """Return the middle of a line that a part of was mapped; None where its scene is not there."""
    if not line.is_part or line.scene is None or not line.scene.exists():
        return None
    try:
        with open_scene(line.scene, nodata=line.nodata) as scene:
            return axis_of_scene(scene) if is_part(line.grid, scene.grid) else None
    except HsimapError:
        return None

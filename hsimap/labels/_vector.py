"""Polygons and points with a value, put on a scene's grid as they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import rasterio.features
import shapely
from affine import Affine

from hsimap.errors import InputError
from hsimap.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Grid
    from hsimap.labels._features import Features

Rule = Literal["majority", "centre", "all_touched"]
"""When a pixel takes the value of a polygon; see :class:`VectorBand`."""
_SCAN_PIXELS: Final = 1 << 20
"""Pixels burnt at once when the whole grid is looked at."""
_SLACK: Final = 1e-9


class VectorBand:
    """Windows of a field of vector features, as :class:`BandReader` gives those of a raster.

    Parameters
    ----------
    features : Features
        With geometries in the pixel coordinates of the grid; they do not overlap where their
        values differ.
    grid : Grid
        The scene's grid, which may be rotated.
    rule : {"majority", "centre", "all_touched"}
        ``majority``: a pixel takes the value that covers most of it, by exact area. ``centre``:
        the value at its centre. ``all_touched``: that of the last polygon that touches it. A point
        gives its value to the pixel it lies in; of several, the most frequent wins.
    min_coverage : float
        Rule ``majority``: the least share of a pixel that its value must cover.
    """

    def __init__(
        self, features: Features, *, grid: Grid, rule: Rule = "majority", min_coverage: float = 0.5
    ) -> None:
        self.path: Path = features.path
        self.grid = grid
        self.notes: tuple[str, ...] = features.notes
        self.nodata: float | None = None
        self.scale, self.offset = 1.0, 0.0
        self._features, self._rule, self._least = features, rule, min_coverage
        self._tree = shapely.STRtree(features.shapes)
        if not self._tree.query(_box(grid.window)).size:
            raise InputError(
                f"no feature of {self.path} lies on the scene; check its coordinate reference"
                " system and that it covers the same ground"
            )

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return ``(y, x)`` values and ``(y, x)`` True = a value; off the grid there is none."""
        size = (window.height, window.width)
        index = np.full(size, -1, dtype=np.int64)
        inside = window.clip(height=self.grid.height, width=self.grid.width)
        if not inside.is_empty:
            place = inside.shift(rows=-window.row, cols=-window.col).slices
            index[place] = self._burn(inside)
        valid = index >= 0
        values = np.zeros(size, dtype=self._features.values.dtype)
        values[valid] = self._features.values[index[valid]]
        return values, valid

    def strips(self) -> Iterator[Window]:
        """Yield windows of whole rows that cover the grid."""
        step = max(1, _SCAN_PIXELS // max(self.grid.width, 1))
        for row in range(0, self.grid.height, step):
            height = min(step, self.grid.height - row)
            yield Window(row=row, col=0, height=height, width=self.grid.width)

    def close(self) -> None:
        """Nothing is held open."""

    def _burn(self, window: Window) -> NDArray[np.int64]:
        """Return ``(y, x)`` the feature of each pixel, -1 = none."""
        near = np.sort(self._tree.query(_box(window)))
        shapes = self._features.shapes[near]
        flat = shapely.get_dimensions(shapes) == 2  # noqa: PLR2004  # polygons
        index = self._polygons(shapes[flat], near[flat], window)
        if not flat.all():
            pixel, feature = _pixels_of_points(shapes[~flat], near[~flat], window)
            self._vote(index, pixel, feature, np.ones(pixel.size), least=0.0)
        return index

    def _polygons(
        self, shapes: NDArray[Any], numbers: NDArray[np.int64], window: Window
    ) -> NDArray[np.int64]:
        index = np.full((window.height, window.width), -1, dtype=np.int64)
        if not shapes.size:
            return index
        touched = self._rule == "all_touched"
        index[:] = _rasterise(zip(shapes, numbers, strict=True), window, all_touched=touched)
        if self._rule == "majority":
            edges = _rasterise(((s, 0) for s in shapely.boundary(shapes)), window, all_touched=True)
            pixel = np.flatnonzero(_grown(edges == 0).ravel())
            index.ravel()[pixel] = -1
            self._vote(index, *_covered(shapes, numbers, pixel, window), least=self._least)
        return index

    def _vote(
        self,
        index: NDArray[np.int64],
        pixel: NDArray[np.int64],
        feature: NDArray[np.int64],
        weight: NDArray[np.float64],
        *,
        least: float,
    ) -> None:
        """Give each pixel the feature whose value has most weight there; ties go to the later."""
        if not pixel.size:
            return
        _, value = np.unique(self._features.values[feature], return_inverse=True)
        groups, inverse = np.unique(np.stack([pixel, value]), axis=1, return_inverse=True)
        inverse = inverse.ravel()
        weights = np.bincount(inverse, weight)
        last = np.full(weights.size, -1, dtype=np.int64)
        np.maximum.at(last, inverse, feature)
        order = np.lexsort((last, np.round(weights, 9), groups[0]))
        final = np.r_[groups[0][order][1:] != groups[0][order][:-1], True]
        best = order[final]
        best = best[weights[best] >= least - _SLACK]
        index.ravel()[groups[0][best]] = last[best]


def _box(window: Window) -> Any:  # noqa: ANN401  # shapely has no types
    return shapely.box(
        window.col, window.row, window.col + window.width, window.row + window.height
    )


def _rasterise(shapes: Any, window: Window, *, all_touched: bool) -> NDArray[np.int64]:  # noqa: ANN401
    """Burn ``(shape, number)`` pairs over -1, the later on top."""
    burnt: NDArray[np.int64] = rasterio.features.rasterize(
        shapes,
        out_shape=(window.height, window.width),
        transform=Affine.translation(window.col, window.row),
        fill=-1,
        all_touched=all_touched,
        dtype="int32",
    )
    return burnt.astype(np.int64)


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add the eight neighbours: an edge along a pixel's border is burnt on one side only."""
    padded = np.pad(mask, 1)
    tall = padded[:-2] | padded[1:-1] | padded[2:]
    grown: NDArray[np.bool_] = tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]
    return grown


def _covered(
    shapes: NDArray[Any], numbers: NDArray[np.int64], pixel: NDArray[np.int64], window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return which polygon covers what share of which pixel."""
    row, col = np.divmod(pixel, window.width)
    left, top = col + window.col, row + window.row
    boxes = shapely.box(left, top, left + 1, top + 1)
    parts = shapely.clip_by_rect(shapes, *_box(window).bounds)
    box, polygon = shapely.STRtree(parts).query(boxes, predicate="intersects")
    area = shapely.area(shapely.intersection(boxes[box], parts[polygon]))
    return pixel[box], numbers[polygon], area


def _pixels_of_points(
    shapes: NDArray[Any], numbers: NDArray[np.int64], window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pixel of each point that lies in the window, and its feature."""
    places, part = shapely.get_coordinates(shapes, return_index=True)
    col, row = np.floor(places.T).astype(np.int64) - np.array([[window.col], [window.row]])
    inside = (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
    return (row * window.width + col)[inside], numbers[part[inside]]

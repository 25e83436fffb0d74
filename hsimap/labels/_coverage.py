"""What share of each pixel each polygon covers, exactly."""

from __future__ import annotations

from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from hsimap.geometry import Window
from hsimap.labels._vector import _box, _covered, _grown, _pixels_of_points, _rasterise

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW: Final = 256
"""In a box of so few pixels each is cut with the polygon; in a larger one those at its edge."""
_AREAL: Final = 2


def coverage(
    shapes: NDArray[Any], window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return which feature covers what share of which pixel of a window.

    Polygons may overlap. A point covers the whole pixel that it lies in.

    Parameters
    ----------
    shapes : ndarray
        ``(feature,)`` polygons and points in (column, row), pixel corners at whole numbers.
    window : Window
        Where to look.

    Returns
    -------
    tuple of ndarray
        ``(entry,)`` index of the feature, number of the pixel in the window row by row, and the
        covered share, above 0 and at most 1.
    """
    flat = shapely.get_dimensions(shapes) == _AREAL
    entries = [_of_polygon(shapes[i], int(i), window) for i in np.flatnonzero(flat)]
    if not flat.all():
        numbers = np.flatnonzero(~flat)
        pixel, feature = _pixels_of_points(shapes[numbers], numbers, window)
        entries.append((feature, pixel, np.ones(pixel.size)))
    if not entries:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0)
    feature, pixel, share = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    real = share > 0
    return feature[real], pixel[real], np.minimum(share[real], 1.0)


def _of_polygon(  # shapely has no types
    shape: Any,  # noqa: ANN401
    number: int,
    window: Window,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    part = _part(shape, window)
    if part.is_empty:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0)
    one = np.array([shape], dtype=object)
    pixel = np.arange(part.height * part.width)
    inside = pixel[:0]
    if pixel.size > _FEW:
        edges = _rasterise([(shapely.boundary(shape), 0)], part, all_touched=True)
        near = _grown(edges == 0).ravel()
        centre = _rasterise([(shape, 0)], part, all_touched=False).ravel() == 0
        pixel, inside = np.flatnonzero(near), np.flatnonzero(centre & ~near)
    pixel, _, area = _covered(one, np.zeros(1, dtype=np.int64), pixel, part)
    every = np.concatenate([inside, pixel])
    row, col = np.divmod(every, part.width)
    place = (row + part.row - window.row) * window.width + col + part.col - window.col
    share = np.concatenate([np.ones(inside.size), area])
    return np.full(every.size, number, dtype=np.int64), place, share


def _part(shape: Any, window: Window) -> Window:  # noqa: ANN401
    """Return the pixels of a window that the box round a shape touches."""
    west, north, east, south = shapely.intersection(shapely.box(*shape.bounds), _box(window)).bounds
    if not east >= west:  # NaN: they do not meet
        return Window(row=0, col=0, height=0, width=0)
    top, left = floor(north), floor(west)
    return Window(row=top, col=left, height=ceil(south) - top, width=ceil(east) - left)

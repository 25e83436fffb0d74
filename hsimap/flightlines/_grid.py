"""One grid for many lines, and where its pixels lie in each of them."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from affine import Affine
from pyproj import CRS, Transformer

from hsimap.errors import MismatchError
from hsimap.geometry import Grid, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SNAP: Final = 4096
"""Pixel coordinates are rounded to this part of a pixel, so that aligned grids meet exactly."""
_EDGE: Final = 64
"""Points along each edge of a raster whose corners alone do not bound it in another CRS."""
_SPARSE: Final = 100
"""Pixels of a mosaic to each pixel of its lines, from which on they are no one campaign."""
_SMALL: Final = 1 << 27
"""Pixels of a mosaic that nobody minds."""
_NEAR: Final = 1e-3
"""Pixels that grids may be off which are said to be aligned."""
_SLACK: Final = 1e-6
"""Pixels that a bound may pass the grid by rounding."""


def shared_grid(grids: Sequence[Grid]) -> Grid:
    """Return the north-up grid that holds all of these.

    Its CRS is the one that most of them have (of equals the first in the alphabet), its pixel the
    smallest of theirs, and its origin a multiple of the pixel.

    Raises
    ------
    MismatchError
        If some grids have a CRS and others have none, or they lie far apart.
    """
    check_places(grids)
    found = Counter(grid.crs for grid in grids)
    crs = min(found, key=lambda text: (-found[text], str(text)))
    side = min(grid.pixel_size for grid in grids if grid.crs == crs)
    side = float(f"{side:.9g}")
    points = np.concatenate([_outline(grid, crs) for grid in grids])
    (left, bottom), (right, top) = points.min(axis=0) / side, points.max(axis=0) / side
    first, last = floor(left + _SLACK), ceil(right - _SLACK)
    low, high = floor(bottom + _SLACK), ceil(top - _SLACK)
    place = Affine(side, 0, first * side, 0, -side, high * side)
    pixels, held = (high - low) * (last - first), sum(grid.height * grid.width for grid in grids)
    if pixels > _SMALL + _SPARSE * held:
        raise MismatchError(
            f"the lines lie far apart: a mosaic of all of them would have {pixels / 1e9:.3g}"
            f" billion pixels and {held / pixels:.2g} of it data; put together those that overlap"
        )
    return Grid(height=high - low, width=last - first, transform=place, crs=crs)


def check_places(grids: Sequence[Grid]) -> None:
    """Refuse grids some of which have a CRS while others have none."""
    without = sum(grid.crs is None for grid in grids)
    if 0 < without < len(grids):
        raise MismatchError(
            f"{without} of {len(grids)} lines and grids have no CRS; give them one, or leave them"
            f" out"
        )


def _outline(grid: Grid, crs: str | None) -> NDArray[np.float64]:
    """Return ``(point, 2)`` of the edges of a grid, in another CRS."""
    along = np.linspace(0, 1, _EDGE)
    flat, full = np.zeros(_EDGE), np.ones(_EDGE)
    col = np.concatenate([along, along, flat, full]) * grid.width
    row = np.concatenate([flat, full, along, along]) * grid.height
    t = grid.transform
    x, y = t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f
    if grid.crs != crs and grid.crs and crs:
        x, y = _transformer(grid.crs, crs).transform(x, y)
    return np.stack([x, y], axis=1)


@lru_cache(maxsize=256)
def _transformer(source: str, target: str) -> Any:  # noqa: ANN401  # pyproj's own
    return Transformer.from_crs(
        CRS.from_user_input(source), CRS.from_user_input(target), always_xy=True
    )


def same_crs(one: str | None, other: str | None) -> bool:
    """Say whether two CRS are the same, however they are written."""
    if one is None or other is None or one == other:
        return one == other
    return bool(_parsed(one) == _parsed(other))


@lru_cache(maxsize=256)
def _parsed(text: str) -> CRS:
    return CRS.from_wkt(text)


def positions(
    window: Window, grid: Grid, line: Grid
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the pixel centres of a window of one grid lie in another.

    Parameters
    ----------
    window : Window
        Of ``grid``.
    grid, line : Grid
        From which, and in which.

    Returns
    -------
    rows, cols : ndarray
        ``(y, x) float64``, in pixels of ``line``; whole numbers are centres of its pixels. The
        numbers of a pixel do not depend on the window it is asked in.
    """
    col = np.arange(window.col, window.col + window.width)[None, :] + 0.5
    row = np.arange(window.row, window.row + window.height)[:, None] + 0.5
    if same_crs(grid.crs, line.crs) or not grid.crs or not line.crs:
        t = ~line.transform @ grid.transform
        found = t.d * col + t.e * row + t.f, t.a * col + t.b * row + t.c
    else:
        t = grid.transform
        x, y = t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f
        x, y = _transformer(grid.crs, line.crs).transform(x, y)
        t = ~line.transform
        found = t.d * x + t.e * y + t.f, t.a * x + t.b * y + t.c
    rows, cols = (np.round((values - 0.5) * _SNAP) / _SNAP for values in found)
    return rows, cols


def is_part(part: Grid, whole: Grid) -> bool:
    """Say whether the pixels of a grid are pixels of another one."""
    t = ~whole.transform @ part.transform
    row, col = round(t.f), round(t.c)
    aligned = np.allclose(t[:6], (1, 0, col, 0, 1, row), rtol=0, atol=_NEAR)
    rows, cols = row + part.height, col + part.width
    return bool(aligned and row >= 0 and col >= 0 and rows <= whole.height and cols <= whole.width)


def bounds_on(grid: Grid, line: Grid) -> Window:
    """Return the window of ``grid`` that holds a line, clipped (may be empty)."""
    points = _outline(line, line.crs if same_crs(grid.crs, line.crs) else grid.crs)
    t = ~grid.transform
    col = t.a * points[:, 0] + t.b * points[:, 1] + t.c
    row = t.d * points[:, 0] + t.e * points[:, 1] + t.f
    top, left = floor(row.min()) - 1, floor(col.min()) - 1
    window = Window(
        row=top, col=left, height=ceil(row.max()) + 1 - top, width=ceil(col.max()) + 1 - left
    )
    return window.clip(height=grid.height, width=grid.width)

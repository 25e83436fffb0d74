"""Pixel windows and affine grids. Integers for pixels; rows and columns are always named."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm, sqrt
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open rectangle of pixels; it may reach outside the raster it indexes."""

    row: int
    """First row, in pixels; negative when the window starts above the raster."""
    col: int
    """First column, in pixels."""
    height: int
    """Number of rows."""
    width: int
    """Number of columns."""

    def __post_init__(self) -> None:
        """Refuse a window of negative size."""
        if self.height < 0 or self.width < 0:
            raise ValueError(f"window must not be negative in size, got {self}")

    @property
    def slices(self) -> tuple[slice, slice]:
        """``(rows, cols)`` for an array whose last two axes are ``(y, x)``."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    @property
    def is_empty(self) -> bool:
        """Whether the window holds no pixel."""
        return self.height == 0 or self.width == 0

    def clip(self, *, height: int, width: int) -> Window:
        """Return the part that lies inside a raster of this shape (may be empty)."""
        top, left = min(max(self.row, 0), height), min(max(self.col, 0), width)
        bottom = min(max(self.row + self.height, top), height)
        right = min(max(self.col + self.width, left), width)
        return Window(row=top, col=left, height=bottom - top, width=right - left)

    def shift(self, *, rows: int, cols: int) -> Window:
        """Return the window moved by whole pixels."""
        return Window(
            row=self.row + rows, col=self.col + cols, height=self.height, width=self.width
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the pixels of a raster lie on the ground; rotation is kept."""

    height: int
    """Rows."""
    width: int
    """Columns."""
    transform: Affine
    """(column, row) of a pixel's upper left corner to map coordinates."""
    crs: str | None
    """Coordinate reference system as WKT; None = unknown."""

    @property
    def window(self) -> Window:
        """The window that holds the whole grid."""
        return Window(row=0, col=0, height=self.height, width=self.width)

    @property
    def pixel_area(self) -> float:
        """Area of a pixel, in squared units of the CRS."""
        return abs(float(self.transform.determinant))

    @property
    def pixel_size(self) -> float:
        """Side of a square of a pixel's area, in units of the CRS."""
        return sqrt(self.pixel_area)

    def crop(self, window: Window) -> Grid:
        """Return the grid of a window: ``A * translation(col, row)``, exact when rotated."""
        return Grid(
            height=window.height,
            width=window.width,
            transform=self.transform @ Affine.translation(window.col, window.row),
            crs=self.crs,
        )

    def coarsen(self, stride: int) -> Grid:
        """Return the grid whose pixels are ``stride`` times as wide and high; edges rounded up."""
        return Grid(
            height=-(-self.height // stride),
            width=-(-self.width // stride),
            transform=self.transform @ Affine.scale(stride),
            crs=self.crs,
        )


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple that is not less than ``value``.

    Examples
    --------
    >>> round_up(33, 8), round_up(32, 8), round_up(0, 8)
    (40, 32, 0)
    """
    return -(-value // multiple) * multiple


def alignment_of(*strides: int) -> int:
    """Return the step that tile starts, trims and ramps must be multiples of (DESIGN: lcm)."""
    return lcm(1, *strides)


def clear_outside(values: NDArray[np.generic], inside: tuple[slice, slice]) -> None:
    """Set ``(band, y, x)`` to 0 in place, but not in the rectangle ``inside``."""
    rows, cols = inside
    if rows.stop <= rows.start or cols.stop <= cols.start:
        values[...] = 0
        return
    values[:, : rows.start] = 0
    values[:, rows.stop :] = 0
    values[:, rows, : cols.start] = 0
    values[:, rows, cols.stop :] = 0


def boxes_around(
    found: NDArray[np.bool_], *, rows: int = 32, gap: int = 64
) -> Iterator[tuple[slice, slice]]:
    """Yield boxes that hold every True pixel, and little else where these lie together.

    Parameters
    ----------
    found : ndarray
        ``(y, x)``.
    rows : int
        Height of a box.
    gap : int
        Columns without a True pixel that part two boxes side by side; fewer do not.
    """
    for top in range(0, found.shape[0], rows):
        here = slice(top, min(top + rows, found.shape[0]))
        cols = np.flatnonzero(found[here].any(axis=0))
        for run in np.split(cols, np.flatnonzero(np.diff(cols) > gap) + 1) if cols.size else ():
            yield here, slice(int(run[0]), int(run[-1]) + 1)

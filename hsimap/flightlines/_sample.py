"""Take the numbers of a raster at places that are no pixel centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from hsimap.geometry import Grid, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Places = tuple[NDArray[np.float64], NDArray[np.float64]]


class Raster(Protocol):
    """What is sampled; :class:`hsimap.products.MapFile` is one."""

    @property
    def grid(self) -> Grid:
        """Where its pixels lie."""

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` values and ``(y, x)`` True = valid, of a window inside."""


def footprint(places: Places, grid: Grid) -> Window:
    """Return the pixels that bilinear values at these places may need (may be empty)."""
    rows, cols = places
    top, left = int(np.floor(rows.min())), int(np.floor(cols.min()))
    bottom, right = int(np.floor(rows.max())) + 2, int(np.floor(cols.max())) + 2
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    return window.clip(height=grid.height, width=grid.width)


def sample(
    raster: Raster, places: Places, *, nearest: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return bilinear (or nearest) values of a raster.

    Parameters
    ----------
    raster : Raster
        The raster.
    places : tuple of ndarray
        Rows and columns ``(y, x)``, in its pixels.
    nearest : bool
        Take the nearest pixel, as codes must be.

    Returns
    -------
    values : ndarray
        ``(band, y, x) float64``; 0 where not valid. Invalid neighbours have no weight, and the
        weights of the others are normalised.
    valid : ndarray
        ``(y, x) bool``: the nearest pixel is there and valid.
    """
    window = footprint(places, raster.grid)
    if window.is_empty:
        n_bands = raster.read(Window(row=0, col=0, height=1, width=1))[0].shape[0]
        shape = places[0].shape
        return np.zeros((n_bands, *shape)), np.zeros(shape, dtype=bool)
    values, known = raster.read(window)
    pixels = np.ascontiguousarray(values.reshape(values.shape[0], -1).T)
    rows, cols = places[0].ravel() - window.row, places[1].ravel() - window.col
    at = _Picker(known)
    index, valid = at(np.floor(rows + 0.5), np.floor(cols + 0.5))
    if nearest:
        out = np.where(valid[:, None], pixels[index], 0).astype(np.float64)
    else:
        out = _bilinear(pixels, at, rows, cols)
        out[~valid] = 0
    return out.T.reshape(-1, *places[0].shape), valid.reshape(places[0].shape)


class _Picker:
    """Turns rows and columns of a window into flat indices, and says which are valid."""

    def __init__(self, known: NDArray[np.bool_]) -> None:
        self._height, self._width = known.shape
        self._known = known.ravel()

    def __call__(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        inside = (rows >= 0) & (rows < self._height) & (cols >= 0) & (cols < self._width)
        index = np.where(inside, rows * self._width + cols, 0).astype(np.int64)
        return index, inside & self._known[index]


def _bilinear(
    pixels: NDArray[np.generic], at: _Picker, rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``(place, band)`` means of the four neighbours that are valid."""
    top, left = np.floor(rows), np.floor(cols)
    down, right = rows - top, cols - left
    total = np.zeros((rows.size, pixels.shape[1]))
    weights = np.zeros(rows.size)
    for step_y, part_y in ((0, 1 - down), (1, down)):
        for step_x, part_x in ((0, 1 - right), (1, right)):
            index, valid = at(top + step_y, left + step_x)
            weight = np.where(valid, part_y * part_x, 0.0)
            # A NaN times a weight of 0 is a NaN.
            total += np.where(weight[:, None] > 0, pixels[index], 0) * weight[:, None]
            weights += weight
    total /= np.maximum(weights, np.finfo(float).tiny)[:, None]
    return total

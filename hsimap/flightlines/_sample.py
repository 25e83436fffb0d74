"""Take the numbers of a raster at places that are no pixel centres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from hsimap.geometry import Grid, Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Places = tuple[NDArray[np.float64], NDArray[np.float64]]
    Sampled = tuple[NDArray[np.float64], NDArray[np.bool_]]


class Raster(Protocol):
    """What is sampled; :class:`hsimap.products.RasterFile` is one."""

    @property
    def grid(self) -> Grid:
        """Where its pixels lie."""

    def masked(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` values and ``(y, x)`` True = valid, of a window inside."""


def footprint(places: Places, grid: Grid) -> Window:
    """Return the pixels that bilinear values at these places may need (may be empty)."""
    rows, cols = places
    top, left = int(np.floor(rows.min())), int(np.floor(cols.min()))
    bottom, right = int(np.floor(rows.max())) + 2, int(np.floor(cols.max())) + 2
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    return window.clip(height=grid.height, width=grid.width)


def sample(raster: Raster, places: Places) -> Sampled:
    """Return bilinear values of one raster; see :func:`sample_all`."""
    return sample_all([raster], places)[0]


def sample_all(
    rasters: Sequence[Raster], places: Places, *, nearest: bool = False
) -> list[Sampled]:
    """Return bilinear (or nearest) values of rasters that lie on one grid.

    Parameters
    ----------
    rasters : sequence of Raster
        One or more, all of the same grid.
    places : tuple of ndarray
        Rows and columns ``(y, x)``, in their pixels.
    nearest : bool
        Take the nearest pixel, as codes must be.

    Returns
    -------
    list of tuple
        ``(band, y, x) float64`` values of each raster, 0 where not valid, and ``(y, x) bool``: the
        nearest pixel is there and valid. Invalid neighbours have no weight, and the weights of the
        others are normalised.
    """
    shape = places[0].shape
    window = footprint(places, rasters[0].grid)
    if window.is_empty:
        first = Window(row=0, col=0, height=1, width=1)
        bands = [raster.masked(first)[0].shape[0] for raster in rasters]
        return [(np.zeros((n, *shape)), np.zeros(shape, dtype=bool)) for n in bands]
    read = [raster.masked(window) for raster in rasters]
    rows, cols = places[0].ravel() - window.row, places[1].ravel() - window.col
    out: list[Sampled] = [(np.empty(0), np.empty(0, dtype=bool))] * len(read)
    for members in _alike([known for _, known in read]):
        pixels = np.concatenate([read[k][0] for k in members])
        known = read[members[0]][1]
        values, valid = _take(pixels, known, (rows, cols), nearest=nearest)
        start = 0
        for k in members:
            stop = start + read[k][0].shape[0]
            out[k] = values[start:stop].reshape(-1, *shape), valid.reshape(shape)
            start = stop
    return out


def _alike(masks: Sequence[NDArray[np.bool_]]) -> list[list[int]]:
    """Return the indices of masks, those of equal ones together."""
    groups: list[list[int]] = []
    for k, mask in enumerate(masks):
        for group in groups:
            if np.array_equal(masks[group[0]], mask):
                group.append(k)
                break
        else:
            groups.append([k])
    return groups


def _take(
    values: NDArray[np.generic], known: NDArray[np.bool_], places: Places, *, nearest: bool
) -> Sampled:
    """Return ``(band, place)`` values and ``(place,)`` True = valid."""
    pixels = np.ascontiguousarray(values.reshape(values.shape[0], -1).T)
    at = _Picker(known)
    rows, cols = places
    index, valid = at(np.floor(rows + 0.5), np.floor(cols + 0.5))
    out = np.zeros((values.shape[0], rows.size))
    if nearest:
        out[:, valid] = pixels[index[valid]].T
    elif valid.any():
        out[:, valid] = _bilinear(pixels, at, rows[valid], cols[valid]).T
    return out, valid


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
            part = pixels[index].astype(np.float64)
            part[weight == 0] = 0  # a NaN times a weight of 0 is a NaN
            part *= weight[:, None]
            total += part
            weights += weight
    total /= weights[:, None]  # the nearest pixel is valid, so that no sum is 0
    return total

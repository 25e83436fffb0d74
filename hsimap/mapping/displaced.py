"""A scene seen through labels that lie beside it: cubic convolution by parts of a pixel."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.geometry import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.mapping.adapter import Source

_BEFORE: Final = 1
"""Pixels before the nearest lower one that cubic convolution looks at; it looks at two after."""
_TAPS: Final = 4
_HALF: Final = 0.5 - 1e-9


class DisplacedSource:
    """A source whose pixels are read a little beside their place.

    Pixel ``(r, c)`` is the image at ``(r - rows, c - cols)``, interpolated by cubic convolution
    (Keys 1981, IEEE Trans. ASSP 29(6), eq. 15 with a = -1/2). It is valid where at least half of
    the weight of the bilinear neighbours is; invalid ones count for nothing.

    Parameters
    ----------
    source : Source
        The pixels in their places.
    offset : tuple of float
        ``(rows, cols)``: how far the labels lie below and to the right of the image, in pixels.
    """

    def __init__(self, source: Source, offset: tuple[float, float]) -> None:
        self._source, self._offset = source, offset
        self.to_network = source.to_network

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values and ``(y, x)`` True = valid; outside = invalid."""
        values, valid = self._source.read(_around(window, self._offset))
        return _resample(values, valid, self._offset)


def _around(window: Window, offset: tuple[float, float]) -> Window:
    """Return the window that :func:`_resample` needs for another one."""
    return Window(
        row=window.row + cubic_taps(offset[0])[0],
        col=window.col + cubic_taps(offset[1])[0],
        height=window.height + _TAPS - 1,
        width=window.width + _TAPS - 1,
    )


def _resample(
    values: NDArray[np.generic], valid: NDArray[np.bool_], offset: tuple[float, float]
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Interpolate an image at places a part of a pixel beside its own.

    Parameters
    ----------
    values : ndarray
        ``(band, y, x)`` of the window that :func:`_around` names.
    valid : ndarray
        ``(y, x)``, True = valid.
    offset : tuple of float
        ``(rows, cols)`` in pixels, as of :class:`DisplacedSource`.

    Returns
    -------
    values : ndarray
        ``(band, y - 3, x - 3)`` of the type given; integers are rounded, and 0 where not valid.
    valid : ndarray
        ``(y - 3, x - 3)``, True = valid.
    """
    shares = [-part - floor(-part) for part in offset]
    known = valid.astype(np.float64)
    near = _along(known, [np.array([0, 1 - t, t, 0]) for t in shares])
    inside: NDArray[np.bool_] = near >= _HALF
    cubic = [cubic_taps(part)[1] for part in offset]
    weight = np.where(inside, _along(known, cubic), 1)
    # A band at a time: all in double precision would be eight times the scene.
    result = np.zeros((len(values), *inside.shape), dtype=values.dtype)
    for band, out in zip(values, result, strict=True):
        found = _along(np.where(valid, band, 0).astype(np.float64), cubic) / weight
        if values.dtype.kind in "iu":
            limits = np.iinfo(str(values.dtype))
            found = found.round().clip(limits.min, limits.max)
        out[...] = np.where(inside, found, 0)
    return result, inside


def cubic_taps(part: float) -> tuple[int, NDArray[np.float64]]:
    """Return what cubic convolution takes for pixels that lie beside their place.

    Parameters
    ----------
    part : float
        How far the labels lie beside the image along an axis, in pixels.

    Returns
    -------
    first : int
        The first pixel that is taken, counted from a pixel's own.
    weights : ndarray
        ``(4,)`` of it and the next three; their sum is 1.
    """
    below = floor(-part)
    t = -part - below
    weights = [
        -(t**3) / 2 + t**2 - t / 2,
        3 * t**3 / 2 - 5 * t**2 / 2 + 1,
        -3 * t**3 / 2 + 2 * t**2 + t / 2,
        t**3 / 2 - t**2 / 2,
    ]
    return below - _BEFORE, np.array(weights)


def _along(image: NDArray[np.float64], weights: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the weighted sums of four rows, then of four columns, of ``(y, x)``."""
    height, width = (side - _TAPS + 1 for side in image.shape)
    tall, whole = np.zeros((height, image.shape[1])), np.zeros((height, width))
    for k, weight in enumerate(weights[0]):
        tall += weight * image[k : k + height]
    for k, weight in enumerate(weights[1]):
        whole += weight * tall[:, k : k + width]
    return whole

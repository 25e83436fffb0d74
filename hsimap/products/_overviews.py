"""Halve a map, nodata-aware: the mode of classes, the average of everything else.

A pixel of an overview stands for the 2 x 2 pixels above it that lie inside the map; nodata takes
part only where nothing else is there. Overviews are made from one another, so that a level needs
nothing but the rows of the one before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hsimap.products._layer import BLOCK, CODED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.products._layer import Layer


def level_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """Return the shape of a map and of its overviews, down to one that fits one block.

    Examples
    --------
    >>> level_shapes(1100, 700)
    [(1100, 700), (550, 350), (275, 175)]
    """
    shapes = [(height, width)]
    while max(shapes[-1]) > BLOCK:
        height, width = -(-height // 2), -(-width // 2)
        shapes.append((height, width))
    return shapes


def halve(layer: Layer, values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return ``(band, ceil(y / 2), ceil(x / 2))`` of ``(band, y, x)`` values.

    Parameters
    ----------
    layer : Layer
        Its kind says how, its nodata what is left out.
    values : ndarray
        ``(band, y, x)`` of the layer's dtype; the first row is an even one of the map.
    """
    pad = ((0, 0), (0, values.shape[1] % 2), (0, values.shape[2] % 2))
    whole = np.pad(values, pad, constant_values=layer.nodata) if pad != ((0, 0),) * 3 else values
    corners = [whole[:, y::2, x::2] for y in (0, 1) for x in (0, 1)]
    if layer.kind in CODED:
        return _mode(corners, layer.nodata)
    if layer.kind == "values":
        return _mean(corners)
    return _integer_mean(corners, layer.nodata)


def _mode(corners: list[NDArray[np.generic]], nodata: float) -> NDArray[np.generic]:
    """Return the most frequent code; of equally frequent ones the first, row by row."""
    first, second, third, fourth = corners
    known = [corner != nodata for corner in corners]
    out = fourth
    for corner, here in zip((third, second, first), known[2::-1], strict=True):
        out = np.where(here, corner, out)
    pair = known[2] & (third == fourth)
    out = np.where(pair, third, out)
    pair = known[1] & ((second == third) | (second == fourth))
    out = np.where(pair, second, out)
    pair = known[0] & ((first == second) | (first == third) | (first == fourth))
    return np.where(pair, first, out)


def _mean(corners: list[NDArray[Any]]) -> NDArray[np.float32]:
    """Return the average of what is not NaN."""
    first, second, third, fourth = corners
    out = first + second
    out += third
    out += fourth
    out *= np.float32(0.25)
    holes = np.isnan(out)
    if holes.any():
        parts = np.stack([corner[holes] for corner in corners])
        known = ~np.isnan(parts)
        count = known.sum(axis=0)
        total = np.where(known, parts, np.float32(0)).sum(axis=0, dtype=np.float32)
        out[holes] = np.where(count, total / np.maximum(count, 1), np.nan)
    return out  # type: ignore[no-any-return]


def _integer_mean(corners: list[NDArray[np.generic]], nodata: float) -> NDArray[np.generic]:
    """Return the average of what is not nodata, halves rounded up."""
    parts = np.stack(corners).astype(np.uint32)
    known = parts != int(nodata)
    count = known.sum(axis=0, dtype=np.uint32)
    total = np.where(known, parts, 0).sum(axis=0, dtype=np.uint32)
    mean = (total + count // 2) // np.maximum(count, 1)
    return np.where(count, mean, int(nodata)).astype(corners[0].dtype)

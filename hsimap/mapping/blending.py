"""Cross-fade the tiles of a scene into tile rows, and the tile rows into strips.

Neighbours are mixed as ``a + w * (b - a)``: where both say the same the result is exactly that,
whatever the weight. Sums run in a fixed order (left into right, then upper into lower), so a
strip has the same bits whoever computes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.mapping.tiling import Tile, TilePlan

Array = "NDArray[np.float32]"


def ramp_weights(length: int) -> NDArray[np.float32]:
    """Return the weight of the later tile over a ramp: linear, never 0 and never 1.

    Examples
    --------
    >>> ramp_weights(2).tolist()
    [0.25, 0.75]
    """
    return ((np.arange(length) + 0.5) / max(length, 1)).astype(np.float32)


class TileRow:
    """Canvas of one tile row of one output; tiles are added from left to right.

    Parameters
    ----------
    plan : TilePlan
        The scene's tile grid, in input pixels.
    row : int
        Which tile row.
    channels : int
        Channels of the output.
    stride : int
        Input pixels per output pixel.
    """

    def __init__(self, plan: TilePlan, row: int, *, channels: int, stride: int) -> None:
        self._plan, self._stride = plan, stride
        window = plan.row_window(row)
        shape = (channels, -(-window.height // stride), -(-window.width // stride))
        self.values: NDArray[np.float32] = np.zeros(shape, dtype=np.float32)
        """``(channel, y, x)`` of the row's footprint; 0 where no tile was run."""

    def add(self, tile: Tile, values: NDArray[np.float32]) -> None:
        """Blend in one tile's network output, ``(channel, side / stride, side / stride)``."""
        s, ramp = self._stride, self._plan.ramp // self._stride
        trim = self._plan.trim // s
        left = tile.footprint.col // s
        height = self.values.shape[1]
        width = min(-(-tile.footprint.width // s), self.values.shape[2] - left)
        new = values[:, trim : trim + height, trim : trim + width]
        fade = min(ramp, width) if tile.col else 0
        old = self.values[:, :, left : left + fade]
        old += ramp_weights(ramp)[:fade] * (new[:, :, :fade] - old)
        self.values[:, :, left + fade : left + width] = new[:, :, fade:]


def blend_strip(
    upper: NDArray[np.float32] | None, row: NDArray[np.float32], *, kept: int, ramp: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fade the lower ramp of the tile row above into a tile row.

    Parameters
    ----------
    upper : ndarray or None
        ``(channel, <= ramp, x) float32``: the lower ramp of the row above; None for the first row.
    row : ndarray
        ``(channel, <= kept + ramp, x) float32``: a tile row; its upper ramp is changed in place.
    kept, ramp : int
        In pixels of the output.

    Returns
    -------
    strip : ndarray
        ``(channel, <= kept, x) float32``, a view of ``row``.
    lower : ndarray
        ``(channel, <= ramp, x) float32``: this row's lower ramp, a copy that the next row needs.
    """
    if upper is not None and ramp:
        height = min(upper.shape[1], row.shape[1])
        weights = ramp_weights(ramp)[:height, None]
        top = row[:, :height]
        top[...] = upper[:, :height] + weights * (top - upper[:, :height])
    return row[:, :kept], row[:, kept : kept + ramp].copy()

"""Cross-fade the tiles of a scene into tile rows, and the tile rows into strips.

Neighbours are mixed as ``a + w * (b - a)``: where both say the same the result is exactly that,
whatever the weight. Sums run in a fixed order (left into right, then upper into lower), so a
strip has the same bits whoever computes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hsimap.arrays import copy, there, zeros

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.arrays import Array
    from hsimap.mapping.tiling import Tile, TilePlan


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


class TileSquares:
    """The same for one output of a whole scene, given out square by square.

    Holds no more than the ramps: the right one of the tile before, and the lower ones of the tile
    row above, where the network left its results. Bits are those of :class:`TileRow` and
    :func:`blend_strip`.

    Parameters
    ----------
    plan : TilePlan
        The scene's tile grid, in input pixels.
    channels : int
        Channels of the output.
    stride : int
        Input pixels per output pixel.
    """

    def __init__(self, plan: TilePlan, *, channels: int, stride: int) -> None:
        self._plan, self._stride, self._channels = plan, stride, channels
        self._like: Array = np.empty(0, np.float32)
        self._weights: Array = ramp_weights(plan.ramp // stride)
        self._right: Array | None = None
        self._upper: Array | None = None
        self._lower: Array | None = None

    def start_row(self, row: int, *, follows: bool) -> None:
        """Begin a tile row; ``follows`` = the row above was the one before."""
        width = -(-self._plan.width // self._stride)
        ramp = self._plan.ramp // self._stride
        self._upper = self._lower if follows and row else None
        self._lower = zeros((self._channels, ramp, width), self._like)
        self._right = None

    def _stay(self, values: Array) -> None:
        """Hold everything where the network leaves its results."""
        self._like = values
        self._weights = there(self._weights, values)
        self._right, self._upper, self._lower = (
            None if held is None else there(held, values)
            for held in (self._right, self._upper, self._lower)
        )

    def add(self, tile: Tile, values: Array | None) -> Array:
        """Blend in the next tile of the row; return its finished square.

        Parameters
        ----------
        tile : Tile
            Tiles come from left to right, and none is left out.
        values : array or None
            ``(channel, side / stride, side / stride) float32`` on any device, changed in place;
            None = it was not run.

        Returns
        -------
        array
            ``(channel, <= kept, <= kept)``, a view; 0 where no tile was run.
        """
        s = self._stride
        kept, ramp, trim = self._plan.kept // s, self._plan.ramp // s, self._plan.trim // s
        left = tile.footprint.col // s
        height, width = (-(-n // s) for n in (tile.footprint.height, tile.footprint.width))
        if values is not None:
            self._stay(values)
        before = None if self._right is None else self._right[:, :, :width]
        if values is None:
            new = zeros((self._channels, height, width), self._like)
            if before is not None:
                new[:, :, : before.shape[2]] = before
        else:
            new = values[:, trim : trim + height, trim : trim + width]
            if before is not None:
                part = new[:, :, : before.shape[2]]
                part[...] = before + self._weights[: before.shape[2]] * (part - before)
        self._right = copy(new[:, :, kept : kept + ramp])
        return self._fade_down(new[:, :, :kept], left, kept=kept, ramp=ramp)

    def _fade_down(self, square: Array, left: int, *, kept: int, ramp: int) -> Array:
        """Fade the tile row above into a square and keep its own lower ramp."""
        columns = slice(left, left + square.shape[2])
        lower = square[:, kept : kept + ramp]
        if self._lower is not None:
            self._lower[:, : lower.shape[1], columns] = lower
        if self._upper is not None and ramp:
            top = square[:, : min(ramp, square.shape[1])]
            upper = self._upper[:, : top.shape[1], columns]
            top[...] = upper + self._weights[: top.shape[1], None] * (top - upper)
        return square[:, :kept]


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

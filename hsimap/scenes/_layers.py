"""Layers that come with a scene: the angles of sun and sensor, read when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.geometry import Window
    from hsimap.scenes._reader import PixelReader


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantLayer:
    """One value for the whole scene."""

    value: float
    """In the layer's unit."""

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return the value for each pixel of a window."""
        return np.full((window.height, window.width), self.value, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class BandLayer:
    """A band of a raster on the scene's own grid."""

    reader: PixelReader
    """Where the values come from."""
    band: int = 0
    """0-based."""
    nodata: float | None = None
    """Stored value of a missing sample."""

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return the values of a window."""
        stored, mask = self.reader.read(window, [self.band])
        values: NDArray[np.float32] = stored[0].astype(np.float32)
        if self.nodata is not None:
            values[stored[0] == self.nodata] = np.nan
        if mask is not None:
            values[~mask] = np.nan
        return values

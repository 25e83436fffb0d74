"""What is in a map, counted while its rows go by."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np

from hsimap.products._layer import CODED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.products._layer import Layer


class Statistics:
    """Counts of a map's pixels, and the moments of its values.

    Parameters
    ----------
    layer : Layer
        What the map is.
    """

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._codes = np.zeros(256, dtype=np.int64)
        self._bands = [_Moments() for _ in layer.bands]

    def add(self, values: NDArray[np.generic]) -> None:
        """Count ``(band, y, x)`` values of the layer's dtype."""
        layer = self._layer
        if layer.kind in CODED:
            self._codes += np.bincount(values.ravel(), minlength=256)
            return
        for moments, plane in zip(self._bands, values, strict=True):
            empty = np.isnan(plane) if layer.kind == "values" else plane == layer.nodata
            moments.add(plane[~empty] if empty.any() else plane.ravel())

    @property
    def codes(self) -> frozenset[int]:
        """The numbers that stand in a map of classes or flags."""
        return frozenset(np.flatnonzero(self._codes).tolist())

    def tags(self, band: int) -> dict[str, str]:
        """Return GDAL's statistics of a 0-based band, as stored; none of codes or of nothing."""
        moments = self._bands[band]
        if self._layer.kind in CODED or not moments.n:
            return {}
        pixels = self._layer.grid.height * self._layer.grid.width
        numbers = {
            "MAXIMUM": moments.high,
            "MEAN": moments.mean,
            "MINIMUM": moments.low,
            "STDDEV": sqrt(moments.squares / moments.n),
            "VALID_PERCENT": 100 * moments.n / pixels,
        }
        return {f"STATISTICS_{name}": f"{value:.14g}" for name, value in numbers.items()}

    def summary(self) -> dict[str, object]:
        """Return pixels, those of nodata in the first band, and classes or range and mean."""
        layer, moments = self._layer, self._bands[0]
        pixels = layer.grid.height * layer.grid.width
        if layer.kind in CODED:
            classes = {label.name: self._pixels_of(label.code) for label in layer.task.classes}
            nodata = int(self._codes[int(layer.nodata)])
            return {"pixels": pixels, "nodata": nodata, layer.kind: classes}
        counts: dict[str, object] = {"pixels": pixels, "nodata": pixels - moments.n}
        if layer.kind == "values" and moments.n:
            counts |= {"min": moments.low, "max": moments.high, "mean": moments.mean}
        return counts

    def _pixels_of(self, code: int) -> int:
        """Return how many pixels have a class, or a flag set."""
        if self._layer.kind == "classes":
            return int(self._codes[code])
        masked = np.arange(self._codes.size) & code > 0
        masked[int(self._layer.nodata)] = False
        return int(self._codes[masked].sum())


class _Moments:
    """Count, range, mean and sum of squared deviations, merged part by part.

    After Chan, Golub and LeVeque (1979), eq. 2.1: no digit is lost where the mean is large.
    """

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, 0.0, 0.0
        self.low, self.high = inf, -inf

    def add(self, values: NDArray[np.generic]) -> None:
        """Take in values, nodata left out."""
        if not values.size:
            return
        mean = float(values.mean(dtype=np.float64))
        off = values.astype(np.float64)
        off -= mean
        squares = float(np.square(off, out=off).sum())
        n, gap = self.n + values.size, mean - self.mean
        self.squares += squares + gap * gap * self.n * values.size / n
        self.mean += gap * values.size / n
        self.n = n
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

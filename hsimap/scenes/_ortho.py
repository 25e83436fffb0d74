"""Orthorectification on read by a geometric lookup table (GLT)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import InputError
from hsimap.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.scenes._reader import PixelReader

_SLAB: Final = 32 << 20
"""Bytes of the raw image that are read at a time."""


class OrthoReader:
    """Windows on a map grid of an image in sensor geometry.

    Each map pixel takes the samples of one raw pixel, the nearest; nothing is interpolated. Lines
    are read once a window, in slabs that end where the raw image's blocks do.

    Parameters
    ----------
    pixels : PixelReader
        The raw image.
    lookup : PixelReader
        Two bands on the map grid: sample and line of the raw pixel, counted from 1; 0 where there
        is none, negative where the producer filled a gap with the nearest pixel.
    missing : float, optional
        A further value of the lookup that says that there is none.
    """

    def __init__(
        self, pixels: PixelReader, lookup: PixelReader, *, missing: float | None = None
    ) -> None:
        self._pixels, self._lookup, self._missing = pixels, lookup, missing
        _, height, width = lookup.shape
        self.shape = (pixels.shape[0], height, width)
        self.dtype = pixels.dtype
        self.storage = replace(pixels.storage, driver=f"{pixels.storage.driver} through a GLT")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._pixels, self._lookup, self._missing)

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values, 0 where there is no raw pixel, and where there is one."""
        if out is None:
            out = np.empty((len(bands), window.height, window.width), self.dtype)
        table = self._lookup.read(window, [0, 1])[0]
        mask = (table != 0).all(axis=0)
        if self._missing is not None:
            mask &= (table != self._missing).all(axis=0)
        sample, line = (np.abs(plane).astype(np.int64) - 1 for plane in table)
        out[...] = 0
        if not mask.any():
            return out, mask
        self._check(sample[mask], line[mask])
        for top, bottom in self._slabs(int(line[mask].min()), int(line[mask].max()) + 1, bands):
            here = mask & (line >= top) & (line < bottom)
            if not here.any():
                continue
            left, right = int(sample[here].min()), int(sample[here].max()) + 1
            slab = Window(row=top, col=left, height=bottom - top, width=right - left)
            values, usable = self._pixels.read(slab, bands)
            rows, cols = line[here] - top, sample[here] - left
            for plane, found in zip(out, values, strict=True):
                plane[here] = found[rows, cols]
            if usable is not None:
                mask[here] = usable[rows, cols]
        return out, mask

    def _check(self, sample: NDArray[np.generic], line: NDArray[np.generic]) -> None:
        _, height, width = self._pixels.shape
        if sample.max() >= width or line.max() >= height:
            raise InputError(
                f"the lookup table points to line {line.max() + 1}, sample {sample.max() + 1} of an"
                f" image of {height} lines x {width} samples; it belongs to another image"
            )

    def _slabs(self, top: int, end: int, bands: Sequence[int]) -> list[tuple[int, int]]:
        rows = self._pixels.storage.block[0]
        line = max(len(bands) * self._pixels.shape[2] * self.dtype.itemsize, 1)
        step = max(_SLAB // line // rows, 1) * rows
        edges = [top, *range((top // rows) * rows + step, end, step), end]
        return list(itertools.pairwise(edges))

    def close(self) -> None:
        """Close both files."""
        self._pixels.close()
        self._lookup.close()


def _rebuild(pixels: PixelReader, lookup: PixelReader, missing: float | None) -> OrthoReader:
    return OrthoReader(pixels, lookup, missing=missing)

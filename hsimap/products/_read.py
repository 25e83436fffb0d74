"""Any raster, read window by window."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, Self

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Window

_SIDE: Final = 2000


class RasterFile:
    """A raster that is read in windows.

    Parameters
    ----------
    path : Path
        The file.
    driver : str, optional
        GDAL's name of the one format that it may have.

    Raises
    ------
    UsageError
        If there is no such file.
    InputError
        If it cannot be read.
    """

    def __init__(self, path: Path, *, driver: str | None = None) -> None:
        if not path.exists():
            raise UsageError(f"there is no file {str(path)!r}; check the path")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._file = rasterio.open(path, driver=driver)
        except RasterioError as error:
            raise InputError(f"{path} cannot be read: {error}") from None
        self.path = path
        file = self._file
        crs = file.crs.to_wkt() if file.crs else None
        self.grid = Grid(height=file.height, width=file.width, transform=file.transform, crs=crs)
        self.bands: tuple[str, ...] = tuple(name or "" for name in file.descriptions)
        """Description of each band."""
        self.nodata: float | None = file.nodata

    def read(self, window: Window, bands: Sequence[int] | None = None) -> NDArray[np.generic]:
        """Return ``(band, y, x)`` stored numbers of a window that lies inside.

        Parameters
        ----------
        window : Window
            Which pixels.
        bands : sequence of int, optional
            0-based; all by default.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        rows, cols = window.slices
        area = ((rows.start, rows.stop), (cols.start, cols.stop))
        chosen = None if bands is None else [band + 1 for band in bands]
        try:
            values: NDArray[np.generic] = self._file.read(chosen, window=area)
        except RasterioError as error:
            raise InputError(f"{self.path} cannot be read at {window}: {error}") from None
        return values

    def valid(self, values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Return ``(band, y, x)`` True = a number, and not nodata."""
        known = np.ones(values.shape, dtype=bool)
        if values.dtype.kind == "f":
            known &= np.isfinite(values)
        if self.nodata is not None and np.isfinite(self.nodata):
            known &= np.not_equal(values, values.dtype.type(self.nodata))
        return known

    def masked(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` of a window, and ``(y, x)`` True = every band is valid."""
        values = self.read(window)
        whole: NDArray[np.bool_] = np.logical_and.reduce(self.valid(values), axis=0)
        return values, whole

    def coarse_valid(self, *, side: int = _SIDE) -> tuple[NDArray[np.bool_], int]:
        """Return ``(y, x)`` True = valid, made coarser by a power of two, and that power.

        The longer side has at most ``side`` pixels; the overviews are read, not the raster.
        """
        step = 1
        while max(self.grid.height, self.grid.width) > side * step:
            step *= 2
        shape = (1, -(-self.grid.height // step), -(-self.grid.width // step))
        return self.valid(self._file.read([1], out_shape=shape))[0], step

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

"""Read finished maps, and any raster that lies on them, window by window."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Self

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Grid, Window

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SIDE = 2000


class MapFile:
    """A raster that is read in windows; :func:`open_map` gives one.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._file = rasterio.open(path)
        except RasterioError as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        self.path = path
        file = self._file
        crs = file.crs.to_wkt() if file.crs else None
        self.grid = Grid(height=file.height, width=file.width, transform=file.transform, crs=crs)
        self.bands: tuple[str, ...] = tuple(name or "" for name in file.descriptions)
        """Description of each band."""
        self.nodata: float | None = file.nodata

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(
        self, window: Window, bands: list[int] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Read a window that lies inside.

        Parameters
        ----------
        window : Window
            Which pixels.
        bands : list of int, optional
            0-based; all by default.

        Returns
        -------
        values : ndarray
            ``(band, y, x)`` as stored.
        valid : ndarray
            ``(y, x) bool``: every band finite and not nodata.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        rows, cols = window.slices
        chosen = None if bands is None else [band + 1 for band in bands]
        try:
            values = self._file.read(
                chosen, window=((rows.start, rows.stop), (cols.start, cols.stop))
            )
        except RasterioError as error:
            raise InputError(f"{self.path} cannot be read: {error}") from error
        return values, self._valid(values)

    def coarse_valid(self, *, side: int = _SIDE) -> tuple[NDArray[np.bool_], int]:
        """Return ``(y, x)`` True = valid, made coarser by a power of two, and that power.

        The longer side has at most ``side`` pixels; the overviews are read, not the map.
        """
        step = 1
        while max(self.grid.height, self.grid.width) > side * step:
            step *= 2
        shape = (1, -(-self.grid.height // step), -(-self.grid.width // step))
        return self._valid(self._file.read([1], out_shape=shape)), step

    def _valid(self, values: NDArray[np.generic]) -> NDArray[np.bool_]:
        valid = np.ones(values.shape[1:], dtype=bool)
        for plane in values:
            if plane.dtype.kind == "f":
                valid &= np.isfinite(plane)
            if self.nodata is not None and np.isfinite(self.nodata):
                valid &= plane != plane.dtype.type(self.nodata)
        return valid

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def open_map(path: Path) -> MapFile:
    """Open a raster.

    Raises
    ------
    UsageError
        If there is no such file.
    InputError
        If it cannot be read.
    """
    if not path.exists():
        raise UsageError(f"there is no file {str(path)!r}; check the path")
    return MapFile(path)

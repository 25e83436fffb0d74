"""One band of a raster that lies on a scene's grid."""

from __future__ import annotations

import threading
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Grid

_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_GRID_TOLERANCE_PX: Final = 1e-6
"""How far a corner may lie from the scene's; rounding of a float64 easting is below 1e-8 px."""
_SCAN_PIXELS: Final = 1 << 22
"""Pixels read at once when the whole raster is looked at."""


class BandReader:
    """Windows of one band, with what is not a value marked.

    Parameters
    ----------
    path : Path
        A GeoTIFF or ENVI file. Sidecars are not read.
    band : str, int or None
        Description, number from 1, or None for the only band.
    grid : Grid
        The scene's grid, which the raster must share.
    prefer : str, optional
        Description of the band to take where ``band`` is None and there are several.
    nodata : float, optional
        In place of what the file declares.

    Raises
    ------
    UsageError
        If there is no such file or band.
    InputError
        If it cannot be read or lies on another grid.
    """

    def __init__(
        self,
        path: Path,
        band: str | int | None,
        *,
        grid: Grid,
        prefer: str | None = None,
        nodata: float | None = None,
    ) -> None:
        self.path = path
        self._file = _open(path)
        self._lock = threading.Lock()
        with ExitStack() as undo:
            undo.callback(self._file.close)
            self.notes = check_grid(path, self._file, grid)
            names = list(self._file.descriptions)
            chosen = prefer if band is None and prefer in names else band
            self.band = _band_number(path, chosen, names)
            undo.pop_all()
        self.grid = grid
        declared = self._file.nodatavals[self.band - 1]
        self.nodata: float | None = declared if nodata is None else nodata
        """Stored value that marks a missing sample; None = none does."""
        self.scale = float(self._file.scales[self.band - 1])
        self.offset = float(self._file.offsets[self.band - 1])
        flags = self._file.mask_flag_enums[self.band - 1]
        self._masked = MaskFlags.per_dataset in flags

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open file behind; another process opens its own."""
        return {k: v for k, v in vars(self).items() if k not in {"_file", "_lock"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._file, self._lock = _open(self.path), threading.Lock()

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return ``(y, x)`` stored values and ``(y, x)`` True = a value; outside the raster none.

        Raises
        ------
        InputError
            If the file is damaged there.
        """
        inside = window.clip(height=self.grid.height, width=self.grid.width)
        place = inside.shift(rows=-window.row, cols=-window.col).slices
        dtype = np.dtype(self._file.dtypes[self.band - 1])
        values = np.zeros((window.height, window.width), dtype)
        valid = np.zeros((window.height, window.width), dtype=bool)
        if inside.is_empty:
            return values, valid
        rows, cols = inside.slices
        area = ((rows.start, rows.stop), (cols.start, cols.stop))
        try:
            with self._lock:
                values[place] = self._file.read(self.band, window=area)
                valid[place] = not self._masked or self._file.dataset_mask(window=area) > 0
        except RasterioError as error:
            raise InputError(f"{self.path} cannot be read at {window}: {error}") from None
        if dtype.kind == "f":
            valid &= np.isfinite(values)
        if self.nodata is not None:
            with np.errstate(over="ignore"):  # -1.8e308 declared for float32 means -inf
                valid &= values != (dtype.type(self.nodata) if dtype.kind == "f" else self.nodata)
        return values, valid

    def strips(self) -> Iterator[Window]:
        """Yield windows of whole rows that cover the raster."""
        step = max(1, _SCAN_PIXELS // max(self.grid.width, 1))
        for row in range(0, self.grid.height, step):
            height = min(step, self.grid.height - row)
            yield Window(row=row, col=0, height=height, width=self.grid.width)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def count_codes(path: Path, band: str | int | None) -> dict[int, int]:
    """Count the pixels of each whole number in a band.

    Parameters
    ----------
    path : Path
        A GeoTIFF or ENVI file.
    band : str, int or None
        Description, number from 1, or None for the only band.

    Returns
    -------
    dict
        Code to number of pixels.

    Raises
    ------
    UsageError
        If there is no such file or band.
    InputError
        If it cannot be read.
    """
    file = _open(path)
    try:
        number = _band_number(path, band, list(file.descriptions))
        counts: dict[int, int] = {}
        step = max(1, _SCAN_PIXELS // max(file.width, 1))
        for row in range(0, file.height, step):
            rows = (row, min(row + step, file.height))
            values = file.read(number, window=(rows, (0, file.width)))
            for code, n in zip(*np.unique(values, return_counts=True), strict=True):
                counts[int(code)] = counts.get(int(code), 0) + int(n)
    except RasterioError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    finally:
        file.close()
    return counts


def _open(path: Path) -> Any:  # noqa: ANN401 - rasterio has no types
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise UsageError(f"label raster {path} {what}; check the path and the data folder")
    with path.open("rb") as start:
        driver = "GTiff" if start.read(4) in _TIFF_MAGIC else "ENVI"
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            file = rasterio.open(path, driver=driver)
    except RasterioError as error:
        raise InputError(f"{path} is no readable GeoTIFF or ENVI raster: {error}") from None
    if file.driver == "ENVI":
        _check_size(path, file)
    return file


def _check_size(path: Path, file: Any) -> None:  # noqa: ANN401 - rasterio has no types
    """Refuse a raw file of the wrong size: GDAL would read zeros, "no label", where it ends."""
    tags = file.tags(ns="ENVI")
    if tags.get("file_compression", "0") != "0":
        return
    itemsize = np.dtype(file.dtypes[0]).itemsize
    wanted = file.count * file.height * file.width * itemsize + int(tags.get("header_offset", 0))
    found = path.stat().st_size
    if found != wanted:
        file.close()
        raise InputError(f"{path} has {found} bytes where its header says {wanted}; copy it again")


def check_grid(path: Path, file: Any, grid: Grid) -> tuple[str, ...]:  # noqa: ANN401 - no types
    """Refuse a raster that is not on a scene's grid.

    Parameters
    ----------
    path : Path
        Named in errors.
    file : DatasetReader
        The open raster.
    grid : Grid
        The scene's grid.

    Returns
    -------
    tuple of str
        What had to be assumed, a sentence each.

    Raises
    ------
    InputError
        If the shape differs, a corner lies 1e-6 px off, or both state a CRS and the two differ.
    """
    if (file.height, file.width) != (grid.height, grid.width):
        raise InputError(
            f"{path} has {file.height} x {file.width} pixels and the scene {grid.height} x"
            f" {grid.width}; put it on the scene's grid"
        )
    corners = [(0, 0), (grid.width, 0), (0, grid.height), (grid.width, grid.height)]
    back = ~grid.transform
    off = max(
        max(abs(there[0] - corner[0]), abs(there[1] - corner[1]))
        for corner in corners
        for there in [back @ (file.transform @ corner)]
    )
    if not off <= _GRID_TOLERANCE_PX:
        raise InputError(
            f"{path} lies up to {off:.3g} px off the scene's grid (transform"
            f" {tuple(file.transform)[:6]}, the scene's {tuple(grid.transform)[:6]}); put it on"
            f" the scene's grid"
        )
    return _check_crs(path, file.crs, grid.crs)


def _check_crs(path: Path, found: CRS | None, wanted: str | None) -> tuple[str, ...]:
    """Refuse two CRS that are known to differ; texts of one CRS vary with the software."""
    if not found or not wanted:
        return ()
    try:
        scene = CRS.from_wkt(wanted)
    except CRSError:
        return (f"the CRS of {path.name} was not compared, the scene's is not understood",)
    if found == scene:
        return ()
    codes = found.to_epsg(), scene.to_epsg()
    if None not in codes and codes[0] == codes[1]:
        return ()
    if None not in codes or found.is_geographic != scene.is_geographic:
        raise InputError(
            f"{path} has the CRS {found.to_string()[:60]} and the scene"
            f" {scene.to_string()[:60]}; put it on the scene's grid"
        )
    return (f"the CRS of {path.name} and of the scene are written differently; taken as equal",)


def _band_number(path: Path, band: str | int | None, names: list[str | None]) -> int:
    """Return the number from 1 of the band that is meant."""
    listed = ", ".join(f"{i} {name or '(no description)'}" for i, name in enumerate(names, 1))
    if band is None and len(names) == 1:
        return 1
    if band is None:
        raise UsageError(f"{path} has {len(names)} bands; name one with `band:` ({listed})")
    if isinstance(band, int):
        if not 1 <= band <= len(names):
            raise UsageError(f"{path} has no band {band}; it has {listed}")
        return band
    if names.count(band) != 1:
        n = names.count(band) or "no"
        raise UsageError(f"{path} has {n} band described {band!r}; it has {listed}")
    return names.index(band) + 1

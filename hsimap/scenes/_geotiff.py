"""GeoTIFF and COG through GDAL, one handle a thread."""

from __future__ import annotations

import os
import re
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hsimap.errors import InputError
from hsimap.geometry import Grid, Window
from hsimap.scenes._scene import Scene
from hsimap.scenes._storage import Storage
from hsimap.spectra import Bands, wavelengths_in_nm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_DESCRIPTION: Final = re.compile(
    r"([0-9]+(?:\.[0-9]+)?)\s*(nm|nanomet(?:er|re)s?|[uµ]m|micromet(?:er|re)s?)\b", re.IGNORECASE
)
_SCALE_TAGS: Final = ("scale_factor", "reflectance_scale", "SCALE_FACTOR")


def open_geotiff(path: Path) -> Scene:
    """Open a GeoTIFF or COG.

    Raises
    ------
    InputError
        If GDAL cannot read it, or its bands declare different nodata values or scales.
    """
    with _open(path) as file:
        reader = GdalReader(path)
        grid = Grid(
            height=file.height,
            width=file.width,
            transform=file.transform,
            crs=file.crs.to_wkt() if file.crs else None,
        )
        tags = [file.tags(i) for i in reader.indexes]
        names = [file.descriptions[i - 1] or "" for i in reader.indexes]
        bands, notes = _bands(tags, names)
        nodata = _common(path, "nodata", [file.nodatavals[i - 1] for i in reader.indexes])
        scale = _scale(path, file, reader.indexes)
    if grid.crs is None:
        notes.append(f"{path.name} has no CRS")
    return Scene(
        reader,
        name=path.stem,
        grid=grid,
        bands=bands,
        scale=scale,
        nodata=nodata,
        files=(path,),
        notes=notes,
    )


def _open(path: Path, **options: Any) -> Any:  # noqa: ANN401  # rasterio has no types
    """Open with the GeoTIFF driver only, without sidecars: those could override nodata."""
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path, driver="GTiff", **options)
    except RasterioError as error:
        raise InputError(f"{path} is no readable GeoTIFF: {error}") from error


def _common(path: Path, what: str, values: list[float | None]) -> float | None:
    if len({repr(value) for value in values}) > 1:
        raise InputError(
            f"{path}: bands declare different {what} values, {values[:4]}…; declare a single one"
        )
    return values[0]


def _scale(path: Path, file: Any, indexes: Sequence[int]) -> float | None:  # noqa: ANN401
    scale = _common(path, "scale", [file.scales[i - 1] for i in indexes])
    if scale is not None and scale != 1:
        return scale
    tags = file.tags()
    stated = [tags[key] for key in _SCALE_TAGS if key in tags]
    try:
        return float(stated[0]) if stated else None
    except ValueError:
        raise InputError(f"{path}: scale_factor must be a number, is {stated[0]!r}") from None


def _bands(tags: list[dict[str, str]], names: list[str]) -> tuple[Bands, list[str]]:
    """Read wavelengths from the bands' own tags, else from their descriptions."""
    n, notes = len(tags), []
    wavelength: tuple[float, ...] | None = None
    fwhm: tuple[float, ...] | None = None
    if all("wavelength" in tag for tag in tags):
        unit = tags[0].get("wavelength_units")
        wavelength, note = wavelengths_in_nm([float(tag["wavelength"]) for tag in tags], unit)
        notes += [note] if note else []
        if all("fwhm" in tag for tag in tags):
            factor = wavelength[-1] / float(tags[-1]["wavelength"])
            fwhm = tuple(round(float(tag["fwhm"]) * factor, 6) for tag in tags)
    else:
        found = [_DESCRIPTION.search(name) for name in names]
        if all(found):
            stated = [(float(m[1]), m[2]) for m in found if m]
            wavelength = tuple(wavelengths_in_nm([value], unit)[0][0] for value, unit in stated)
    good = tuple(tag.get("bbl", "1").strip() not in {"0", "0.0"} for tag in tags)
    if len(wavelength or tags) != n:
        wavelength = None
    return Bands(wavelength_nm=wavelength, fwhm_nm=fwhm, good=good), notes


class GdalReader:
    """Windows of a GeoTIFF.

    Parameters
    ----------
    path : Path
        The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._handles: list[Any] = []
        self._lock = threading.Lock()
        file = self._file()
        alpha = ColorInterp.alpha
        self.indexes = [i for i in file.indexes if file.colorinterp[i - 1] is not alpha]
        """1-based bands that hold data; an alpha band is a mask."""
        flags = file.mask_flag_enums[self.indexes[0] - 1] if self.indexes else []
        self._masked = MaskFlags.per_dataset in flags
        self.shape = (len(self.indexes), file.height, file.width)
        self.dtype = np.dtype(file.dtypes[0])
        structure = file.tags(ns="IMAGE_STRUCTURE")
        self.storage = Storage(
            driver="GeoTIFF",
            interleave=structure.get("INTERLEAVE", "band").lower(),
            block=file.block_shapes[0],
            compression=structure.get("COMPRESSION", "none").lower(),
        )
        if not self.indexes or self.dtype.kind not in "uif":
            raise InputError(
                f"{path} has {len(self.indexes)} data bands of type {self.dtype}; reflectance needs"
                f" integer or float bands"
            )

    def __reduce__(self) -> tuple[type[GdalReader], tuple[Path]]:
        return GdalReader, (self._path,)

    def _file(self) -> Any:  # noqa: ANN401
        file = getattr(self._local, "file", None)
        if file is None:
            file = _open(self._path, num_threads=min(os.cpu_count() or 1, 8))
            self._local.file = file
            with self._lock:
                self._handles.append(file)
        return file

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values and the file's mask, where it has one."""
        file = self._file()
        slices = ((window.row, window.row + window.height), (window.col, window.col + window.width))
        try:
            values = file.read([self.indexes[band] for band in bands], window=slices, out=out)
            mask = file.dataset_mask(window=slices) > 0 if self._masked else None
        except RasterioError as error:
            raise InputError(f"{self._path} cannot be read at {window}: {error}") from error
        return values, mask

    def close(self) -> None:
        """Close every thread's handle."""
        with self._lock:
            for file in self._handles:
                file.close()
            self._handles.clear()
            self._local = threading.local()

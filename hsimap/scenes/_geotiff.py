"""GeoTIFF and COG through GDAL, one handle a thread."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hsimap.errors import InputError
from hsimap.geometry import Grid, Window
from hsimap.scenes._gdal_tags import bands_in_tags, common, scale_in_tags
from hsimap.scenes._page_cache import PassingPages
from hsimap.scenes._scene import Scene
from hsimap.scenes._storage import Storage
from hsimap.scenes._tiff_blocks import TiffBlocks, layout_of
from hsimap.streams import available_cpus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_DRIVERS: Final = {
    b"II*\0": "GTiff", b"MM\0*": "GTiff", b"II+\0": "GTiff", b"MM\0+": "GTiff",
    b"EHFA_HEADER_TAG": "HFA", b"PCIDSK  ": "PCIDSK",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JP2OpenJPEG", b"\xffO\xffQ": "JP2OpenJPEG",
}  # fmt: skip
_NAMES: Final = {"GTiff": "GeoTIFF"}


def driver_of(path: Path) -> str | None:
    """Return GDAL's driver for a file by its first bytes, None where it is none that is read."""
    with path.open("rb") as file:
        head = file.read(16)
    return next((name for magic, name in _DRIVERS.items() if head.startswith(magic)), None)


def open_geotiff(path: Path) -> Scene:
    """Open a GeoTIFF, a COG, or an ERDAS Imagine, PCIDSK or JPEG 2000 file.

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
        bands, notes = bands_in_tags(file, reader.indexes)
        nodata = common(path, "nodata", [file.nodatavals[i - 1] for i in reader.indexes])
        scale = scale_in_tags(file, reader.indexes, path)
        if grid.crs is None:
            notes.append(f"{path.name} has no CRS")
        if file.gcps[0] or file.rpcs:
            notes.append(
                "the ground control points or RPC were not used: they do not place pixels exactly"
            )
    masks = [side for side in (path.with_name(f"{path.name}.msk"),) if side.is_file()]
    return Scene(
        reader,
        name=path.stem,
        grid=grid,
        bands=bands,
        scale=scale,
        nodata=nodata,
        files=(path, *masks),
        notes=notes,
    )


def _open(path: Path, **options: Any) -> Any:  # noqa: ANN401  # rasterio has no types
    """Open with the file's own driver only, without sidecars: those could override nodata."""
    driver = driver_of(path) or "GTiff"
    if driver != "GTiff":
        options.pop("num_threads", None)
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path, driver=driver, **options)
    except RasterioError as error:
        name = _NAMES.get(driver, driver)
        raise InputError(f"{path} is no readable {name}: {error}") from error


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
        flags = [file.mask_flag_enums[i - 1] for i in self.indexes]
        self._masked = any(MaskFlags.per_dataset in found for found in flags)
        self._band_masks = any(not found for found in flags)  # no flag: a mask of its own
        self.shape = (len(self.indexes), file.height, file.width)
        self.dtype = np.dtype(file.dtypes[0])
        structure = file.tags(ns="IMAGE_STRUCTURE")
        layout = layout_of(file, path)
        self.storage = Storage(
            driver=_NAMES.get(file.driver, file.driver),
            interleave=structure.get("INTERLEAVE", "band").lower(),
            block=file.block_shapes[0],
            compression=structure.get("COMPRESSION", "none").lower(),
            keeps=layout is not None,
        )
        if not self.indexes or self.dtype.kind not in "uif":
            raise InputError(
                f"{path} has {len(self.indexes)} data bands of type {self.dtype}; reflectance needs"
                f" integer or float bands"
            )
        self._pages = PassingPages(path)
        self._blocks = None if layout is None else TiffBlocks(path, layout)

    def __reduce__(self) -> tuple[type[GdalReader], tuple[Path]]:
        return GdalReader, (self._path,)

    def _file(self) -> Any:  # noqa: ANN401
        file = getattr(self._local, "file", None)
        if file is None:
            file = _open(self._path, num_threads=min(available_cpus(), 8))
            self._local.file = file
            with self._lock:
                self._handles.append(file)
        return file

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values and the file's mask, or those of the bands."""
        is_last = self._pages.begin(window, width=self.shape[2]) > window.row
        file = self._file()
        slices = ((window.row, window.row + window.height), (window.col, window.col + window.width))
        if out is None:
            out = np.empty((len(bands), window.height, window.width), self.dtype)
        indexes = [self.indexes[band] for band in bands]
        try:
            if not self._decode(file, window, indexes, out):
                file.read(indexes, window=slices, out=out)
            mask = None
            if self._band_masks:
                mask = file.read_masks(indexes, window=slices) > 0
            elif self._masked:
                mask = file.dataset_mask(window=slices) > 0
        except RasterioError as error:
            raise InputError(f"{self._path} cannot be read at {window}: {error}") from error
        if is_last and self._pages.active:
            self._pages.give_back()
        return out, mask

    def expect(self, window: Window) -> None:
        """Begin to decode a window that is read next, if that can be done."""
        if self._blocks is not None:
            self._blocks.expect(self._file(), window)

    def _decode(
        self,
        file: Any,  # noqa: ANN401
        window: Window,
        indexes: Sequence[int],
        out: NDArray[np.generic],
    ) -> bool:
        """Fill ``out`` without GDAL, if that can be done."""
        if self._blocks is None or out.dtype != self.dtype:
            return False
        return self._blocks.read(file, window, [index - 1 for index in indexes], out)

    def close(self) -> None:
        """Close every thread's handle."""
        self._pages.close()
        if self._blocks is not None:
            self._blocks.close()
        with self._lock:
            for file in self._handles:
                file.close()
            self._handles.clear()
            self._local = threading.local()

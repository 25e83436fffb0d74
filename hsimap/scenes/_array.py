"""A scene in an ``xarray.DataArray``, in memory or on dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from hsimap.errors import InputError
from hsimap.geometry import Grid, Window
from hsimap.scenes._scene import Scene
from hsimap.scenes._storage import Storage
from hsimap.spectra import Bands

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray


class ArrayReader:
    """Windows of a DataArray.

    Parameters
    ----------
    array : DataArray
        ``(band, y, x)``.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._data = array.data
        self._mask = array.coords["mask"].data if "mask" in array.coords else None
        bands, height, width = array.shape
        self.shape = (bands, height, width)
        self.dtype = array.dtype.newbyteorder("=")
        self.storage = Storage(
            driver="memory", interleave="bsq", block=(height, width), compression="none"
        )

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values and the ``mask`` coordinate, where there is one."""
        part = self._data[:, *window.slices]
        if list(bands) != list(range(self.shape[0])):
            part = part[list(bands)]
        if out is None:
            values = np.array(part, dtype=self.dtype)
        else:
            values = out
            values[...] = part
        mask = None if self._mask is None else np.array(self._mask[window.slices], dtype=bool)
        return values, mask

    def close(self) -> None:
        """Nothing is held open."""


def scene_from_array(array: xr.DataArray) -> Scene:
    """Take a DataArray as a scene.

    Parameters
    ----------
    array : DataArray
        ``(band, y, x)`` stored values. Coordinates ``wavelength`` and ``fwhm`` (nm) and ``good``
        on the band axis, ``mask`` ``(y, x)`` (True = valid); attributes ``scale``, ``nodata``
        (or ``_FillValue``), ``crs`` (WKT) and ``transform`` (six numbers). ``spatial_ref`` and
        evenly spaced ``x`` and ``y`` serve as well. All are optional.

    Raises
    ------
    InputError
        If the array is not three-dimensional or not numeric.
    """
    if array.ndim != 3 or array.dtype.kind not in "uif":  # noqa: PLR2004  # band, y, x
        raise InputError(
            f"a scene is a (band, y, x) array of numbers, got {array.dims} of {array.dtype}"
        )
    transform, crs = _georeference(array)
    _, height, width = array.shape
    bands = Bands(
        wavelength_nm=_coordinate(array, "wavelength"),
        fwhm_nm=_coordinate(array, "fwhm"),
        good=tuple(bool(flag) for flag in array.coords["good"].values)
        if "good" in array.coords
        else (True,) * array.shape[0],
    )
    name = "scene" if array.name is None else str(array.name)
    nodata = array.attrs.get("nodata", array.attrs.get("_FillValue"))
    return Scene(
        ArrayReader(array),
        name=name,
        grid=Grid(height=height, width=width, transform=transform, crs=crs),
        bands=bands,
        scale=array.attrs.get("scale"),
        nodata=None if nodata is None else float(nodata),
        notes=() if crs else (f"{name} has no CRS",),
    )


def _coordinate(array: xr.DataArray, name: str) -> tuple[float, ...] | None:
    if name not in array.coords:
        return None
    return tuple(float(value) for value in array.coords[name].values)


def _georeference(array: xr.DataArray) -> tuple[Affine, str | None]:
    reference: dict[str, Any] = (
        array.coords["spatial_ref"].attrs if "spatial_ref" in array.coords else {}
    )
    crs = array.attrs.get("crs") or reference.get("crs_wkt") or reference.get("spatial_ref")
    if "transform" in array.attrs:
        return Affine(*array.attrs["transform"][:6]), crs
    if "GeoTransform" in reference:
        return Affine.from_gdal(*map(float, str(reference["GeoTransform"]).split())), crs
    if "x" in array.coords and "y" in array.coords and min(array.shape[1:]) > 1:
        x, y = array.coords["x"].values, array.coords["y"].values
        step_x, step_y = (x[-1] - x[0]) / (len(x) - 1), (y[-1] - y[0]) / (len(y) - 1)
        return Affine(step_x, 0, x[0] - step_x / 2, 0, step_y, y[0] - step_y / 2), crs
    return Affine.identity(), crs

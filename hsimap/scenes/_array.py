"""A scene in an ``xarray.DataArray``, in memory or on dask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hsimap.errors import InputError
from hsimap.geometry import Grid, Window
from hsimap.scenes._reference import (
    X_NAMES,
    Y_NAMES,
    affine_of_centres,
    crs_in,
    moved,
    placed,
    transform_in,
)
from hsimap.scenes._scene import Scene
from hsimap.scenes._storage import Storage
from hsimap.spectra import Bands

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from affine import Affine
    from numpy.typing import NDArray


class ArrayReader:
    """Windows of a DataArray.

    Parameters
    ----------
    array : DataArray
        ``(band, y, x)``.
    """

    def __init__(self, array: xr.DataArray) -> None:
        self._variable = array.variable  # whose data are lazy, on dask or in a file
        self._mask = array.coords["mask"].variable if "mask" in array.coords else None
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
        cut = self._variable[:, *window.slices]
        if list(bands) != list(range(self.shape[0])):
            cut = cut[list(bands)]
        part = cut.data
        if out is None:
            values = np.array(part, dtype=self.dtype)
        else:
            values = out
            values[...] = part
        mask = None if self._mask is None else np.array(self._mask[window.slices].data, dtype=bool)
        return values, mask

    def close(self) -> None:
        """Nothing is held open."""


def scene_from_array(array: xr.DataArray) -> Scene:
    """Take a DataArray as a scene.

    Parameters
    ----------
    array : DataArray
        ``(band, y, x)`` stored values, or any order of axes with such names. Coordinates
        ``wavelength`` and ``fwhm`` (nm) and ``good`` on the band axis, ``mask`` ``(y, x)``
        (True = valid); attributes ``scale``, ``nodata`` (or ``_FillValue``), ``crs`` (WKT) and
        ``transform`` (six numbers). ``spatial_ref`` and evenly spaced ``x`` and ``y`` serve as
        well. All are optional.

    Raises
    ------
    InputError
        If the array is not three-dimensional or not numeric.
    """
    if array.ndim != 3 or array.dtype.kind not in "uif":  # noqa: PLR2004  # band, y, x
        raise InputError(
            f"a scene is a (band, y, x) array of numbers, got {array.dims} of {array.dtype}"
        )
    notes: list[str] = []
    array = _ordered(array)
    transform, crs = _georeference(array, notes)
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
        notes=notes + ([] if crs else [f"{name} has no CRS"]),
    )


def _ordered(array: xr.DataArray) -> xr.DataArray:
    """Return a view ``(band, y, x)`` of an array whose axes are known by their names."""
    x = [name for name in array.dims if str(name).lower() in X_NAMES]
    y = [name for name in array.dims if str(name).lower() in Y_NAMES]
    if len(x) != 1 or len(y) != 1:
        return array
    (band,) = set(array.dims) - {x[0], y[0]}
    names = {band: "band", y[0]: "y", x[0]: "x"}
    turned = array.transpose(band, y[0], x[0])
    return turned.rename({old: new for old, new in names.items() if old != new})


def _coordinate(array: xr.DataArray, name: str) -> tuple[float, ...] | None:
    if name not in array.coords:
        return None
    return tuple(float(value) for value in array.coords[name].values)


def _georeference(array: xr.DataArray, notes: list[str]) -> tuple[Affine, str | None]:
    """Return the place of an array, which may be a slice of the one whose attributes it has."""
    reference = dict(array.coords["spatial_ref"].attrs) if "spatial_ref" in array.coords else {}
    stated, crs = transform_in(array.attrs, reference), crs_in(array.attrs, reference)
    coords = {
        name: array.coords[name].values for name in ("x", "y", "col", "row") if name in array.coords
    }
    if stated is not None and {"col", "row"} <= coords.keys():
        return moved(stated, coords["col"], coords["row"]), crs
    one_axis = {"x", "y"} <= coords.keys() and coords["x"].ndim == coords["y"].ndim == 1
    centres = affine_of_centres(coords["x"], coords["y"]) if one_axis else None
    transform, found = placed(stated, centres, array.shape[1:])
    notes += found
    return transform, crs

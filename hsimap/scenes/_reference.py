"""Where pixels lie, as labelled arrays say it: CF, GDAL, rioxarray and the Zarr conventions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from hsimap.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from hsimap.geometry import Grid

X_NAMES: Final = frozenset({
    "x", "lon", "longitude", "easting", "col", "column", "columns", "samples",
})  # fmt: skip
Y_NAMES: Final = frozenset({
    "y", "lat", "latitude", "northing", "row", "rows", "line", "lines",
})  # fmt: skip
_CRS_KEYS: Final = (
    "crs_wkt", "spatial_ref", "proj:wkt2", "proj:code", "proj:epsg", "proj:projjson", "crs",
    "epsg", "EPSG",
)  # fmt: skip
_TRANSFORM_KEYS: Final = ("spatial:transform", "proj:transform", "transform")
_UNEVEN: Final = 0.01
"""Pixels; coordinates that were written as 32-bit floats still lie closer to their line."""


def wkt_of(value: object) -> str | None:
    """Return a CRS as WKT.

    Parameters
    ----------
    value : object
        WKT, ``"EPSG:32633"``, a code, PROJ text, or PROJJSON as text or dictionary.

    Returns
    -------
    str or None
        None where the value names no CRS that PROJ knows.
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    try:
        if isinstance(value, dict):
            crs = CRS.from_user_input(json.dumps(value))
        elif isinstance(value, int | np.integer) or (isinstance(value, str) and value.isdigit()):
            crs = CRS.from_epsg(int(value))
        elif isinstance(value, str) and value.strip():
            crs = CRS.from_user_input(value.strip())
        else:
            return None
    except (CRSError, ValueError):
        return None
    wkt: str = crs.to_wkt()
    return wkt or None


def crs_in(*attributes: Mapping[str, Any]) -> str | None:
    """Return the first CRS that any of several dictionaries of attributes states, as WKT."""
    for attrs in attributes:
        own = attrs.get("_CRS")
        nested = attrs.get("proj")
        candidates = [attrs.get(key) for key in _CRS_KEYS]
        candidates += [own.get(key) for key in ("wkt", "projjson")] if isinstance(own, dict) else []
        candidates += (
            [nested.get(key) for key in ("wkt2", "code", "projjson")]
            if isinstance(nested, dict)
            else []
        )
        for value in candidates:
            wkt = wkt_of(value)
            if wkt is not None:
                return wkt
        if attrs.get("grid_mapping_name") == "latitude_longitude":
            return wkt_of(4326)
    return None


def transform_in(*attributes: Mapping[str, Any]) -> Affine | None:
    """Return the first affine that any of several dictionaries of attributes states.

    ``GeoTransform`` is in GDAL's order, the others in that of rasterio.
    """
    for attrs in attributes:
        text = attrs.get("GeoTransform")
        if text is not None:
            values = text.split() if isinstance(text, str) else text
            return Affine.from_gdal(*[float(value) for value in values])
        for key in _TRANSFORM_KEYS:
            if attrs.get(key) is not None:
                return Affine(*[float(value) for value in attrs[key]][:6])
    return None


def affine_of_centres(x: ArrayLike, y: ArrayLike) -> Affine | None:
    """Return the affine of pixel centres.

    Parameters
    ----------
    x, y : array-like
        Centres of columns and rows.

    Returns
    -------
    Affine or None
        None where an axis has a single pixel, whose size is then unknown.

    Raises
    ------
    InputError
        If an axis is not evenly spaced.
    """
    (x0, step_x), (y0, step_y) = _line("x", x), _line("y", y)
    if not step_x or not step_y:
        return None
    return Affine(step_x, 0, x0 - step_x / 2, 0, step_y, y0 - step_y / 2)


def place_coordinates(grid: Grid) -> dict[str, Any]:
    """Return the coordinates of a labelled array that keep the place of its slices.

    Centres ``x`` and ``y`` of a raster that is north-up, else the pixels' numbers ``col`` and
    ``row`` on the same axes.
    """
    t = grid.transform
    if t.b or t.d:
        return {"col": ("x", np.arange(grid.width)), "row": ("y", np.arange(grid.height))}
    return {
        "x": t.c + (np.arange(grid.width) + 0.5) * t.a,
        "y": t.f + (np.arange(grid.height) + 0.5) * t.e,
    }


def moved(transform: Affine, col: ArrayLike, row: ArrayLike) -> Affine:
    """Return the affine of the pixels that have these numbers in the whole raster.

    Their centres stay where they are.

    Raises
    ------
    InputError
        If they are not evenly spaced.
    """
    (first_col, step_col), (first_row, step_row) = _line("col", col), _line("row", row)
    wide, high = step_col or 1, step_row or 1
    corner = Affine.translation(first_col + (1 - wide) / 2, first_row + (1 - high) / 2)
    return transform @ corner @ Affine.scale(wide, high)


def _line(name: str, values: ArrayLike) -> tuple[float, float]:
    """Return the first value and the step of an evenly spaced axis."""
    axis = np.asarray(values, dtype=np.float64)
    if axis.size == 1:
        return float(axis[0]), 0.0
    step = float(axis[-1] - axis[0]) / (axis.size - 1)
    off = np.abs(axis - (axis[0] + step * np.arange(axis.size))).max()
    if not step or not off <= _UNEVEN * abs(step):
        raise InputError(
            f"coordinate {name!r} is not evenly spaced ({axis[0]:.10g} to {axis[-1]:.10g}, up to"
            f" {off:.3g} off a step of {step:.6g}); write the raster on a regular grid"
        )
    return float(axis[0]), step


def placed(
    stated: Affine | None, centres: Affine | None, shape: Sequence[int]
) -> tuple[Affine, list[str]]:
    """Choose between the affine that a raster states and the one of its coordinates.

    Slicing a labelled array moves its coordinates and leaves its attributes as they were:
    where the two differ, the coordinates are right.

    Parameters
    ----------
    stated, centres : Affine or None
        Of the attributes, and of the coordinates of the pixels' centres.
    shape : sequence of int
        ``(y, x)``.

    Returns
    -------
    transform : Affine
        The identity where neither is known.
    notes : list of str
        What was put right.
    """
    if stated is None:
        return centres or Affine.identity(), []
    if centres is None or stated.b or stated.d:
        return stated, []
    height, width = shape
    pixel = max(abs(centres.a), abs(centres.e))
    corners = [(0, 0), (width, height)]
    far = max(
        max(abs(a - b) for a, b in zip(stated @ corner, centres @ corner, strict=True))
        for corner in corners
    )
    if far <= pixel / 100:
        return stated, []
    note = (
        "the stated transform is not that of the x and y coordinates, which were used: the array"
        " was cut after the transform was written"
    )
    return centres, [note]

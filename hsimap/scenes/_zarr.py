"""Zarr stores, versions 2 and 3: a cube with the georeference and bands that stand beside it."""

from __future__ import annotations

import base64
import json
import struct
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import zarr

from hsimap.errors import InputError
from hsimap.geometry import Grid
from hsimap.scenes._chunked import ChunkReader
from hsimap.scenes._reference import (
    X_NAMES,
    Y_NAMES,
    affine_of_centres,
    crs_in,
    placed,
    transform_in,
)
from hsimap.scenes._scene import Scene
from hsimap.spectra import Bands, wavelengths_in_nm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

_MARKS: Final = ("zarr.json", ".zarray", ".zgroup")
_WAVELENGTH: Final = ("wavelength", "wavelengths", "wavelength_nm", "wavelengths_nm", "wl")
_FWHM: Final = ("fwhm", "fwhm_nm", "FWHM")
_GOOD: Final = ("good", "good_wavelengths", "good_bands", "bbl")
_STANDARD: Final = ("radiation_wavelength", "sensor_band_central_radiation_wavelength")
_DEPTH: Final = 3
"""Groups within groups that are looked through."""


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store, a group or an array of one."""
    return path.is_dir() and any((path / mark).is_file() for mark in _MARKS)


def open_zarr(path: Path) -> Scene:
    """Open a Zarr store, or the array in it that the path names.

    The cube is ``(band, y, x)`` or ``(y, x, band)`` by the names of its axes. Read beside it are
    the CF grid mapping, ``x`` and ``y``, ``wavelength``, ``fwhm`` and ``good``, and of the
    attributes those of GDAL, of rioxarray and of the Zarr conventions ``proj`` and ``spatial``.

    Raises
    ------
    InputError
        If the store is damaged, or holds no cube or several.
    """
    array, group = _cube(path)
    notes: list[str] = []
    axes = _axes(array, notes)
    reader = ChunkReader(
        partial(_open_array, str(path), array.path), axes, driver="Zarr", compression=_codec
    )
    _, height, width = reader.shape
    transform, crs = _georeference(array, group, axes, notes)
    name = path.name.removesuffix(".zarr")
    if crs is None:
        notes.append(f"{path.name} has no CRS")
    written, chunks = array.nchunks_initialized, array.nchunks
    if written < chunks:
        notes.append(
            f"{chunks - written} of {chunks} chunks were never written and read as"
            f" {array.fill_value}"
        )
    return Scene(
        reader,
        name=name,
        grid=Grid(height=height, width=width, transform=transform, crs=crs),
        bands=_bands(array, group, _names(array)[axes[0]], notes),
        scale=_scale(array),
        nodata=_nodata(array),
        files=(path,),
        notes=notes,
    )


def _open_array(store: str, name: str) -> Any:  # noqa: ANN401  # zarr has few types
    node = _node(Path(store))
    return node[name] if isinstance(node, zarr.Group) and name else node


def _node(path: Path) -> Any:  # noqa: ANN401
    """Open an array or a group, by its own metadata: consolidated ones may be out of date."""
    try:
        if (path / ".zgroup").is_file() or _kind(path / "zarr.json") == "group":
            return zarr.open_group(str(path), mode="r", use_consolidated=False)
        return zarr.open_array(str(path), mode="r")
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no readable Zarr store: {error}") from error


def _kind(document: Path) -> str | None:
    """Return the node type that the metadata of version 3 state."""
    if not document.is_file():
        return None
    stated = json.loads(document.read_text(encoding="utf-8"))
    return stated.get("node_type") if isinstance(stated, dict) else None


def _cube(path: Path) -> tuple[Any, Any]:
    """Return the cube and the group in which it stands, if it stands in one."""
    node = _node(path)
    if not isinstance(node, zarr.Group):
        group = _node(path.parent) if is_zarr(path.parent) else None
        return _safe(node, path), group if isinstance(group, zarr.Group) else None
    try:
        found = _cubes(node, _DEPTH)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} is no readable Zarr store: {error}") from error
    if "multiscales" in node.attrs and found:
        found = found[:1]
    if len(found) != 1:
        names = ", ".join(array.path for array, _ in found[:5])
        raise InputError(
            f"{path} holds {len(found)} arrays of three axes"
            + (f" ({names}); name one, as in {path.name}/{found[0][0].path}" if found else "")
        )
    array, group = found[0]
    return _safe(array, path), group


def _cubes(group: Any, depth: int) -> list[tuple[Any, Any]]:  # noqa: ANN401
    here = [
        (array, group)
        for _, array in sorted(group.arrays())
        if array.ndim == 3 and array.dtype.kind in "uif"  # noqa: PLR2004  # band, y, x
    ]
    if here or not depth:
        return here
    return [cube for _, inner in sorted(group.groups()) for cube in _cubes(inner, depth - 1)]


def _safe(array: Any, path: Path) -> Any:  # noqa: ANN401
    """Refuse what is no cube of numbers, and codecs that run what they decode."""
    if array.ndim != 3 or array.dtype.kind not in "uif":  # noqa: PLR2004
        raise InputError(
            f"{path}: a scene is an array of three axes and of numbers, got {array.shape} of"
            f" {array.dtype}"
        )
    metadata = {k: v for k, v in array.metadata.to_dict().items() if k != "attributes"}
    if "pickle" in json.dumps(metadata, default=str):
        raise InputError(f"{path}: its codec runs code that the file holds; write it with another")
    return array


def _codec(array: Any) -> str:  # noqa: ANN401
    codecs = getattr(array, "compressors", ())
    if not codecs:
        return "none"
    name = getattr(codecs[0], "codec_id", None) or codecs[0].to_dict()["name"]
    return str(name).removeprefix("numcodecs.").lower()


def _names(array: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Return the names of the axes, empty where there are none."""
    stated = getattr(array.metadata, "dimension_names", None)
    stated = stated or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    return tuple(str(name or "") for name in stated) or ("", "", "")


def _axes(array: Any, notes: list[str]) -> tuple[int, int, int]:  # noqa: ANN401
    """Return which axis is band, y, x."""
    names = [name.lower() for name in _names(array)]
    x = [i for i, name in enumerate(names) if name in X_NAMES]
    y = [i for i, name in enumerate(names) if name in Y_NAMES]
    if len(x) == len(y) == 1:
        return 3 - x[0] - y[0], y[0], x[0]
    stated = next((array.attrs[key] for key in _WAVELENGTH if key in array.attrs), None)
    last = (
        stated is not None
        and not isinstance(stated, str)
        and len(stated) == array.shape[2] != array.shape[0]
    )
    order = "(y, x, band)" if last else "(band, y, x)"
    notes.append(f"the axes are named {tuple(_names(array))}: taken as {order}")
    return (2, 0, 1) if last else (0, 1, 2)


def _beside(array: Any, group: Any, name: str) -> Any:  # noqa: ANN401
    """Return an array of the cube's group, None where there is no such one."""
    if group is None or not name or name not in group:
        return None
    found = group[name]
    return None if isinstance(found, zarr.Group) or found.path == array.path else found


def _georeference(
    array: Any,  # noqa: ANN401
    group: Any,  # noqa: ANN401
    axes: tuple[int, int, int],
    notes: list[str],
) -> tuple[Any, str | None]:
    mapping = _beside(array, group, str(array.attrs.get("grid_mapping", "")).split(":")[0])
    for name in ("spatial_ref", "crs"):
        mapping = _beside(array, group, name) if mapping is None else mapping
    stated: list[Mapping[str, Any]] = [] if mapping is None else [dict(mapping.attrs)]
    stated += [dict(array.attrs)] + ([] if group is None else [dict(group.attrs)])
    names = _names(array)
    x, y = (_beside(array, group, names[axis]) for axis in (axes[2], axes[1]))
    centres = None
    if x is not None and y is not None and x.ndim == y.ndim == 1:
        centres = affine_of_centres(x[:], y[:])
    shape = (array.shape[axes[1]], array.shape[axes[2]])
    transform, moved = placed(transform_in(*stated), centres, shape)
    notes += moved
    return transform, crs_in(*stated)


def _bands(array: Any, group: Any, axis: str, notes: list[str]) -> Bands:  # noqa: ANN401
    n = array.shape[_axes(array, [])[0]]
    found = _list(array, group, (*_WAVELENGTH, axis), n)
    wavelength = fwhm = None
    if found is not None:
        values, unit = found
        wavelength, note = wavelengths_in_nm(values, unit)
        notes += [note] if note else []
        width = _list(array, group, _FWHM, n)
        if width is not None:
            factor = wavelength[-1] / values[-1]
            fwhm = tuple(round(value * factor, 6) for value in width[0])
    flags = _list(array, group, _GOOD, n)
    good = (True,) * n if flags is None else tuple(flag != 0 for flag in flags[0])
    return Bands(wavelength_nm=wavelength, fwhm_nm=fwhm, good=good)


def _list(
    array: Any,  # noqa: ANN401
    group: Any,  # noqa: ANN401
    names: tuple[str, ...],
    n: int,
) -> tuple[tuple[float, ...], str | None] | None:
    """Return one number a band and its unit, from an array beside the cube or an attribute."""
    for name in names:
        found = _beside(array, group, name)
        if found is not None and found.shape == (n,) and found.dtype.kind in "uifb":
            spectral = name in (*_WAVELENGTH, *_FWHM, *_GOOD)
            spectral |= found.attrs.get("standard_name") in _STANDARD
            spectral |= str(found.attrs.get("units", "")).lower().startswith(("nm", "nano", "um"))
            if spectral:
                unit = found.attrs.get("units") or found.attrs.get("unit")
                return tuple(float(value) for value in found[:]), unit
        stated = array.attrs.get(name)
        if isinstance(stated, list | tuple) and len(stated) == n:
            unit = array.attrs.get("wavelength_units") or array.attrs.get("wavelength_unit")
            return tuple(float(value) for value in stated), unit
    return None


def _scale(array: Any) -> float | None:  # noqa: ANN401
    scale, offset = array.attrs.get("scale_factor"), array.attrs.get("add_offset", 0)
    if float(offset) != 0:
        raise InputError(
            f"{array.store_path}: add_offset is {offset}; hsimap reads values that are proportional"
            f" to reflectance: write the array anew without an offset"
        )
    scale = array.attrs.get("scale") if scale is None else scale
    return None if scale is None else float(scale)


def _nodata(array: Any) -> float | None:  # noqa: ANN401
    """Return the stated missing value.

    In version 2 it is the fill value of the array where xarray or GDAL named its axes; a fill
    value of another writer, and any of version 3, only says what chunks that were never written
    hold.
    """
    for key in ("_FillValue", "missing_value", "nodata"):
        value = array.attrs.get(key)
        if isinstance(value, str):
            value = _decoded(value, array.dtype)
        if value is not None:
            return float(value)
    version_2 = array.metadata.zarr_format == 2  # noqa: PLR2004
    if version_2 and "_ARRAY_DIMENSIONS" in array.attrs and array.fill_value is not None:
        return float(array.fill_value)
    return None


def _decoded(text: str, dtype: np.dtype[np.generic]) -> float:
    """Return a fill value that xarray wrote as base64 of a 64-bit float, or as text."""
    if dtype.kind == "f" and len(text) == 12 and text.endswith("="):  # noqa: PLR2004
        return float(struct.unpack("<d", base64.b64decode(text))[0])
    return float(text)

"""Open a scene: the format is read off the first bytes, never off a name alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.errors import InputError, UsageError
from hsimap.scenes._aviris import open_line
from hsimap.scenes._envi_header import headers_of
from hsimap.scenes._geotiff import driver_of, open_geotiff
from hsimap.scenes._quality import stored_value

if TYPE_CHECKING:
    from hsimap.scenes._scene import Scene

_HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"


def open_scene(
    path: str | Path, *, nodata: float | None = None, scale: float | None = None
) -> Scene:
    """Open a GeoTIFF, an ENVI raster, a Zarr store, or a product of NEON, EMIT, EnMAP or PRISMA.

    Parameters
    ----------
    path : str or Path
        The file; for ENVI the data file or its header; for Zarr the store or an array in it; for
        EnMAP the folder, the spectral image or the metadata.
    nodata : float, optional
        Stored value of a missing sample, in place of what the file declares.
    scale : float, optional
        Reflectance per stored unit, in place of what the file declares.

    Returns
    -------
    Scene
        Close it, or use it as a context manager.

    Raises
    ------
    UsageError
        If there is no such file.
    InputError
        If it is damaged, inconsistent or of no known format.
    """
    path = Path(path)
    if not path.exists():
        raise UsageError(f"there is no file {os.fspath(path)!r}; check the path")
    scene = _folder(path) if path.is_dir() else _file(path)
    scene.nodata = scene.nodata if nodata is None else nodata
    scene.scale = scene.scale if scale is None else scale
    if _never_met(scene):
        scene.notes += (f"no {scene.dtype} sample can be the nodata value {scene.nodata:g}",)
    return scene


def _never_met(scene: Scene) -> bool:
    """Whether the nodata value is one that the storage type cannot hold."""
    if scene.nodata is None or (scene.dtype.kind == "f" and not np.isfinite(scene.nodata)):
        return False
    return stored_value(scene.nodata, scene.dtype) is None


def is_scene_folder(path: Path) -> bool:
    """Whether a folder is a scene of its own: a Zarr store, or a product of EnMAP."""
    from hsimap.scenes._enmap import find_enmap
    from hsimap.scenes._zarr import is_zarr

    return is_zarr(path) or find_enmap(path) is not None


def _folder(path: Path) -> Scene:
    from hsimap.scenes._enmap import find_enmap, open_enmap
    from hsimap.scenes._zarr import is_zarr, open_zarr

    if is_zarr(path):
        return open_zarr(path)
    product = find_enmap(path)
    if product is not None:
        return open_enmap(*product)
    raise UsageError(
        f"{path} is a folder and neither a Zarr store nor a product of EnMAP; name the raster"
        f" itself"
    )


def _file(path: Path) -> Scene:
    from hsimap.scenes._enmap import find_enmap, open_enmap

    product = find_enmap(path)
    if product is not None:
        return open_enmap(*product)
    if driver_of(path) is not None:
        return open_geotiff(path)
    with path.open("rb") as file:
        magic = file.read(len(_HDF5_MAGIC))
    if magic == _HDF5_MAGIC:
        return _hdf5(path)
    if _has_header(path):
        return open_line(path)
    raise InputError(
        f"{path} is neither a GeoTIFF nor an ENVI raster with a .hdr beside it, nor a Zarr store,"
        f" nor a product of NEON, EMIT, EnMAP or PRISMA; those are the formats that are read"
    )


def _hdf5(path: Path) -> Scene:
    from hsimap.scenes._emit import is_emit, open_emit
    from hsimap.scenes._hdf5 import open_file
    from hsimap.scenes._neon import open_neon, reflectance_group
    from hsimap.scenes._prisma import is_prisma, open_prisma

    with open_file(path) as file:
        if reflectance_group(file) is not None:
            return open_neon(path, file)
        if is_emit(file):
            return open_emit(path, file)
        if is_prisma(file):
            return open_prisma(path, file)
        names = ", ".join(list(file)[:5])
    raise InputError(
        f"{path} is an HDF5 file of no known product (it holds: {names}); reflectance of NEON,"
        f" EMIT and PRISMA is what is read"
    )


def _has_header(path: Path) -> bool:
    return path.suffix.lower() == ".hdr" or bool(headers_of(path))

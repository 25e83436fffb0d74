"""Open a scene: the format is read off the first bytes, never off a name alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hsimap.errors import InputError, UsageError
from hsimap.scenes._envi import open_envi
from hsimap.scenes._envi_header import headers_of
from hsimap.scenes._geotiff import open_geotiff

if TYPE_CHECKING:
    from hsimap.scenes._scene import Scene

_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_scene(
    path: str | Path, *, nodata: float | None = None, scale: float | None = None
) -> Scene:
    """Open a GeoTIFF, a COG or an ENVI raster.

    Parameters
    ----------
    path : str or Path
        The file; for ENVI the data file or its header.
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
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name the raster itself")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic in _TIFF_MAGIC:
        scene = open_geotiff(path)
    elif _has_header(path):
        scene = open_envi(path)
    else:
        raise InputError(
            f"{path} is neither a GeoTIFF nor an ENVI raster with a .hdr beside it; those are the"
            f" formats that are read"
        )
    scene.nodata = scene.nodata if nodata is None else nodata
    scene.scale = scene.scale if scale is None else scale
    return scene


def _has_header(path: Path) -> bool:
    return path.suffix.lower() == ".hdr" or bool(headers_of(path))

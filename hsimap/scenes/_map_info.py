"""ENVI's ``map info``, read by GDAL, which knows every projection that it can name."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from hsimap.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Mapping

_GEOREFERENCE: Final = ("map info", "coordinate system string", "projection info")


def grid_of(fields: Mapping[str, str], height: int, width: int) -> Grid:
    """Return where pixels lie, by the map keys of an ENVI header.

    Parameters
    ----------
    fields : mapping of str to str
        ``map info``, ``coordinate system string`` and ``projection info`` count.
    height, width : int
        Of the raster, in pixels.

    Returns
    -------
    Grid
        With the identity for a transform where the keys give none.
    """
    kept = [f"{key} = {{{fields[key]}}}" for key in _GEOREFERENCE if key in fields]
    if not kept:
        return Grid(height=height, width=width, transform=Affine.identity(), crs=None)
    text = "ENVI\nsamples = 8\nlines = 8\nbands = 1\ndata type = 1\ninterleave = bsq\n"
    with tempfile.TemporaryDirectory(prefix="hsimap-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        stand_in = Path(folder) / "grid.img"
        stand_in.write_bytes(bytes(64))
        stand_in.with_suffix(".hdr").write_text(text + "\n".join(kept) + "\n", encoding="utf-8")
        with rasterio.open(stand_in, driver="ENVI") as file:
            crs = file.crs.to_wkt() if file.crs else None
            return Grid(height=height, width=width, transform=file.transform, crs=crs)

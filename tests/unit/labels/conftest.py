"""A rotated grid and a writer of small rasters on it."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine

from hsimap.geometry import Grid

ROTATED = Affine.translation(384000.5, 5819308.25) @ Affine.rotation(21) @ Affine.scale(2.5, -2.5)
CRS = rasterio.crs.CRS.from_epsg(32633)


@pytest.fixture
def grid():
    return Grid(height=23, width=17, transform=ROTATED, crs=CRS.to_wkt())


@pytest.fixture
def write(tmp_path):
    """Write ``(band, y, x)`` or ``(y, x)`` values as a raster of tmp_path; returns its name."""

    def _write(name, values, *, names=(), scales=None, offsets=None, mask=None, **profile):
        values = np.atleast_3d(values.T).T if values.ndim == 2 else values
        profile = {"transform": ROTATED, "crs": CRS, "driver": "GTiff"} | profile
        count, height, width = values.shape
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                tmp_path / name, "w",
                count=count, height=height, width=width, dtype=values.dtype, **profile,
            ) as file,
        ):  # fmt: skip
            file.write(values)
            for i, text in enumerate(names, 1):
                file.set_band_description(i, text)
            if scales:
                file.scales, file.offsets = scales, offsets
            if mask is not None:
                file.write_mask(mask)
        return name

    return _write

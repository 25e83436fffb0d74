"""GDAL's block cache, which is a twentieth of the machine's memory unless it is told otherwise."""

from __future__ import annotations

from rasterio.env import set_gdal_config


def bound_cache(n_bytes: int) -> None:
    """Bound the decoded blocks that GDAL keeps, for the whole process."""
    set_gdal_config("GDAL_CACHEMAX", n_bytes)

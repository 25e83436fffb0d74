"""Many flight lines: mapped on any dask cluster, put together to one mosaic."""

from __future__ import annotations

from hsimap.flightlines._compose import MosaicSettings
from hsimap.flightlines._mosaic import MosaicReport, mosaic
from hsimap.flightlines._weights import Method

__all__ = ["Method", "MosaicReport", "MosaicSettings", "mosaic"]

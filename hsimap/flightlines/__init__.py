"""Many flight lines: mapped on any dask cluster, put together to one mosaic."""

from __future__ import annotations

from hsimap.flightlines._campaign import (
    CAMPAIGN,
    BatchReport,
    finish_batch,
    map_lines,
    run_lines,
    threads_for,
)
from hsimap.flightlines._check import BatchPlan, CheckedLine, check_lines
from hsimap.flightlines._compose import MosaicSettings
from hsimap.flightlines._discover import find_lines
from hsimap.flightlines._mosaic import MosaicReport, mosaic
from hsimap.flightlines._regrid import regrid
from hsimap.flightlines._settings import BatchSettings, SpreadSettings
from hsimap.flightlines._spread import LineResult
from hsimap.flightlines._weights import Method

__all__ = [
    "CAMPAIGN",
    "BatchPlan",
    "BatchReport",
    "BatchSettings",
    "CheckedLine",
    "LineResult",
    "Method",
    "MosaicReport",
    "MosaicSettings",
    "SpreadSettings",
    "check_lines",
    "find_lines",
    "finish_batch",
    "map_lines",
    "mosaic",
    "regrid",
    "run_lines",
    "threads_for",
]

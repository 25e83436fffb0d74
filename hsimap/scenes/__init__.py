"""One raster: its metadata, and ``read(window) -> (values, valid)``."""

from __future__ import annotations

from hsimap.scenes._array import scene_from_array
from hsimap.scenes._cache import bound_cache
from hsimap.scenes._layers import ConstantLayer
from hsimap.scenes._open import is_scene_folder, open_scene
from hsimap.scenes._quality import (
    MISSING,
    Limits,
    Quality,
    all_zero,
    limits_of,
    meanings,
    near_missing,
    stored_value,
    valid_of,
)
from hsimap.scenes._reader import PixelReader
from hsimap.scenes._scene import Scene
from hsimap.scenes._speed import ReadSpeed, measure_read
from hsimap.scenes._storage import Storage
from hsimap.scenes._survey import Survey, survey

__all__ = [
    "MISSING",
    "ConstantLayer",
    "Limits",
    "PixelReader",
    "Quality",
    "ReadSpeed",
    "Scene",
    "Storage",
    "Survey",
    "all_zero",
    "bound_cache",
    "is_scene_folder",
    "limits_of",
    "meanings",
    "measure_read",
    "near_missing",
    "open_scene",
    "scene_from_array",
    "stored_value",
    "survey",
    "valid_of",
]

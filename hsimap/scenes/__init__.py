"""One raster: its metadata, and ``read(window) -> (values, valid)``."""

from __future__ import annotations

from hsimap.scenes._array import scene_from_array
from hsimap.scenes._cache import bound_cache
from hsimap.scenes._layers import ConstantLayer
from hsimap.scenes._open import is_scene_folder, open_scene
from hsimap.scenes._scene import PixelReader, Scene, stored_value
from hsimap.scenes._speed import ReadSpeed, measure_read
from hsimap.scenes._storage import Storage

__all__ = [
    "ConstantLayer",
    "PixelReader",
    "ReadSpeed",
    "Scene",
    "Storage",
    "bound_cache",
    "is_scene_folder",
    "measure_read",
    "open_scene",
    "scene_from_array",
    "stored_value",
]

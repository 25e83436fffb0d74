"""One raster: its metadata, and ``read(window) -> (values, valid)``."""

from __future__ import annotations

from hsimap.scenes._array import scene_from_array
from hsimap.scenes._cache import bound_cache
from hsimap.scenes._open import open_scene
from hsimap.scenes._scene import PixelReader, Scene

__all__ = ["PixelReader", "Scene", "bound_cache", "open_scene", "scene_from_array"]

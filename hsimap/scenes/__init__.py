"""One raster: its metadata, and ``read(window) -> (values, valid)``."""

from __future__ import annotations

from hsimap.scenes._array import scene_from_array
from hsimap.scenes._open import open_scene
from hsimap.scenes._scene import PixelReader, Scene, stored_value

__all__ = ["PixelReader", "Scene", "open_scene", "scene_from_array", "stored_value"]

"""Maps of many variables from airborne hyperspectral scenes.

The public names below are loaded on first use, so that ``import hsimap`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from hsimap._version import __version__

if TYPE_CHECKING:
    from hsimap.bundle import Bundle
    from hsimap.mapping.lazy import predict
    from hsimap.scenes import Scene, open_scene

_HOME: Final = {
    "Bundle": "hsimap.bundle",
    "Scene": "hsimap.scenes",
    "open_scene": "hsimap.scenes",
    "predict": "hsimap.mapping.lazy",
}
__all__ = ["Bundle", "Scene", "__version__", "open_scene", "predict"]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

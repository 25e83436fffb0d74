"""Files for the user: COGs, QGIS styles, attribute tables, preview and manifest."""

from __future__ import annotations

from hsimap.products._cog import CogWriter
from hsimap.products._layer import BLOCK, Layer, describe_layer
from hsimap.products._manifest import (
    MANIFEST,
    RUN_FOLDER,
    file_entry,
    is_map_folder,
    is_unfinished,
    read_manifest,
    sync_path,
    verify_folder,
    write_manifest,
)
from hsimap.products._preview import write_preview
from hsimap.products._read import MapFile, open_map
from hsimap.products._write import read_coarse, write_layer

__all__ = [
    "BLOCK",
    "MANIFEST",
    "RUN_FOLDER",
    "CogWriter",
    "Layer",
    "MapFile",
    "describe_layer",
    "file_entry",
    "is_map_folder",
    "is_unfinished",
    "open_map",
    "read_coarse",
    "read_manifest",
    "sync_path",
    "verify_folder",
    "write_layer",
    "write_manifest",
    "write_preview",
]

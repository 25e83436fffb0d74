"""Files for the user: COGs, styles, projects, tables, catalogues, previews and manifests."""

from __future__ import annotations

from hsimap.products._cog import CogWriter
from hsimap.products._folder import (
    MapFolder,
    MapReader,
    folder_names,
    open_folders,
    open_maps,
)
from hsimap.products._footprints import FOOTPRINTS, VECTORS, write_footprints
from hsimap.products._layer import (
    BLOCK,
    QA,
    Group,
    Layer,
    describe_layers,
    flag_layer,
    layers_of,
)
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
from hsimap.products._preview import Preview
from hsimap.products._project import PROJECT, write_project
from hsimap.products._quicklook import write_quicklook
from hsimap.products._read import RasterFile
from hsimap.products._restyle import names_and_colors, restyle, task_name, task_of_raster
from hsimap.products._sheet import write_sheet
from hsimap.products._stac import write_catalogue
from hsimap.products._stands import write_stands
from hsimap.products._styles import RAMPS
from hsimap.products._write import read_coarse, write_layer
from hsimap.products._zarr import write_zarr

__all__ = [
    "BLOCK",
    "FOOTPRINTS",
    "MANIFEST",
    "PROJECT",
    "QA",
    "RAMPS",
    "RUN_FOLDER",
    "VECTORS",
    "CogWriter",
    "Group",
    "Layer",
    "MapFolder",
    "MapReader",
    "Preview",
    "RasterFile",
    "describe_layers",
    "file_entry",
    "flag_layer",
    "folder_names",
    "is_map_folder",
    "is_unfinished",
    "layers_of",
    "names_and_colors",
    "open_folders",
    "open_maps",
    "read_coarse",
    "read_manifest",
    "restyle",
    "sync_path",
    "task_name",
    "task_of_raster",
    "verify_folder",
    "write_catalogue",
    "write_footprints",
    "write_layer",
    "write_manifest",
    "write_project",
    "write_quicklook",
    "write_sheet",
    "write_stands",
    "write_zarr",
]

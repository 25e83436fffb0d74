"""A QGIS project of finished maps, written without QGIS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

import rasterio

from hsimap.products._footprints import FOOTPRINTS, write_footprints
from hsimap.products._layer import GROUPS
from hsimap.products._qgis import (
    Bounds,
    ProjectLayer,
    bounds_of,
    crs_element,
    extent_element,
    polygon_layer,
    polygon_style,
    raster_layer,
    raster_name,
    union_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hsimap.products._folder import MapFolder
    from hsimap.products._layer import Layer

PROJECT: Final = "maps.qgs"
_MARGIN: Final = 0.03
"""Of the extent, left free around it."""
_LINES: Final = "Flight lines"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The folder of a project."""

    now: Path
    later: Path
    """Where it is read."""

    def source(self, folder: MapFolder, layer: Layer) -> str:
        """Return where a map lies seen from the project, as QGIS writes it on every system."""
        start = self.now if folder.path == self.now else self.later
        place = os.path.relpath(folder.path, start).replace(os.sep, "/")
        head = "./" if place == "." else f"{place}/" if place.startswith(".") else f"./{place}/"
        return f"{head}{layer.name}.tif"


def write_project(
    path: Path,
    folders: Sequence[MapFolder],
    *,
    title: str,
    lines: Sequence[MapFolder] = (),
    extra: Sequence[ProjectLayer] = (),
    home: Path | None = None,
) -> list[Path]:
    """Write a project of maps, and the GeoPackage of footprints that it shows.

    The groups are Classes, Variables, Confidence and QA. Where several folders hold the same
    variable, the layers of each variable stand in a group of its own, one a scene. Only the first
    group's first entry is drawn when the project is opened, below the footprints. Paths are
    relative, and the bytes repeat.

    Parameters
    ----------
    path : Path
        The ``.qgs`` file; ``scenes.gpkg`` is written beside it.
    folders : sequence of MapFolder
        One scene, one mosaic, or the scenes of a campaign.
    title : str
        Of the project.
    lines : sequence of MapFolder
        The flight lines of a mosaic, which go into a group of their own.
    extra : sequence of ProjectLayer
        Drawn above the maps, as a layer of stands.
    home : Path, optional
        Folder that the project and what lies beside it will be moved to.

    Returns
    -------
    list of Path
        Project and footprints.

    Raises
    ------
    StorageError
        If a file cannot be written.
    InputError
        If a map cannot be read.
    """
    every = [*folders, *lines]
    crs = folders[0].layers[0].grid.crs
    write_footprints(path.parent / FOOTPRINTS, lines or folders, crs=crs)
    here = _Place(now=path.parent, later=home or path.parent)
    box = union_of([bounds_of(layer) for folder in folders for layer in folder.layers])
    outlines = polygon_layer(
        "Scene footprints",
        f"./{FOOTPRINTS}|layername=scenes",
        crs=crs,
        bounds=box,
        style=polygon_style("scene" if len(every) > 1 else None),
    )
    tree = ET.Element("layer-tree-group")
    ET.SubElement(tree, "customproperties")
    entries = [*extra, outlines]
    for entry in entries:
        _leaf(tree, entry)
    entries += _groups(tree, folders, here=here, lead=True)
    if lines:
        group = _group(tree, _LINES, expanded=False)
        entries += _groups(group, lines, here=here, lead=False)
    root = _document(title, crs, box)
    _fill(root, tree, entries)
    path.write_bytes(_text(root))
    return [path, path.parent / FOOTPRINTS]


def _groups(
    tree: ET.Element, folders: Sequence[MapFolder], *, here: _Place, lead: bool
) -> list[ProjectLayer]:
    """Fill a branch with the maps of folders, sorted into groups; return its entries."""
    entries = []
    for shelf in GROUPS:
        found = [(f, layer) for f in folders for layer in f.layers if layer.shelf == shelf]
        if not found:
            continue
        group = _group(tree, shelf, expanded=shelf in {"Classes", "Variables"})
        for name in dict.fromkeys(layer.name for _, layer in found):
            same = [(f, layer) for f, layer in found if layer.name == name]
            branch = group
            if len(folders) > 1:
                branch = _group(group, raster_name(same[0][1]), expanded=False)
            for folder, layer in same:
                entry = raster_layer(
                    layer,
                    folder.file(layer),
                    source=here.source(folder, layer),
                    name=folder.name if len(folders) > 1 else None,
                    shown=lead,
                )
                _leaf(branch, entry)
                entries.append(entry)
            lead = False  # one variable is enough to begin with
    return entries


def _group(parent: ET.Element, name: str, *, expanded: bool) -> ET.Element:
    state = {"name": name, "checked": "Qt::Checked", "expanded": "1" if expanded else "0"}
    group = ET.SubElement(parent, "layer-tree-group", state)
    ET.SubElement(group, "customproperties")
    return group


def _leaf(parent: ET.Element, entry: ProjectLayer) -> None:
    state = {
        "id": entry.id,
        "name": entry.name,
        "source": entry.source,
        "providerKey": entry.provider,
        "checked": "Qt::Checked" if entry.shown else "Qt::Unchecked",
        "expanded": "1" if entry.shown else "0",
    }
    leaf = ET.SubElement(parent, "layer-tree-layer", state)
    ET.SubElement(leaf, "customproperties")


def _document(title: str, crs: str | None, box: Bounds) -> ET.Element:
    """Return an empty project that shows a box."""
    root = ET.Element("qgis", projectname=title, version="3.22.0")
    ET.SubElement(root, "homePath", path="")
    ET.SubElement(root, "title").text = title
    root.append(crs_element("projectCrs", crs))
    canvas = ET.SubElement(root, "mapcanvas", name="theMapCanvas", annotationsVisible="1")
    units = crs_units(crs)
    ET.SubElement(canvas, "units").text = units
    west, south, east, north = box
    x, y = (east - west) * _MARGIN, (north - south) * _MARGIN
    view = (west - x, south - y, east + x, north + y)
    canvas.append(extent_element("extent", view))
    ET.SubElement(canvas, "rotation").text = "0"
    canvas.append(crs_element("destinationsrs", crs))
    shown = crs_element("DefaultViewExtent", crs)
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), view, strict=True):
        shown.set(name, repr(value))
    ET.SubElement(root, "ProjectViewSettings", UseProjectScales="0", rotation="0").append(shown)
    return root


def crs_units(crs: str | None) -> str:
    """Return the unit of a reference system as QGIS names it."""
    if crs is None:
        return "unknown"
    return "degrees" if rasterio.CRS.from_wkt(crs).is_geographic else "meters"


def _fill(root: ET.Element, tree: ET.Element, entries: Sequence[ProjectLayer]) -> None:
    root.append(tree)
    order = ET.SubElement(root, "layerorder")
    layers = ET.SubElement(root, "projectlayers")
    for entry in entries:
        ET.SubElement(order, "layer", id=entry.id)
        layers.append(entry.element)
    properties = ET.SubElement(root, "properties")
    paths = ET.SubElement(properties, "Paths")
    ET.SubElement(paths, "Absolute", type="bool").text = "false"
    if root.find("projectCrs/spatialrefsys") is not None:
        spatial = ET.SubElement(properties, "SpatialRefSys")
        ET.SubElement(spatial, "ProjectionsEnabled", type="int").text = "1"


def _text(root: ET.Element) -> bytes:
    ET.indent(root, space=" ")
    head = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    text: bytes = ET.tostring(root, encoding="utf-8")
    return head + text + b"\n"

"""The parts of a QGIS project: layers with their styles, their place and their reference system."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import rasterio
from rasterio.errors import CRSError

from hsimap.products._footprints import frame_of
from hsimap.products._styles import style_elements
from hsimap.products._write import codes_in, display_limits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hsimap.products._layer import Layer

Bounds = tuple[float, float, float, float]
"""West, south, east, north."""
_OUTLINE: Final = {
    "line_color": "35,35,35,255",
    "line_style": "solid",
    "line_width": "0.5",
    "line_width_unit": "MM",
    "joinstyle": "miter",
    "capstyle": "square",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectLayer:
    """One entry of the layer panel."""

    name: str
    """What people read."""
    source: str
    """Path from the project, with what the provider wants behind it."""
    provider: str
    """gdal or ogr."""
    element: ET.Element
    """What QGIS keeps of the layer."""
    shown: bool
    """Whether it is drawn when the project is opened."""

    @property
    def id(self) -> str:
        """A name that no other layer of a project has."""
        plain = re.sub(r"\W", "_", self.name)
        return f"{plain}_{hashlib.sha256(self.source.encode()).hexdigest()[:16]}"


def raster_layer(
    layer: Layer, path: Path, *, source: str, name: str | None = None, shown: bool = False
) -> ProjectLayer:
    """Return the entry of a map, with the style that also lies beside it.

    Parameters
    ----------
    layer : Layer
        The map.
    path : Path
        Where it lies now; the limits of its colours are taken from there.
    source : str
        Where it lies seen from the project.
    name : str, optional
        In place of its label and, where it has several bands, that of the band which is drawn.
    shown : bool
        Whether it is drawn when the project is opened.
    """
    element = ET.Element("maplayer", _common("raster"))
    shown_name = name or raster_name(layer)
    entry = ProjectLayer(
        name=shown_name, source=source, provider="gdal", element=element, shown=shown
    )
    _place(element, entry, layer.grid.crs, bounds_of(layer))
    no_data = ET.SubElement(element, "noData")
    for band in range(1, len(layer.bands) + 1):
        ET.SubElement(no_data, "noDataList", bandNo=str(band), useSrcNoData="1")
    limits, codes = display_limits(path, layer), codes_in(path, layer)
    for part in style_elements(layer, limits, codes=codes):
        element.append(part)
    return entry


def raster_name(layer: Layer) -> str:
    """Return what the layer panel says: the label, and the drawn band where there are several."""
    return layer.label if len(layer.bands) == 1 else f"{layer.label} of {layer.bands[0]}"


def polygon_layer(
    name: str,
    source: str,
    *,
    crs: str | None,
    bounds: Bounds,
    style: Sequence[ET.Element],
    kind: str = "Polygon",
) -> ProjectLayer:
    """Return the entry of features with a style of their own; ``kind`` is Polygon or Point."""
    element = ET.Element("maplayer", _common("vector") | {"geometry": kind, "labelsEnabled": "1"})
    entry = ProjectLayer(name=name, source=source, provider="ogr", element=element, shown=True)
    _place(element, entry, crs, bounds)
    element.find("provider").set("encoding", "UTF-8")  # type: ignore[union-attr]
    for part in style:
        element.append(part)
    return entry


def polygon_style(field: str | None) -> list[ET.Element]:
    """Return the style of polygons drawn as lines, with labels from a field if there is one."""
    renderer = ET.Element("renderer-v2", type="singleSymbol", symbollevels="0", forceraster="0")
    symbols = ET.SubElement(renderer, "symbols")
    symbol = ET.SubElement(symbols, "symbol", type="fill", name="0", alpha="1", clip_to_extent="1")
    options(
        ET.SubElement(symbol, "layer", attrib={"class": "SimpleLine", "enabled": "1"}), _OUTLINE
    )
    parts = [renderer]
    if field is not None:
        labels = ET.Element("labeling", type="simple")
        settings = ET.SubElement(labels, "settings", calloutType="simple")
        ET.SubElement(
            settings, "text-style", fieldName=field, isExpression="0", fontSize="9",
            fontSizeUnit="Point", textColor="35,35,35,255", textOpacity="1",
        )  # fmt: skip
        ET.SubElement(settings, "placement", placement="1", placementFlags="10")
        ET.SubElement(settings, "rendering", drawLabels="1", scaleVisibility="0", obstacle="0")
        parts.append(labels)
    blend = ET.Element("blendMode")
    blend.text = "0"
    return [*parts, blend]


def options(parent: ET.Element, values: dict[str, str]) -> None:
    """Write the settings of a symbol, in the old and in the new way of QGIS."""
    table = ET.SubElement(parent, "Option", type="Map")
    for name, value in values.items():
        ET.SubElement(table, "Option", name=name, value=value, type="QString")
        ET.SubElement(parent, "prop", k=name, v=value)


def crs_element(tag: str, crs: str | None) -> ET.Element:
    """Return a reference system under a tag; an empty one where it is not known."""
    parent = ET.Element(tag)
    if crs is None:
        return parent
    found: Any = rasterio.CRS.from_user_input(crs)
    system = ET.SubElement(parent, "spatialrefsys", nativeFormat="Wkt")
    ET.SubElement(system, "wkt").text = found.to_wkt(version="WKT2_2019")
    try:
        code = found.to_epsg()
    except CRSError:
        code = None
    ET.SubElement(system, "srid").text = str(code or 0)
    ET.SubElement(system, "authid").text = f"EPSG:{code}" if code else ""
    ET.SubElement(system, "geographicflag").text = str(bool(found.is_geographic)).lower()
    return parent


def bounds_of(layer: Layer) -> Bounds:
    """Return the box round a map, which may be rotated."""
    west, south, east, north = (float(v) for v in frame_of(layer.grid).bounds)
    return west, south, east, north


def extent_element(tag: str, bounds: Bounds) -> ET.Element:
    """Return a box under a tag."""
    parent = ET.Element(tag)
    for name, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        ET.SubElement(parent, name).text = repr(value)
    return parent


def _common(kind: str) -> dict[str, str]:
    return {
        "type": kind,
        "styleCategories": "AllStyleCategories",
        "hasScaleBasedVisibilityFlag": "0",
        "autoRefreshEnabled": "0",
    }


def _place(element: ET.Element, entry: ProjectLayer, crs: str | None, bounds: Bounds) -> None:
    element.append(extent_element("extent", bounds))
    ET.SubElement(element, "id").text = entry.id
    ET.SubElement(element, "datasource").text = entry.source
    ET.SubElement(element, "layername").text = entry.name
    element.append(crs_element("srs", crs))
    ET.SubElement(element, "provider").text = entry.provider


def union_of(boxes: Sequence[Bounds]) -> Bounds:
    """Return the box round boxes."""
    west, south, east, north = zip(*boxes, strict=True)
    return min(west), min(south), max(east), max(north)

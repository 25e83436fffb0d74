"""GDAL's virtual rasters: a Zarr array with its place, names, colours and unit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from hsimap.products._layer import CODED, legend_of

if TYPE_CHECKING:
    from hsimap.products._layer import Layer

_TYPES: Final = {"uint8": "Byte", "uint16": "UInt16", "float32": "Float32"}


def array_name(layer: Layer, band: int) -> str:
    """Return the array of a 0-based band: GDAL 3.6 opens none that has a third axis by its path.

    A layer of one band has its own name; of several each has the code of its class behind it.
    """
    if len(layer.bands) == 1:
        return layer.name
    classes = layer.task.classes
    number = classes[band].code if len(classes) == len(layer.bands) else band + 1
    return f"{layer.name}_{number}"


def write_vrt(layer: Layer, store: str) -> bytes:
    """Return a virtual raster of an array in a Zarr store that lies beside it.

    Place and reference system stand in the file itself, as GDAL before 3.10 takes neither from CF
    attributes, and no GDAL takes a rotated place from coordinates.

    Parameters
    ----------
    layer : Layer
        The map.
    store : str
        Name of the store's folder.
    """
    grid = layer.grid
    size = {"rasterXSize": str(grid.width), "rasterYSize": str(grid.height)}
    root = ET.Element("VRTDataset", size)
    if grid.crs is not None:
        ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping="1,2").text = grid.crs
    place = ", ".join(repr(float(value)) for value in grid.transform.to_gdal())
    ET.SubElement(root, "GeoTransform").text = place
    for index, name in enumerate(layer.bands):
        band = ET.SubElement(
            root, "VRTRasterBand", dataType=_TYPES[layer.dtype], band=str(index + 1)
        )
        ET.SubElement(band, "Description").text = name
        ET.SubElement(band, "NoDataValue").text = _number(layer.nodata)
        if layer.unit:
            ET.SubElement(band, "UnitType").text = layer.unit
        if layer.scale != 1:
            ET.SubElement(band, "Scale").text = repr(layer.scale)
        if layer.kind in CODED:
            _colours(band, layer)
        source = ET.SubElement(band, "SimpleSource")
        where = f"{store}/{array_name(layer, index)}"
        ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = where
        ET.SubElement(source, "SourceBand").text = "1"
    ET.indent(root, space=" ")
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text + b"\n"


def _colours(band: ET.Element, layer: Layer) -> None:
    """Write names and colours by code."""
    legend = {code: (name, color) for code, name, color in legend_of(layer)}
    ET.SubElement(band, "ColorInterp").text = "Palette"
    names = ET.SubElement(band, "CategoryNames")
    table = ET.SubElement(band, "ColorTable")
    for code in range(max(legend) + 1):
        name, color = legend.get(code, ("", "#000000"))
        ET.SubElement(names, "Category").text = name
        rgb = {f"c{k + 1}": str(int(color[2 * k + 1 : 2 * k + 3], 16)) for k in range(3)}
        ET.SubElement(table, "Entry", rgb | {"c4": "255" if code in legend else "0"})


def _number(value: float) -> str:
    return "nan" if math.isnan(value) else f"{value:g}"

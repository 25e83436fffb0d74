"""Tables of stands: a GeoPackage with its style, and a CSV."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import numpy as np
import shapely

from hsimap.errors import StorageError
from hsimap.products._footprints import write_vectors
from hsimap.products._qgis import ProjectLayer, options, polygon_layer, polygon_style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.products._folder import MapFolder
    from hsimap.products._layer import Layer

_RESERVED: Final = frozenset({"fid", "geom"})
_SYMBOL: Final = {
    "style": "solid",
    "outline_color": "35,35,35,255",
    "outline_style": "solid",
    "outline_width": "0.3",
    "outline_width_unit": "MM",
    "size": "3",
    "size_unit": "MM",
}


def write_stands(
    path: Path,
    shapes: NDArray[Any],
    *,
    attributes: Mapping[str, NDArray[Any]],
    columns: Mapping[str, NDArray[Any]],
    crs: str | None,
    maps: MapFolder,
) -> tuple[list[Path], ProjectLayer]:
    """Write stands with what the maps say of them.

    Parameters
    ----------
    path : Path
        A ``.gpkg`` file; style and CSV are written beside it.
    shapes : ndarray
        ``(stand,)`` geometries in ``crs``, as the file of stands had them.
    attributes : mapping
        ``(stand,)`` columns of that file; one whose name is taken gets a ``_`` behind it.
    columns : mapping
        ``(stand,)`` statistics.
    crs : str or None
        WKT or authority code.
    maps : MapFolder
        Whose classes colour the stands.

    Returns
    -------
    tuple
        The files, the GeoPackage first, and the entry for a project in the same folder.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    taken = _RESERVED | set(columns)
    own = {f"{name}_" if name.lower() in taken else name: v for name, v in attributes.items()}
    own.pop("fid_", None)
    fields = {**own, **columns}
    write_vectors(path, shapes, fields=fields, crs=crs, layer=path.stem)
    table = path.with_suffix(".csv")
    _write_csv(table, fields)
    style = path.with_suffix(".qml")
    classes = [layer for layer in maps.layers if layer.kind == "classes"]
    points = not shapely.get_dimensions(shapes).any()
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology")
    root.extend(_style(classes[:1], points=points))
    ET.indent(root, space=" ")
    head = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    style.write_bytes(head + ET.tostring(root, encoding="utf-8") + b"\n")
    west, south, east, north = (float(v) for v in shapely.total_bounds(shapes))
    entry = polygon_layer(
        "Stands",
        f"./{path.name}|layername={path.stem}",
        crs=crs,
        bounds=(west, south, east, north),
        style=_style(classes[:1], points=points),
        kind="Point" if points else "Polygon",
    )
    return [path, style, table], entry


def _write_csv(path: Path, fields: Mapping[str, NDArray[Any]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(fields)
            for row in zip(*fields.values(), strict=True):
                writer.writerow([_cell(value) for value in row])
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error


def _cell(value: object) -> object:
    """Return a value as a CSV says it: nothing for NaN, seven digits for other numbers."""
    if isinstance(value, float | np.floating):
        return "" if math.isnan(value) else f"{value:.7g}"
    return "" if value is None else value


def _style(layers: Sequence[Layer], *, points: bool) -> list[ET.Element]:
    """Return half-transparent fills by the largest class of the first map, else outlines."""
    if not layers:
        return polygon_style(None) if not points else []
    layer = layers[0]
    renderer = ET.Element(
        "renderer-v2", type="categorizedSymbol", attr=layer.name, symbollevels="0", forceraster="0"
    )
    categories = ET.SubElement(renderer, "categories")
    symbols = ET.SubElement(renderer, "symbols")
    for i, label in enumerate(layer.task.classes):
        entry = {"value": label.name, "label": label.name, "symbol": str(i), "render": "true"}
        ET.SubElement(categories, "category", {**entry, "type": "string"})
        kind, symbol_class = ("marker", "SimpleMarker") if points else ("fill", "SimpleFill")
        symbol = ET.SubElement(symbols, "symbol", type=kind, name=str(i), alpha="0.7")
        part = ET.SubElement(symbol, "layer", attrib={"class": symbol_class, "enabled": "1"})
        rgb = ",".join(str(int(label.color[k : k + 2], 16)) for k in (1, 3, 5))
        options(part, _SYMBOL | {"color": f"{rgb},255"})
    blend = ET.Element("blendMode")
    blend.text = "0"
    return [renderer, blend]

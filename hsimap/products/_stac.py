"""STAC 1.1: a collection of finished maps, an item a folder, as plain JSON."""

from __future__ import annotations

import json
import math
import os
import re
from typing import TYPE_CHECKING, Any, Final

import rasterio
import shapely

from hsimap.errors import StorageError, UsageError
from hsimap.products._footprints import outline_of
from hsimap.products._layer import Layer, meaning
from hsimap.products._origin import ITEM, processing, sources
from hsimap.products._qgis import bounds_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hsimap.products._folder import MapFolder

STAC_VERSION: Final = "1.1.0"
COLLECTION: Final = "collection.json"
EXTENSIONS: Final = {
    name: f"https://stac-extensions.github.io/{name}/v{version}/schema.json"
    for name, version in (
        ("projection", "2.0.0"),
        ("raster", "2.0.0"),
        ("classification", "2.0.0"),
        ("processing", "1.2.0"),
        ("file", "2.1.0"),
    )
}
_COG: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_SIDECARS: Final = {
    "manifest.json": ("application/json", "metadata"),
    "preview.png": ("image/png", "thumbnail"),
    "maps.qgs": ("application/x-qgis", "style"),
    "scenes.gpkg": ("application/geopackage+sqlite3", "metadata"),
}
_GEOGRAPHIC: Final = "EPSG:4326"


def write_catalogue(
    out: Path,
    folders: Sequence[MapFolder],
    *,
    title: str,
    when: tuple[str, str] | None = None,
    model: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a collection, an item for every folder of maps and, where there is one, the model's.

    Parameters
    ----------
    out : Path
        The catalogue's folder; links to the maps are relative to it.
    folders : sequence of MapFolder
        Scenes or mosaics; their names differ.
    title : str
        Of the collection.
    when : tuple of str, optional
        First and last moment of the flights, as RFC 3339; default: when the maps were finished.
    model : mapping, optional
        STAC item of the model; it is placed into the collection and linked from the maps.

    Returns
    -------
    list of Path
        The collection and the items.

    Raises
    ------
    UsageError
        If two folders have the same name.
    StorageError
        If a file cannot be written.
    """
    identifiers = [identifier(folder.name) for folder in folders]
    if len(set(identifiers)) != len(identifiers):
        raise UsageError(f"names of scenes must differ in a catalogue, got {identifiers}")
    items = []
    known = {f.path.name: name for name, f in zip(identifiers, folders, strict=True)}
    for name, folder in zip(identifiers, folders, strict=True):
        path = out / name / f"{name}.json"
        item = _item(folder, name, path=path, when=when, model=model)
        items.append((path, {**item, "links": [*sources(folder, known), *item["links"]]}))
    if model is not None:
        name = str(model["id"])
        items.append((out / name / f"{name}.json", _linked(dict(model), identifier(title))))
    collection = _collection(out, items, title=title)
    for path, content in [(out / COLLECTION, collection), *items]:
        _write(path, content)
    return [out / COLLECTION, *(path for path, _ in items)]


def identifier(text: str) -> str:
    """Return a name that may stand in a URL and in a file name.

    Examples
    --------
    >>> identifier("Line 1: Hyytiälä")
    'line-1-hyyti-l'
    """
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-.") or "maps"


def checksum(entry: Mapping[str, Any]) -> dict[str, object]:
    """Return a manifest's entry as the ``file`` extension has it: a multihash of sha2-256."""
    return {"file:size": entry["size"], "file:checksum": f"1220{entry['sha256']}"}


def _item(
    folder: MapFolder,
    name: str,
    *,
    path: Path,
    when: tuple[str, str] | None,
    model: Mapping[str, Any] | None,
) -> dict[str, Any]:
    main = folder.layers[0]
    properties: dict[str, object] = {"title": folder.name, **_times(folder, when)}
    properties |= {"gsd": main.grid.pixel_size, **_projection(main)}
    properties |= processing(folder)
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS.values()),
        "id": name,
        **_geometry(folder),
        "properties": properties,
        "assets": _assets(folder, path),
        "links": [],
    }
    if model is not None:
        link = {"rel": "derived_from", "href": f"../{model['id']}/{model['id']}.json"}
        item["links"].append({**link, "type": ITEM, "title": "model"})
    return item


def _geometry(folder: MapFolder) -> dict[str, object]:
    """Return outline and box in degrees; no place without a reference system."""
    if folder.layers[0].grid.crs is None:
        return {"geometry": None}
    outline, _ = outline_of(folder, _GEOGRAPHIC)
    return {"geometry": json.loads(shapely.to_geojson(outline)), "bbox": list(outline.bounds)}


def _times(folder: MapFolder, when: tuple[str, str] | None) -> dict[str, object]:
    made = str(folder.manifest.get("finished", "1970-01-01T00:00:00Z"))
    first, last = when or (made, made)
    if first == last:
        return {"datetime": first, "created": made}
    return {"datetime": None, "start_datetime": first, "end_datetime": last, "created": made}


def _projection(layer: Layer) -> dict[str, object]:
    grid = layer.grid
    facts: dict[str, object] = {
        "proj:shape": [grid.height, grid.width],
        "proj:transform": list(grid.transform)[:6],
        "proj:bbox": list(bounds_of(layer)),
    }
    if grid.crs is None:
        return facts
    crs: Any = rasterio.CRS.from_wkt(grid.crs)
    code = crs.to_epsg()
    if code:
        return facts | {"proj:code": f"EPSG:{code}"}
    return facts | {"proj:code": None, "proj:wkt2": crs.to_wkt(version="WKT2_2019")}


def _assets(folder: MapFolder, path: Path) -> dict[str, object]:
    files: Mapping[str, Any] = folder.manifest.get("files", {})
    base = os.path.relpath(folder.path, path.parent).replace(os.sep, "/")
    statistics = folder.manifest.get("statistics", {})
    assets: dict[str, object] = {}
    for layer in folder.layers:
        name = f"{layer.name}.tif"
        assets[layer.name] = {
            "href": f"{base}/{name}",
            "type": _COG,
            "title": layer.label,
            "roles": ["data", *_roles(layer)],
            **_projection(layer),
            **_codes(layer),
            "bands": [_band(layer, i, statistics.get(layer.name, {})) for i in _bands(layer)],
            **(checksum(files[name]) if name in files else {}),
        }
    for name, (kind, role) in _SIDECARS.items():
        if name in files:
            # A manifest is not in its own list; QGIS and GDAL change nothing of the others.
            asset = {"href": f"{base}/{name}", "type": kind, "roles": [role]}
            assets[name] = asset | checksum(files[name])
    for name in sorted(n for n in files if n.endswith(".qml")):
        style = {"href": f"{base}/{name}", "type": "application/xml", "roles": ["style"]}
        assets[name] = style | checksum(files[name])
    manifest = {"href": f"{base}/manifest.json", "type": "application/json", "roles": ["metadata"]}
    return assets | {"manifest": manifest}


def _roles(layer: Layer) -> list[str]:
    return {"flags": ["quality"], "probabilities": ["confidence"]}.get(layer.kind, [])


def _bands(layer: Layer) -> range:
    return range(len(layer.bands))


def _band(layer: Layer, index: int, statistics: Mapping[str, Any]) -> dict[str, object]:
    """Return a band as STAC 1.1 and the raster extension have it."""
    nodata = "nan" if math.isnan(layer.nodata) else layer.nodata
    band: dict[str, object] = {
        "name": layer.bands[index],
        "data_type": layer.dtype,
        "nodata": nodata,
        "raster:spatial_resolution": layer.grid.pixel_size,
        "raster:sampling": "area",
    }
    if layer.unit:
        band["unit"] = layer.unit
    if layer.scale != 1:
        band |= {"raster:scale": layer.scale, "raster:offset": 0}
    if layer.kind == "values" and "mean" in statistics:
        band["statistics"] = {
            "minimum": statistics["min"],
            "maximum": statistics["max"],
            "mean": statistics["mean"],
            "valid_percent": 100 * (1 - statistics["nodata"] / statistics["pixels"]),
        }
    return band


def _codes(layer: Layer) -> dict[str, object]:
    """Return classes or bit fields as the classification extension has them."""
    if layer.kind == "classes":
        classes: list[dict[str, object]] = [
            _class(c.code, c.name, c.color) for c in layer.task.classes
        ]
        nodata = {"value": int(layer.nodata), "name": "nodata", "nodata": True}
        return {"classification:classes": [*classes, nodata]}
    if layer.kind == "flags":
        fields = [
            {
                "offset": c.code.bit_length() - 1,
                "length": 1,
                "name": _short(c.name),
                "description": c.name,
                "classes": [_class(0, f"no {c.name}", None), _class(1, c.name, c.color)],
            }
            for c in layer.task.classes
        ]
        return {"classification:bitfields": fields}
    return {}


def _class(value: int, name: str, color: str | None) -> dict[str, object]:
    entry: dict[str, object] = {"value": value, "name": _short(name), "title": name}
    return entry if color is None else entry | {"color_hint": color[1:].upper()}


def _short(name: str) -> str:
    """Return a class's name in letters, digits, ``-`` and ``_``."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", meaning(name))


def _collection(
    out: Path, items: Sequence[tuple[Path, dict[str, Any]]], *, title: str
) -> dict[str, object]:
    boxes = [item["bbox"] for _, item in items if "bbox" in item]
    box = [f(b[i] for b in boxes) for i, f in enumerate((min, min, max, max))] if boxes else None
    times = sorted(
        str(item["properties"].get(key))
        for _, item in items
        for key in ("datetime", "start_datetime", "end_datetime")
        if item["properties"].get(key) and not item["properties"].get("mlm:name")
    )
    links: list[dict[str, str]] = [_link("root", COLLECTION, "application/json")]
    links += [
        _link("item", path.relative_to(out).as_posix(), "application/geo+json") for path, _ in items
    ]
    for path, item in items:
        item["collection"] = identifier(title)
        up = "../" * (len(path.relative_to(out).parts) - 1)
        item["links"] += [
            _link(rel, f"{up}{COLLECTION}".removeprefix("./"), "application/json")
            for rel in ("root", "parent", "collection")
        ]
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "id": identifier(title),
        "title": title,
        "description": "Maps made by hsimap from airborne hyperspectral scenes",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [box or [-180.0, -90.0, 180.0, 90.0]]},
            "temporal": {"interval": [[times[0], times[-1]]]},
        },
        "links": links,
    }


def _link(rel: str, href: str, kind: str) -> dict[str, str]:
    return {"rel": rel, "href": href if href.startswith("../") else f"./{href}", "type": kind}


def _linked(item: dict[str, Any], collection: str) -> dict[str, Any]:
    return {**item, "collection": collection, "links": list(item.get("links", []))}


def _write(path: Path, content: Mapping[str, object]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error

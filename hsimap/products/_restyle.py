"""Styles for a raster that is there already, of hsimap's or of anybody's making."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hsimap.errors import InputError, StorageError, UsageError
from hsimap.geometry import Grid
from hsimap.products._folder import open_maps
from hsimap.products._layer import BLOCK, CODED, Layer
from hsimap.products._manifest import is_map_folder, renew_entries
from hsimap.products._styles import write_aux, write_qml
from hsimap.products._write import codes_in, display_limits
from hsimap.tasks import Kind, Task, task_from_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MOST_CLASSES: Final = 64
"""A raster of bytes with more codes and no names is taken for values."""
_SIDE: Final = 1024


def task_of_raster(path: Path) -> tuple[Task, str]:
    """Return what a raster maps, by its manifest or by what it says of itself, and who says so.

    Asked in turn: the manifest beside it, names in CF attributes, in the sidecar and in an ENVI
    header, a palette, and the codes themselves where a raster of whole numbers holds few.

    Raises
    ------
    UsageError
        If there is no such file.
    InputError
        If it is no readable GeoTIFF or ENVI raster.
    """
    listed = _listed(path)
    if listed is not None:
        return listed.task, "its manifest"
    with _open(path) as file:
        name = task_name(path)
        if np.dtype(file.dtypes[0]).kind == "f" or file.count > 1:
            return _values(name, file), "its values"
        names, source = _names(path, file)
        palette = _palette(file)
        codes = sorted(names) or _codes(file)
        if codes is None or codes[0] < 0 or codes[-1] >= int(np.iinfo(np.uint8).max):
            return _values(name, file), "its values"
        classes = {code: names.get(code, f"class {code}") for code in codes}
        colors = {code: palette[code] for code in codes if code in palette}
        mapping = {"kind": "categorical", "classes": classes, "colors": colors}
        return task_from_mapping(name, mapping), source


def restyle(
    path: Path,
    task: Task,
    *,
    limits: tuple[float, float] | None = None,
    ramp: Sequence[str] | None = None,
) -> list[Path]:
    """Write the QGIS style of a raster and, for classes, names and colours for GDAL.

    The raster itself is not touched: the colour table goes into ``<raster>.aux.xml``, with what
    that file held beside it kept. Where a manifest lists the files, it is brought up to date.

    Parameters
    ----------
    path : Path
        A GeoTIFF or ENVI raster.
    task : Task
        Names, colours, unit and range.
    limits : tuple of float, optional
        Physical values of the ramp's ends; default: the task's range, else the middle 96 %.
    ramp : sequence of str, optional
        Colours from low to high.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    StorageError
        If a file cannot be written.
    """
    layer, found = _layer_of(path, task)
    style = write_qml(layer, limits or found, codes=codes_in(path, layer), ramp=ramp)
    written = [(path.with_suffix(".qml"), style)]
    if layer.kind in CODED:
        sidecar = path.with_name(f"{path.name}.aux.xml")
        written.append((sidecar, _merged(sidecar, write_aux(layer))))
    for target, content in written:
        try:
            target.write_bytes(content)
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error.strerror}") from error
        renew_entries(target)
    return [target for target, _ in written]


def task_name(path: Path) -> str:
    """Return a legal task name that is like a file's.

    Examples
    --------
    >>> from pathlib import Path
    >>> task_name(Path("Kasvupaikka 2020_probability.tif"))
    'kasvupaikka_2020'
    """
    plain = re.sub(r"[^a-z0-9]+", "_", path.stem.lower()).strip("_")
    plain = re.sub(r"(_(probability|std|low|high))+$", "", plain)
    return plain if re.match(r"[a-z]", plain) and plain != "qa" else f"map_{plain}".rstrip("_")


def _listed(path: Path) -> Layer | None:
    """Return the layer that the manifest beside a raster describes."""
    if not is_map_folder(path.parent):
        return None
    layers = open_maps(path.parent).layers
    return next((layer for layer in layers if f"{layer.name}.tif" == path.name), None)


def _open(path: Path) -> Any:  # noqa: ANN401  # rasterio has no types
    if not path.is_file():
        raise UsageError(f"raster {path} does not exist; name a GeoTIFF or an ENVI data file")
    with path.open("rb") as start:
        driver = "GTiff" if start.read(4) in _TIFF_MAGIC else "ENVI"
    try:
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path, driver=driver)
    except RasterioError as error:
        raise InputError(f"{path} is no readable GeoTIFF or ENVI raster: {error}") from None


def _values(name: str, file: Any) -> Task:  # noqa: ANN401
    return Task(name=name, kind=Kind.CONTINUOUS, unit=file.units[0] or "")


def _names(path: Path, file: Any) -> tuple[dict[int, str], str]:  # noqa: ANN401
    """Return code to name, and where that stands."""
    tags = file.tags(1)
    if "flag_values" in tags and "flag_meanings" in tags:
        codes = re.findall(r"\d+", tags["flag_values"])
        words = tags["flag_meanings"].split()
        return dict(zip(map(int, codes), words, strict=False)), "its CF attributes"
    sidecar = path.with_name(f"{path.name}.aux.xml")
    if sidecar.is_file():
        names = _names_of(_parse(sidecar))
        if names:
            return names, sidecar.name
    listed = file.tags(ns="ENVI").get("class_names", "").strip("{} ")
    if listed:
        return {i: name.strip() for i, name in enumerate(listed.split(","))}, "its header"
    return {}, "its codes"


def _names_of(root: ET.Element) -> dict[int, str]:
    """Return code to name in a sidecar of GDAL's: its attribute table, else its categories."""
    usages = [int(u.text or 0) for u in root.findall(".//FieldDefn/Usage")]
    if 5 in usages and 2 in usages:  # noqa: PLR2004  # GFU_MinMax and GFU_Name of GDAL
        rows = [[f.text or "" for f in row.findall("F")] for row in root.findall(".//Row")]
        code, name = usages.index(5), usages.index(2)
        return {int(float(row[code])): row[name] for row in rows}
    listed = root.findall("./PAMRasterBand[@band='1']/CategoryNames/Category")
    return {i: item.text for i, item in enumerate(listed) if item.text}


def _palette(file: Any) -> dict[int, str]:  # noqa: ANN401
    try:
        table: Mapping[int, tuple[int, ...]] = file.colormap(1)
    except ValueError:
        return {}
    return {code: "#{:02x}{:02x}{:02x}".format(*rgba) for code, rgba in table.items()}


def _codes(file: Any) -> list[int] | None:  # noqa: ANN401
    """Return the codes of a raster of whole numbers, nodata left out; None if there are many."""
    found: set[int] = set()
    for row in range(0, file.height, BLOCK):
        window = ((row, min(row + BLOCK, file.height)), (0, file.width))
        found.update(np.unique(file.read(1, window=window)).tolist())
        if len(found) > _MOST_CLASSES:
            return None
    return sorted(found - {file.nodata}) or None


def _layer_of(path: Path, task: Task) -> tuple[Layer, tuple[float, float]]:
    """Return a raster as a layer that carries a task, and the limits of its colours."""
    listed = _listed(path)
    if listed is not None and listed.task == task:
        return listed, display_limits(path, listed)
    with _open(path) as file:
        grid = Grid(
            height=file.height, width=file.width, transform=Affine(*file.transform[:6]), crs=None
        )
        shares = task.kind is Kind.CATEGORICAL and (
            file.count > 1 or path.stem.endswith("_probability")
        )
        codes = task.kind is Kind.CATEGORICAL and not shares
        layer = Layer(
            name=path.stem,
            kind="probabilities" if shares else "classes" if codes else "values",
            grid=grid,
            task=task,
            bands=tuple(name or f"band {i}" for i, name in enumerate(file.descriptions, 1)),
            dtype=file.dtypes[0],
            nodata=float("nan") if file.nodata is None else file.nodata,
            scale=float(file.scales[0]),
        )
        return layer, (0.0, 1.0) if codes or shares else _limits(file, layer)


def _limits(file: Any, layer: Layer) -> tuple[float, float]:  # noqa: ANN401
    """Return the task's range, else the middle 96 % of the values, in physical units."""
    if layer.task.range is not None:
        return layer.task.range
    step = max(1, -(-max(file.height, file.width) // _SIDE))
    values = file.read(1, out_shape=(-(-file.height // step), -(-file.width // step)))
    known = values[np.isfinite(values) & (values != layer.nodata)].astype(np.float64)
    if not known.size:
        return 0.0, 1.0
    known = known * layer.scale + float(file.offsets[0])
    low, high = (float(value) for value in np.percentile(known, (2, 98)))
    return (low, high) if high > low else (low, low + 1.0)


def _merged(path: Path, fresh: bytes) -> bytes:
    """Put new names, table and colours into the sidecar that is there; statistics stay."""
    new = ET.fromstring(fresh)  # noqa: S314  # written by this program
    if not path.is_file():
        return fresh
    root = _parse(path)
    band = root.find("./PAMRasterBand[@band='1']")
    if band is None:
        band = ET.SubElement(root, "PAMRasterBand", band="1")
    source = new.find("PAMRasterBand")
    for part in source if source is not None else ():
        for old in band.findall(part.tag):
            band.remove(old)
        band.append(part)
    ET.indent(root, space=" ")
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text + b"\n"


def _parse(path: Path) -> ET.Element:
    """Read a sidecar; one with a document type, which may hide a bomb, is refused."""
    text = path.read_bytes()
    if b"<!" in text.replace(b"<!--", b""):
        raise InputError(f"{path} declares a document type, which no sidecar of GDAL's does")
    try:
        return ET.fromstring(text)  # noqa: S314  # nothing is declared in it
    except ET.ParseError as error:
        raise InputError(f"{path} is no sidecar of GDAL's: {error}") from None


def names_and_colors(mapping: Mapping[Any, object]) -> dict[str, object]:
    """Return the task form of ``{code: name}`` or ``{code: {name: …, color: …}}``.

    Raises
    ------
    UsageError
        If an entry is neither.
    """
    names: dict[object, object] = {}
    colors: dict[object, object] = {}
    for code, entry in mapping.items():
        if isinstance(entry, dict) and set(entry) <= {"name", "color"} and "name" in entry:
            names[code] = entry["name"]
            if "color" in entry:
                colors[code] = entry["color"]
        elif isinstance(entry, str):
            names[code] = entry
        else:
            raise UsageError(
                f"class {code!r} must be a name or {{name: …, color: …}}, got {entry!r}"
            )
    return {"kind": "categorical", "classes": names, "colors": colors}

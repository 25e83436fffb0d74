"""QGIS styles (``.qml``) and GDAL's sidecar with class names and attribute table (``.aux.xml``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from hsimap.products._layer import CODED, legend_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hsimap.products._layer import Layer

VIRIDIS: Final = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
MAGMA: Final = ("#000004", "#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf")
"""Six evenly spaced colours of matplotlib's perceptually uniform ramps."""
RAMPS: Final = {
    "viridis": VIRIDIS,
    "magma": MAGMA,
    "cividis": ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"),
    "ylgn": ("#ffffe5", "#e4f4ab", "#a2d88a", "#4cb062", "#137d40", "#004529"),
    "greys": ("#000000", "#333333", "#666666", "#999999", "#cccccc", "#ffffff"),
}
"""The ramps that a style can be asked for, by name."""
_FIELDS: Final = (("Value", 0, 5), ("Name", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
"""Column, type (0 integer, 2 text) and usage of GDAL's raster attribute table."""


def ramp_of(layer: Layer) -> tuple[str, ...]:
    """Return the colours of a layer of values or probabilities, from low to high."""
    return MAGMA if layer.kind == "probabilities" else VIRIDIS


def write_qml(
    layer: Layer,
    limits: tuple[float, float],
    *,
    codes: Collection[int] | None = None,
    ramp: Sequence[str] | None = None,
) -> bytes:
    """Return the QGIS style of a map.

    Parameters
    ----------
    layer : Layer
        The map.
    limits : tuple of float
        Physical values that get the ramp's end colours; not used for classes.
    codes : collection of int, optional
        What the legend of flags lists beside single flags; all sets of flags by default.
    ramp : sequence of str, optional
        Six ``#rrggbb`` in place of :func:`ramp_of`.
    """
    root = ET.Element("qgis", version="3.22.0", styleCategories="Symbology")
    for part in style_elements(layer, limits, codes=codes, ramp=ramp):
        root.append(part)
    ET.indent(root, space=" ")
    head = b"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    text: bytes = ET.tostring(root, encoding="utf-8")
    return head + text + b"\n"


def style_elements(
    layer: Layer,
    limits: tuple[float, float],
    *,
    codes: Collection[int] | None = None,
    ramp: Sequence[str] | None = None,
) -> list[ET.Element]:
    """Return what a style file and a project's layer have in common; see :func:`write_qml`."""
    pipe = ET.Element("pipe")
    provider = ET.SubElement(pipe, "provider")
    ET.SubElement(
        provider,
        "resampling",
        enabled="false",
        maxOversampling="2",
        zoomedInResamplingMethod="nearestNeighbour",
        zoomedOutResamplingMethod="nearestNeighbour",
    )
    if layer.kind in CODED:
        _paletted(pipe, layer, codes)
    else:
        _pseudocolor(pipe, layer, limits, ramp or ramp_of(layer))
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", grayscaleMode="0", saturation="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    blend = ET.Element("blendMode")
    blend.text = "0"
    return [pipe, blend]


def _renderer(pipe: ET.Element, kind: str, attributes: dict[str, str]) -> ET.Element:
    common = {"type": kind, "band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    renderer = ET.SubElement(pipe, "rasterrenderer", common | attributes)
    ET.SubElement(renderer, "rasterTransparency")
    return renderer


def _paletted(pipe: ET.Element, layer: Layer, codes: Collection[int] | None) -> None:
    palette = ET.SubElement(_renderer(pipe, "paletted", {}), "colorPalette")
    single = {label.code for label in layer.task.classes}
    for code, name, color in legend_of(layer):
        if code not in single and codes is not None and code not in codes:
            continue
        bare = layer.kind == "flags" and code == 0
        ET.SubElement(
            palette,
            "paletteEntry",
            value=str(code),
            label=name,
            color=color,
            alpha="0" if bare else "255",
        )


def _pseudocolor(
    pipe: ET.Element, layer: Layer, limits: tuple[float, float], colors: Sequence[str]
) -> None:
    low, high = limits
    limits_text = {"classificationMin": f"{low:g}", "classificationMax": f"{high:g}"}
    renderer = _renderer(pipe, "singlebandpseudocolor", limits_text)
    shader = ET.SubElement(
        ET.SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="1",
        clip="0",
        minimumValue=f"{low:g}",
        maximumValue=f"{high:g}",
        labelPrecision="4",
    )
    _ramp(shader, colors)
    unit = f" {layer.unit}" if layer.unit else ""
    for i, color in enumerate(colors):
        value = low + (high - low) * i / (len(colors) - 1)
        shown = f"{value:.4g}{unit}"
        ET.SubElement(shader, "item", value=repr(value), label=shown, color=color, alpha="255")
    # QGIS draws a ramp from these settings and not from the labels of the items.
    ET.SubElement(
        shader,
        "rampLegendSettings",
        prefix="",
        suffix=unit,
        minimumLabel="",
        maximumLabel="",
        orientation="2",
        direction="0",
        useContinuousLegend="1",
    )


def _ramp(shader: ET.Element, colors: Sequence[str]) -> None:
    ramp = ET.SubElement(shader, "colorramp", name="[source]", type="gradient")
    triples = [",".join(str(int(c[i : i + 2], 16)) for i in (1, 3, 5)) + ",255" for c in colors]
    stops = [f"{i / (len(colors) - 1):g};{t}" for i, t in enumerate(triples)][1:-1]
    ends = (("color1", triples[0]), ("color2", triples[-1]), ("stops", ":".join(stops)))
    for name, value in ends:
        ET.SubElement(ramp, "prop", k=name, v=value)


def write_aux(layer: Layer) -> bytes:
    """Return the sidecar of a map of codes: names by code, and a thematic attribute table."""
    root = ET.Element("PAMDataset")
    band = ET.SubElement(root, "PAMRasterBand", band="1")
    ET.SubElement(band, "Description").text = layer.bands[0]
    legend = legend_of(layer)
    names = {code: name for code, name, _ in legend}
    colors = {code: color for code, _, color in legend}
    ET.SubElement(band, "ColorInterp").text = "Palette"
    entries = ET.SubElement(band, "ColorTable")
    for code in range(max(names) + 1):
        shade = colors.get(code, "#000000")
        parts = {f"c{k + 1}": str(int(shade[2 * k + 1 : 2 * k + 3], 16)) for k in range(3)}
        ET.SubElement(entries, "Entry", parts | {"c4": "255" if code in colors else "0"})
    categories = ET.SubElement(band, "CategoryNames")
    for code in range(max(names) + 1):
        ET.SubElement(categories, "Category").text = names.get(code, "")
    table = ET.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (column, kind, usage) in enumerate(_FIELDS):
        field = ET.SubElement(table, "FieldDefn", index=str(index))
        for key, value in (("Name", column), ("Type", str(kind)), ("Usage", str(usage))):
            ET.SubElement(field, key).text = value
    for index, (code, name, color) in enumerate(legend):
        row = ET.SubElement(table, "Row", index=str(index))
        rgb = [str(int(color[i : i + 2], 16)) for i in (1, 3, 5)]
        for value in (str(code), name, *rgb):
            ET.SubElement(row, "F").text = value
    ET.indent(root, space=" ")
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text + b"\n"

"""A map of one variable on a page: scale bar, north arrow, legend, coordinates and origin."""

from __future__ import annotations

from math import cos, floor, hypot, log10, radians
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio

from hsimap.products._footprints import frame_of
from hsimap.products._layer import CODED, Layer, legend_of
from hsimap.products._styles import ramp_of
from hsimap.products._write import codes_in, display_limits, read_coarse

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.products._folder import MapFolder

_SIDE: Final = 2400
"""Pixels of the longer side: 300 a inch over the longest side that fits the page."""
_PAGE: Final = (11.69, 8.27)
"""A4, inches."""
_FRAME: Final = (0.07, 0.09, 0.66, 0.80)
"""Left, bottom, width and height of the map on the page, as shares."""
_METRES_A_DEGREE: Final = 111_320.0
_EMPTY: Final = "#f2f2f2"
_DARK: Final = "#222222"
_MOST_LISTED: Final = 24


def write_sheet(path: Path, maps: MapFolder, layer: Layer, *, title: str = "") -> None:
    """Draw a map on a page of A4; the ending of the path says PDF or PNG.

    Parameters
    ----------
    path : Path
        A ``.pdf`` or ``.png`` file; equal maps give equal bytes.
    maps : MapFolder
        Where the map lies.
    layer : Layer
        Which one; of probabilities the highest class is drawn.
    title : str
        In place of the layer's label.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_PAGE)
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes(_FRAME)
    image, legend = _picture(axes, maps, layer)
    _frame(axes, image, layer)
    box = figure.add_axes((0.76, 0.30, 0.21, 0.59))
    box.set_axis_off()
    _legend(figure, box, legend, layer)
    _scale_bar(axes, layer)
    _north_arrow(axes, layer)
    figure.text(0.07, 0.93, title or layer.label, fontsize=16, weight="bold", color=_DARK)
    figure.text(0.76, 0.09, _origin(maps, layer), fontsize=7, va="bottom", linespacing=1.5)
    plain = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    figure.savefig(path, dpi=200, metadata=plain)


def _picture(axes: Any, maps: MapFolder, layer: Layer) -> tuple[Any, Any]:  # noqa: ANN401  # no types
    """Draw the pixels in their own coordinates; return the image, and what its legend needs."""
    source = maps.file(layer)
    values = read_coarse(source, side=_SIDE)
    extent = (0, layer.grid.width, layer.grid.height, 0)
    if layer.kind in CODED:
        found = codes_in(source, layer)
        single = {label.code for label in layer.task.classes}
        shown = [e for e in legend_of(layer) if found is None or e[0] in found or e[0] in single]
        return axes.imshow(_coloured(values[0], shown), extent=extent, interpolation="none"), shown
    from matplotlib.colors import LinearSegmentedColormap

    known = values.astype(np.float32)
    known[known == layer.nodata] = np.nan
    low, high = display_limits(source, layer)
    plain = LinearSegmentedColormap.from_list(layer.name, list(ramp_of(layer)))
    ramp = plain.with_extremes(bad=(0, 0, 0, 0))
    image = axes.imshow(
        known.max(axis=0) * layer.scale, cmap=ramp, vmin=low, vmax=high, extent=extent,
        interpolation="none",
    )  # fmt: skip
    return image, image


def _coloured(codes: NDArray[np.generic], legend: list[tuple[int, str, str]]) -> NDArray[np.uint8]:
    """Return ``(y, x, 4)`` colours; what the legend does not name is transparent."""
    table = np.zeros((256, 4), dtype=np.uint8)
    for code, _, color in legend:
        table[code] = [*(int(color[i : i + 2], 16) for i in (1, 3, 5)), 255]
    return table[codes]  # type: ignore[no-any-return]


def _frame(axes: Any, image: Any, layer: Layer) -> None:  # noqa: ANN401
    """Put the image where it lies on the ground, which may be rotated, and draw coordinates."""
    from matplotlib.transforms import Affine2D

    place = layer.grid.transform
    matrix = np.array([[place.a, place.b, place.c], [place.d, place.e, place.f], [0, 0, 1]])
    image.set_transform(Affine2D(matrix) + axes.transData)
    west, south, east, north = frame_of(layer.grid).bounds
    x, y = (east - west) * 0.03, (north - south) * 0.03
    axes.set_xlim(west - x, east + x)
    axes.set_ylim(south - y, north + y)
    axes.set_aspect(1 / cos(radians((south + north) / 2)) if _in_degrees(layer) else 1)
    axes.set_facecolor(_EMPTY)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(labelsize=7, direction="in", top=True, right=True)
    axes.locator_params(nbins=5)
    for label in axes.get_yticklabels():
        label.set(rotation=90, va="center")
    axes.grid(visible=True, color=_DARK, alpha=0.25, linewidth=0.4)


def _legend(figure: Any, box: Any, legend: Any, layer: Layer) -> None:  # noqa: ANN401
    from matplotlib.patches import Patch

    if layer.kind not in CODED:
        bar = figure.colorbar(legend, ax=box, fraction=0.12, location="left", shrink=0.8)
        bar.ax.yaxis.set_ticks_position("right")
        bar.ax.set_title(layer.unit, fontsize=9, loc="left")
        bar.ax.tick_params(labelsize=8)
        return
    box.legend(
        handles=[
            Patch(facecolor=color, edgecolor=_DARK, linewidth=0.4, label=name.replace("_", " "))
            for _, name, color in legend[:_MOST_LISTED]
        ],
        loc="upper left",
        bbox_to_anchor=(0, 1),
        frameon=False,
        fontsize=9,
        borderaxespad=0,
    )


def bar_length(width: float) -> float:
    """Return a round length of about a quarter of a width: 1, 2 or 5 with zeros.

    Examples
    --------
    >>> bar_length(145.6), bar_length(9000.0)
    (20.0, 2000.0)
    """
    target = width / 4
    power = 10.0 ** floor(log10(target))
    return max(step * power for step in (1, 2, 5) if step * power <= target)


def _scale_bar(axes: Any, layer: Layer) -> None:  # noqa: ANN401
    """Draw a round length in metres on the ground, in two halves."""
    from matplotlib.patches import Rectangle

    if layer.grid.crs is None:
        return
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    metres = _metres(layer, (bottom + top) / 2)
    length = bar_length((right - left) * metres)
    x, y = left + (right - left) * 0.04, bottom + (top - bottom) * 0.04
    height = (top - bottom) * 0.012
    for half, color in enumerate((_DARK, "white")):
        start = x + half * length / metres / 2
        axes.add_patch(
            Rectangle((start, y), length / metres / 2, height, facecolor=color, edgecolor=_DARK,
                      linewidth=0.6, zorder=5)
        )  # fmt: skip
    text = f"{length / 1000:g} km" if length >= 1000 else f"{length:g} m"  # noqa: PLR2004  # a km
    for value, place in (("0", x), (text, x + length / metres)):
        axes.text(place, y + 1.6 * height, value, fontsize=8, ha="center", zorder=5, **_halo())


def _halo() -> dict[str, Any]:
    from matplotlib.patheffects import withStroke

    return {"path_effects": [withStroke(linewidth=2, foreground="white")]}


def _north_arrow(axes: Any, layer: Layer) -> None:  # noqa: ANN401
    """Draw an arrow to grid north, which is up."""
    if layer.grid.crs is None:
        return
    look = {"arrowstyle": "-|>", "color": _DARK, "linewidth": 1.8, "mutation_scale": 16}
    axes.annotate(
        "", xy=(0.955, 0.97), xytext=(0.955, 0.88), xycoords="axes fraction", arrowprops=look
    )
    axes.text(
        0.955, 0.865, "N", transform=axes.transAxes, ha="center", va="top", fontsize=11,
        weight="bold", **_halo(),
    )  # fmt: skip


def _in_degrees(layer: Layer) -> bool:
    crs = layer.grid.crs
    return crs is not None and bool(rasterio.CRS.from_wkt(crs).is_geographic)


def _metres(layer: Layer, latitude: float) -> float:
    """Return metres on the ground per unit of x."""
    if _in_degrees(layer):
        return _METRES_A_DEGREE * cos(radians(latitude))
    return float(rasterio.CRS.from_wkt(layer.grid.crs).linear_units_factor[1])


def _origin(maps: MapFolder, layer: Layer) -> str:
    """Return scene, model, reference system and pixel size, a line each."""
    grid = layer.grid
    lines = [f"Scene: {maps.name}"]
    if layer.tags.get("HSIMAP_MODEL"):
        digest = layer.tags.get("HSIMAP_MODEL_DIGEST", "")[:12]
        lines.append(f"Model: {layer.tags['HSIMAP_MODEL']} {digest}".rstrip())
    if grid.crs is not None:
        crs: Any = rasterio.CRS.from_wkt(grid.crs)
        code = crs.to_epsg()
        lines.append(f"Coordinates: EPSG:{code}" if code else "Coordinates: of the scene's own CRS")
        unit = "°" if crs.is_geographic else " m"
        lines.append(f"Pixel: {hypot(grid.transform.a, grid.transform.d):.4g}{unit}")
    return "\n".join([*lines, "Made by hsimap"])

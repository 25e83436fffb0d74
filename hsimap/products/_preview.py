"""A contact sheet of all maps with their legends."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.products._styles import MAGMA, VIRIDIS
from hsimap.products._write import display_limits, read_coarse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

    from hsimap.products._layer import Layer

_SIDE: Final = 600
"""Most pixels of a side that are read of a map."""
_MAP: Final = 352
"""Pixels; the longer side of a map is drawn that large."""
_LEGEND: Final = 190
_TITLE: Final = 26
_GAP: Final = 14
_SWATCH: Final = 12
_LINE: Final = 18
_TICKS: Final = 5
_NODATA: Final = "#e8e8e8"
_PNG_LEVEL: Final = 2
_FONT: Final = "mpl-data/fonts/ttf/DejaVuSans.ttf"
"""In matplotlib, which is not loaded for it: its own drawing took 2 s a sheet."""


class Preview:
    """A sheet on which maps are drawn with their legends, each as soon as it is there.

    Parameters
    ----------
    layers : sequence of Layer
        What is to be drawn; probabilities show the highest class, and flags are left out.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        from PIL import Image, ImageDraw

        shown = [layer for layer in layers if layer.kind != "flags"]
        self._cells = {layer.name: index for index, layer in enumerate(shown)}
        self._n_cols = min(len(shown), 4)
        aspect = min(max(shown[0].grid.height / shown[0].grid.width, 0.4), 2.5)
        self._size = (_MAP, round(_MAP * aspect)) if aspect <= 1 else (round(_MAP / aspect), _MAP)
        self._cell = (self._size[0] + _LEGEND, self._size[1] + _TITLE + _GAP)
        width = self._n_cols * self._cell[0] + _GAP
        height = -(-len(shown) // self._n_cols) * self._cell[1] + _GAP
        self._sheet = Image.new("RGB", (width, height), "white")
        self._draw = ImageDraw.Draw(self._sheet)

    def add(self, layer: Layer, source: Path) -> None:
        """Draw a map whose file is ``source`` where its place is, flags nowhere."""
        from PIL import Image

        if layer.name not in self._cells:
            return
        row, col = divmod(self._cells[layer.name], self._n_cols)
        (width, height), draw = self._size, self._draw
        left, top = _GAP + col * self._cell[0], _GAP + row * self._cell[1] + _TITLE
        middle = (left + width // 2, top - _TITLE // 2)
        draw.text(middle, layer.label, "black", _font(13), anchor="mm")
        if layer.kind == "classes":
            picture = _draw_classes(draw, layer, source, (left + width + 8, top))
        else:
            corner = (left + width + 10, top + height // 10)
            picture = _draw_values(draw, layer, source, corner, height * 8 // 10)
        self._sheet.paste(picture.resize(self._size, Image.Resampling.NEAREST), (left, top))

    def save(self, path: Path) -> None:
        """Write the PNG."""
        self._sheet.save(path, compress_level=_PNG_LEVEL)


def _draw_classes(draw: ImageDraw, layer: Layer, source: Path, corner: tuple[int, int]) -> Image:
    """Write a legend of classes; return the map as a picture."""
    from PIL import Image

    colors = np.full((256, 3), _rgb(_NODATA), dtype=np.uint8)
    x, y = corner
    for label in layer.task.classes:
        colors[label.code] = _rgb(label.color)
        draw.rectangle((x, y, x + _SWATCH, y + _SWATCH), fill=label.color)
        draw.text((x + _SWATCH + 6, y + _SWATCH // 2), _short(label.name), "black", _font(11),
                  anchor="lm")  # fmt: skip
        y += _LINE
    return Image.fromarray(colors[read_coarse(source, side=_SIDE)[0]])


def _draw_values(
    draw: ImageDraw, layer: Layer, source: Path, corner: tuple[int, int], length: int
) -> Image:
    """Draw a colour bar; return the map as a picture."""
    from PIL import Image

    ramp = _ramp(MAGMA if layer.kind == "probabilities" else VIRIDIS)
    low, high = display_limits(source, layer)
    x, y = corner
    for step in range(length):
        color = tuple(ramp[255 - step * 255 // max(length - 1, 1)].tolist())
        draw.line((x, y + step, x + _SWATCH, y + step), fill=color)
    for share in np.linspace(0, 1, _TICKS):
        at = y + round((length - 1) * (1 - share))
        draw.line((x + _SWATCH, at, x + _SWATCH + 3, at), fill="black")
        text = f"{low + share * (high - low):.3g}"
        draw.text((x + _SWATCH + 6, at), text, "black", _font(11), anchor="lm")
    known = read_coarse(source, side=_SIDE).astype(np.float32)
    known[known == layer.nodata] = np.nan
    plane = known.max(axis=0) * layer.scale  # NaN where any band is nodata
    shown = np.isfinite(plane)
    index = np.clip((np.where(shown, plane, low) - low) / ((high - low) or 1) * 255, 0, 255)
    picture = ramp[np.rint(index).astype(np.uint8)]
    picture[~shown] = _rgb(_NODATA)
    return Image.fromarray(picture)


def _ramp(colors: Sequence[str]) -> NDArray[np.uint8]:
    """Return ``(256, 3)`` colours between evenly spaced ones."""
    known = np.array([_rgb(color) for color in colors])
    at, places = np.linspace(0, 1, 256), np.linspace(0, 1, len(known))
    channels = [np.interp(at, places, channel) for channel in known.T]
    ramp: NDArray[np.uint8] = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return ramp


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _font(size: int) -> FreeTypeFont:
    from PIL import ImageFont

    found = find_spec("matplotlib")
    folder = Path((found.submodule_search_locations or [""])[0]) if found else Path()
    return ImageFont.truetype(folder / _FONT, size)


def _short(name: str) -> str:
    plain = name.replace("_", " ")
    return plain if len(plain) <= 22 else f"{plain[:21]}…"  # noqa: PLR2004  # fits the cell

"""Matplotlib figures as text that stands in a page; no state outlives a figure."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

INK: Final = "#1d2530"
BLUE: Final = "#1f5f8b"
ORANGE: Final = "#d8732a"
GREY: Final = "#9aa5b1"
_SETTINGS: Final = {
    "font.size": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "svg.hashsalt": "hsimap",
}
_DPI: Final = 110
_COLORS: Final = 255
"""Of a PNG; a noisy map takes a third of the room that it takes in full colour."""


def picture(size: tuple[float, float], draw: Callable[[Any], None], *, raster: bool = False) -> str:
    """Return a figure as a ``data:`` address.

    Parameters
    ----------
    size : tuple of float
        Width and height in inches.
    draw : callable
        Gets the empty figure, whose layout is constrained.
    raster : bool
        PNG for pictures of many pixels, else SVG.
    """
    with rc_context(_SETTINGS):
        figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        data = io.BytesIO()
        if raster:
            canvas.draw()
            plain = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
            plain.quantize(_COLORS).save(data, format="png", optimize=True)
            return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
        figure.savefig(data, format="svg", metadata={"Date": None, "Creator": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(data.getvalue()).decode()}"

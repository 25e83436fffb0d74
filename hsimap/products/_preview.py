"""A contact sheet of all maps with their legends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.products._styles import MAGMA, VIRIDIS
from hsimap.products._write import display_limits, read_coarse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.products._layer import Layer

_SIDE: Final = 600
_CELL: Final = 3.2
"""Inches; the longer side of a map is drawn that large."""
_NODATA: Final = "#e8e8e8"
_PNG_LEVEL: Final = 2
"""A sixth of the time of the whole sheet less than level 6."""


def write_preview(path: Path, layers: Sequence[Layer], folder: Path, *, title: str = "") -> None:
    """Draw every map with its legend on one sheet.

    Parameters
    ----------
    path : Path
        The PNG.
    layers : sequence of Layer
        What to draw; probabilities show the highest class.
    folder : Path
        Where the maps are.
    title : str
        Over the sheet.
    """
    n_cols = min(len(layers), 4)
    n_rows = -(-len(layers) // n_cols)
    aspect = min(max(layers[0].grid.height / layers[0].grid.width, 0.4), 2.5)
    width, height = (_CELL, _CELL * aspect) if aspect <= 1 else (_CELL / aspect, _CELL)
    width = max(width, _CELL * 0.75)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(
        figsize=(n_cols * (width + 1.7), n_rows * (height + 0.5) + 0.6), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots(n_rows, n_cols, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, layer in zip(axes, layers, strict=False):
        _draw(ax, layer, folder / f"{layer.name}.tif")
    if title:
        figure.suptitle(title)
    figure.savefig(
        path, dpi=110, metadata={"Software": None}, pil_kwargs={"compress_level": _PNG_LEVEL}
    )


def _draw(ax: Any, layer: Layer, path: Path) -> None:  # noqa: ANN401  # matplotlib has no types
    from matplotlib.colors import LinearSegmentedColormap

    values = read_coarse(path, side=_SIDE)
    ax.set_title(layer.label, fontsize=9)
    ax.set_facecolor(_NODATA)
    if layer.kind == "classes":
        _draw_classes(ax, layer, values[0])
        return
    known = values.astype(np.float32)
    known[known == layer.nodata] = np.nan
    plane = known.max(axis=0) * layer.scale  # NaN where any band is nodata
    low, high = display_limits(path, layer)
    colors = MAGMA if layer.kind == "probabilities" else VIRIDIS
    ramp = LinearSegmentedColormap.from_list(layer.name, list(colors)).with_extremes(bad=_NODATA)
    image = ax.imshow(plane, cmap=ramp, vmin=low, vmax=high, interpolation="nearest")
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8, aspect=25, pad=0.02)
    bar.ax.tick_params(labelsize=7)


def _draw_classes(ax: Any, layer: Layer, codes: NDArray[np.generic]) -> None:  # noqa: ANN401
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    labels = layer.task.classes
    index = np.full(codes.shape, len(labels))
    for i, label in enumerate(labels):
        index[codes == label.code] = i
    colors = [label.color for label in labels] + [_NODATA]
    ax.imshow(
        index, cmap=ListedColormap(colors), vmin=-0.5, vmax=len(labels) + 0.5,
        interpolation="nearest",
    )  # fmt: skip
    ax.legend(
        handles=[Patch(color=label.color, label=_short(label.name)) for label in labels],
        loc="upper left",
        bbox_to_anchor=(1.01, 1.0),
        fontsize=7,
        frameon=False,
        borderaxespad=0,
        handlelength=1.2,
    )


def _short(name: str) -> str:
    plain = name.replace("_", " ")
    return plain if len(plain) <= 22 else f"{plain[:21]}…"  # noqa: PLR2004  # fits the cell

"""Maps beside the truth and the error, split maps, and training curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from hsimap.evaluation.report._canvas import BLUE, GREY, INK, ORANGE, picture
from hsimap.evaluation.report._class_figures import short
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.evaluation._pictures import Picture
    from hsimap.tasks import Task

_NOTHING: Final = "#eceff2"
_RIGHT: Final = "#bcd4e6"
_WRONG: Final = "#111111"
FOLD_COLORS: Final = ("#eceff2", "#1f5f8b", "#edc948", "#d8732a")
"""None, training, validation, test."""


def maps_figure(task: Task, shown: Picture) -> str:
    """Draw truth, map and error of one task on one scene."""
    truth, mapped = shown.truth[task.name], shown.mapped[task.name]
    aspect = min(max(truth.shape[0] / truth.shape[1], 0.35), 2.2)
    width = 3.0 if aspect <= 1 else 3.0 / aspect
    categorical = task.kind is Kind.CATEGORICAL

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        axes = figure.subplots(1, 3)
        for ax, name in zip(axes, ("truth", "map", "error"), strict=True):
            ax.set_title(name)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
        if categorical:
            _classes(figure, axes, task, (truth, mapped))
        else:
            _values(figure, axes, task, (truth, mapped))

    return picture((3 * max(width, 1.9) + 2.4, max(width * aspect, 1.6) + 0.5), draw, raster=True)


def _classes(figure: Any, axes: Any, task: Task, planes: tuple[NDArray[Any], ...]) -> None:  # noqa: ANN401
    truth, mapped = planes
    colors = [label.color for label in task.classes]
    ramp = ListedColormap([_NOTHING, *colors])
    for ax, plane in zip(axes, planes, strict=False):
        ax.imshow(plane, cmap=ramp, vmin=-1.5, vmax=len(colors) - 0.5, interpolation="nearest")
    known = (truth >= 0) & (mapped >= 0)
    error = np.where(known, np.where(truth == mapped, 1, 2), 0)
    pair = ListedColormap([_NOTHING, _RIGHT, _WRONG])
    axes[2].imshow(error, cmap=pair, vmin=-0.5, vmax=2.5, interpolation="nearest")
    handles = [Patch(color=label.color, label=short(label.name)) for label in task.classes]
    handles += [
        Patch(color=_RIGHT, label="right"),
        Patch(color=_WRONG, label="wrong"),
        Patch(color=_NOTHING, label="no label"),
    ]
    figure.legend(handles=handles, loc="outside right center", fontsize=8)


def _values(figure: Any, axes: Any, task: Task, planes: tuple[NDArray[Any], ...]) -> None:  # noqa: ANN401
    both = np.concatenate([plane[np.isfinite(plane)] for plane in planes])
    low, high = np.percentile(both, (1, 99)) if both.size else (0, 1)
    unit = "" if task.unit in {"", "1"} else f" [{task.unit}]"
    image = None
    for ax, plane in zip(axes, planes, strict=False):
        ax.set_facecolor(_NOTHING)
        image = ax.imshow(plane, cmap="viridis", vmin=low, vmax=high, interpolation="nearest")
    figure.colorbar(image, ax=axes[1], shrink=0.8, aspect=22, pad=0.02, label=f"value{unit}")
    error = planes[1] - planes[0]
    known = np.abs(error[np.isfinite(error)])
    most = np.percentile(known, 98) if known.size else 1
    axes[2].set_facecolor(_NOTHING)
    image = axes[2].imshow(error, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    figure.colorbar(image, ax=axes[2], shrink=0.8, aspect=22, pad=0.02, label=f"error{unit}")


def folds_figure(folds: NDArray[np.integer], names: Sequence[str]) -> str:
    """Draw which pixel belongs to which fold; 0 none, 1 training, 2 validation, 3 test.

    Without ``names`` there is no legend.
    """
    aspect = min(max(folds.shape[0] / folds.shape[1], 0.3), 2.5)
    width = 2.3 if aspect <= 1 else 2.3 / aspect

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        ramp = ListedColormap(list(FOLD_COLORS))
        ax.imshow(folds, cmap=ramp, vmin=-0.5, vmax=3.5, interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        if names:
            handles = [Patch(color=c, label=n) for c, n in zip(FOLD_COLORS, names, strict=True)]
            figure.legend(handles=handles, loc="outside right center", fontsize=8)

    room = 1.1 if names else 0.1
    return picture((max(width, 1.2) + room, width * aspect + 0.1), draw, raster=True)


def curves_figure(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, label: str, best: int | None = None
) -> str:
    """Draw curves over the epochs; ``best`` is the epoch that was kept."""
    palette = (BLUE, ORANGE, INK, GREY)

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        for k, (name, points) in enumerate(curves.items()):
            x, y = zip(*points, strict=True)
            color = palette[k] if len(curves) <= len(palette) else f"C{k % 10}"
            style = "-" if k < 10 else "--"  # noqa: PLR2004  # colours of the cycle
            ax.plot(x, y, style, marker="." if len(x) < 60 else "", color=color, lw=1.3, label=name)  # noqa: PLR2004
        if best is not None:
            ax.axvline(best, color=GREY, lw=1, ls=":")
        ax.set(xlabel="epoch", ylabel=label)
        if len(curves) > 1:
            ax.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))

    return picture((5.6 if len(curves) > 1 else 4.2, 3.0), draw)

"""Figures of continuous tasks: density of true and mapped values, errors, coverage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.colors import LogNorm

from hsimap.evaluation.report._canvas import BLUE, GREY, INK, ORANGE, picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.evaluation._detail import TaskEvaluation, ValueDetail

ERROR_HISTOGRAM: Final = 100
"""Bins of the error histogram, as fig. 12 of arXiv 2407.16384."""
_MANY: Final = 20_000
"""Pixels that fill a histogram of 100 x 100 bins."""
_CENTRAL: Final = 0.998
"""Share of the errors that its axis spans."""


def density_figure(found: TaskEvaluation, detail: ValueDetail) -> str:
    """Draw mapped against true values with their density and both marginals (fig. 11)."""
    low, high = detail.span
    task, joint = found.task, _coarsen(detail.joint)
    edges = np.linspace(low, high, len(joint) + 1)
    centres = (edges[1:] + edges[:-1]) / 2
    width = edges[1] - edges[0]

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        grid = figure.add_gridspec(2, 2, width_ratios=(4, 1), height_ratios=(1, 4))
        main = figure.add_subplot(grid[1, 0])
        top = figure.add_subplot(grid[0, 0], sharex=main)
        side = figure.add_subplot(grid[1, 1], sharey=main)
        shown = np.where(joint > 0, joint, np.nan).T
        mesh = main.pcolormesh(
            edges, edges, shown, cmap="YlGnBu", norm=LogNorm(1, max(joint.max(), 10)),
            rasterized=True,
        )  # fmt: skip
        main.plot([low, high], [low, high], ":", color=INK, lw=1.2)
        if found.stand is not None and np.shape(found.stand[1])[0] == 2:  # noqa: PLR2004  # pair
            main.plot(*found.stand[1], "o", ms=3, mfc="none", mec=ORANGE, mew=0.8)
        main.set(xlim=(low, high), ylim=(low, high))
        main.set_xlabel(f"{task.label}, true{_unit(task.unit)}")
        main.set_ylabel(f"{task.label}, mapped{_unit(task.unit)}")
        r = found.pixel.scores["pearson"]
        main.text(0.03, 0.95, f"r = {r:.3f}", transform=main.transAxes, va="top")
        top.bar(centres, joint.sum(axis=1), width, color=GREY)
        side.barh(centres, joint.sum(axis=0), width, color=BLUE, alpha=0.7)
        for ax in (top, side):
            ax.tick_params(labelbottom=False, labelleft=False, length=0)
            ax.spines[:].set_visible(False)
        figure.colorbar(mesh, ax=side, label="pixels", shrink=0.7, aspect=22, pad=0.12)

    return picture((4.9, 4.2), draw)


def error_figure(found: TaskEvaluation, detail: ValueDetail) -> str:
    """Draw the histogram of mapped minus true values in 100 bins (fig. 12)."""
    values, edges = error_histogram(detail)
    centres = (edges[1:] + edges[:-1]) / 2
    scores = found.pixel.scores

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        ax.bar(centres, values / max(values.sum(), 1), edges[1] - edges[0], color=BLUE, alpha=0.75)
        ax.axvline(0, color=INK, lw=1, ls=":")
        ax.axvline(scores["bias"], color=ORANGE, lw=1.2, label="bias")
        for sign in (-1, 1):
            label = "± RMSE" if sign > 0 else None
            ax.axvline(sign * scores["rmse"], color=GREY, lw=1, ls="--", label=label)
        ax.set(xlabel=f"mapped minus true{_unit(found.task.unit)}", ylabel="share of pixels")
        ax.legend(fontsize=8)

    return picture((4.2, 2.9), draw)


def error_histogram(detail: ValueDetail) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 100 counts and 101 edges about 0 that hold at least 99.8 % of the errors.

    Errors beyond are counted in the end bins.
    """
    fine = detail.errors
    middle, total = len(fine) // 2, fine.sum()
    width = (detail.span[1] - detail.span[0]) / middle
    most = middle // (ERROR_HISTOGRAM // 2)

    def share(each: int) -> float:
        reach = each * ERROR_HISTOGRAM // 2
        return float(fine[middle - reach : middle + reach].sum())

    each = next((n for n in range(1, most) if share(n) >= _CENTRAL * total), most)
    reach = each * ERROR_HISTOGRAM // 2
    inner = fine[middle - reach : middle + reach].reshape(ERROR_HISTOGRAM, each).sum(axis=1)
    inner[0] += fine[: middle - reach].sum()
    inner[-1] += fine[middle + reach :].sum()
    return inner, np.linspace(-reach, reach, ERROR_HISTOGRAM + 1) * width


def coverage_figure(found: Sequence[tuple[str, ValueDetail]]) -> str:
    """Draw measured against stated coverage, a row a task and a mark a level."""

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        levels = sorted({level for _, detail in found for level in detail.coverage})
        colors = dict(zip(levels, (GREY, BLUE, ORANGE, INK), strict=False))
        for row, (_, detail) in enumerate(found):
            for level, covered in detail.coverage.items():
                ax.errorbar(
                    100 * covered.by_unit, row, xerr=100 * covered.by_unit_error, fmt="o", ms=4,
                    color=colors.get(level, INK), elinewidth=1, capsize=2,
                    label=f"{level} %" if row == 0 else None,
                )  # fmt: skip
        for level in levels:
            ax.axvline(level, color=colors.get(level, INK), lw=1, ls=":")
        ax.set_yticks(range(len(found)), [name for name, _ in found])
        ax.invert_yaxis()
        ax.set_xlabel("measured coverage [%], with standard error")
        ax.legend(title="stated", fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))

    return picture((6.4, 0.32 * len(found) + 1.2), draw)


def histogram_figure(
    label: str, edges: NDArray[np.float64], shares: Mapping[str, NDArray[np.float64]]
) -> str:
    """Draw the distribution of a variable, a line a fold."""

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        for (fold, values), color in zip(shares.items(), (BLUE, ORANGE, INK), strict=False):
            ax.stairs(values, edges, color=color, lw=1.4, label=fold)
        ax.set(xlabel=label, ylabel="share of labelled pixels", xlim=(edges[0], edges[-1]))
        ax.legend(fontsize=8)

    return picture((3.8, 2.6), draw)


def _coarsen(joint: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up 4 x 4 bins where there are too few pixels for fine ones."""
    if joint.sum() >= _MANY:
        return joint
    n = len(joint) // 4
    coarse: NDArray[np.float64] = joint.reshape(n, 4, n, 4).sum(axis=(1, 3))
    return coarse


def _unit(unit: str) -> str:
    return "" if unit in {"", "1"} else f" [{unit}]"

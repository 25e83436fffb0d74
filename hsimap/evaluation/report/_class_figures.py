"""Figures of categorical tasks: confusion matrices and reliability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.evaluation._calibration import ECE_BINS
from hsimap.evaluation._scores import normalise_confusion
from hsimap.evaluation.report._canvas import BLUE, GREY, INK, picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.evaluation._detail import ClassDetail
    from hsimap.evaluation._tasks import TaskScores
    from hsimap.tasks import Task

_DARK: Final = 0.55
"""Shares above it are written in white."""
_LONGEST: Final = 18


def confusion_figure(task: Task, scores: TaskScores) -> str:
    """Draw a confusion matrix: rows = truth, each adding up to 1, with shares and counts."""
    counts = np.array(scores.confusion, dtype=np.float64)
    shares = normalise_confusion(counts)
    names = [short(label.name) for label in task.classes]
    n = len(names)
    side = max(1.7, 0.55 * n + 0.5)

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        ax.imshow(np.nan_to_num(shares), cmap="Blues", vmin=0, vmax=1)
        for (i, j), share in np.ndenumerate(shares):
            text = "-" if np.isnan(share) else f"{share:.2f}\n{counts[i, j]:.0f}"
            color = "white" if share > _DARK else INK
            ax.text(j, i, text, ha="center", va="center", color=color, fontsize=7.5)
        ax.set_xticks(range(n), names, rotation=35, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(n), names)
        ax.set(xlabel="mapped class", ylabel="true class")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)

    return picture((side + 1.2, side + 0.8), draw)


def reliability_figure(detail: ClassDetail) -> str:
    """Draw hits against the highest probability, bin by bin, with the pixels of each under it."""
    n, sure, hits = detail.reliability.T
    centres = (np.arange(ECE_BINS) + 0.5) / ECE_BINS

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        top, low = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        known = n > 0
        accuracy, confidence = hits[known] / n[known], sure[known] / n[known]
        top.plot([0, 1], [0, 1], ":", color=INK, lw=1)
        top.bar(centres[known], accuracy, 0.9 / ECE_BINS, color=BLUE, alpha=0.35)
        top.plot(confidence, accuracy, "o-", color=BLUE, ms=3.5, lw=1.2)
        top.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of hits")
        top.text(0.04, 0.9, f"ECE {detail.ece:.3f}", transform=top.transAxes)
        low.bar(centres, n / max(n.sum(), 1), 0.9 / ECE_BINS, color=GREY)
        low.set(xlabel="highest class probability", ylabel="pixels")

    return picture((3.3, 3.4), draw)


def distribution_figure(
    names: list[str], shares: dict[str, NDArray[np.float64]], colors: list[str]
) -> str:
    """Draw the share of each class, a group of bars a class and a bar a fold."""

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        width = 0.8 / len(shares)
        for k, (fold, values) in enumerate(shares.items()):
            at = np.arange(len(names)) + (k - (len(shares) - 1) / 2) * width
            ax.bar(
                at, values, width, color=colors, alpha=1 - 0.33 * k, edgecolor=INK, lw=0.4,
                label=fold,
            )  # fmt: skip
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
        ax.set_ylabel("share of labelled pixels")
        legend = ax.legend(fontsize=8)
        for patch in legend.get_patches():
            patch.set_facecolor(GREY)

    return picture((max(3.4, 0.75 * len(names) + 1.6), 2.8), draw)


def pairs_figure(names: list[str], values: NDArray[np.float64], *, what: str) -> str:
    """Draw a distance between every two classes, 0 to 2."""
    n = len(names)
    side = max(2.2, 0.6 * n + 0.6)

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        lower = np.where(np.tri(n, k=-1, dtype=bool), values, np.nan)[1:, :-1]
        ax.imshow(lower, cmap="viridis", vmin=0, vmax=2)
        for (i, j), value in np.ndenumerate(lower):
            if np.isfinite(value):
                color = "white" if value < 1.4 else INK  # noqa: PLR2004  # the ramp turns light
                ax.text(j, i, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
        ax.set_xticks(range(n - 1), names[:-1], rotation=35, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(n - 1), names[1:])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_title(what, color=INK)

    return picture((side + 1.2, side + 0.7), draw)


def short(name: str) -> str:
    """Return a class name as it fits an axis."""
    plain = name.replace("_", " ")
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"

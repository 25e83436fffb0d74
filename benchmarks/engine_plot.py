"""Draw what engine.py measured: wall time and peak memory of every tool, a row of panels a case.

    python benchmarks/engine.py --redraw engine.json --plot benchmarks/engine.svg

The bars are medians, the whiskers the fastest and the slowest round. The bar of the least that the
machine could take is parted into its stages.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import matplotlib.pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

LABELS: Final = {
    "hsimap": "hsimap",
    "ort_loop": "ONNX Runtime loop",
    "hsimap fp32": "hsimap, float32",
    "naive": "script with torch",
    "dask_overlap": "dask with overlap",
    "torchgeo_grid": "TorchGeo",
    "geo_inference_nrcan": "geo-inference",
    "terratorch_tiled": "TerraTorch",
    "monai_sliding": "MONAI",
    "whole": "one forward",
}
LEAST: Final = "least possible"
OURS, OTHERS, SPREAD = "#0072B2", "#B3B3B3", "#303030"
STAGES: Final = {
    "decode": "#56B4E9",
    "forward": "#009E73",
    "encode": "#E69F00",
    "start": "#CC79A7",
}
"""Colours that also those tell apart who see few of them (Okabe and Ito)."""
FORMATS: Final = {".tif": "GeoTIFF", ".img": "ENVI BIL"}


def plot(measured: dict[str, Any], path: Path) -> None:
    """Draw the cases of a measurement.

    Parameters
    ----------
    measured : dict
        What engine.py writes to --out.
    path : Path
        SVG, PNG or PDF, by its suffix.
    """
    cases, machine = measured["cases"], measured["machine"]
    lengths = [2 + len(case["beside"]) for case in cases]
    style = {
        "svg.hashsalt": "hsimap", "font.size": 9, "axes.spines.top": False,
        "axes.spines.right": False, "axes.titleweight": "bold", "axes.titlelocation": "left",
    }  # fmt: skip
    with mpl.rc_context(style):
        figure, axes = plt.subplots(
            len(cases), 2, figsize=(9, 0.34 * sum(lengths) + 0.6 * len(cases) + 1.4),
            squeeze=False, layout="constrained", sharex="col", sharey="row",
            width_ratios=(3, 2), height_ratios=[length + 0.5 for length in lengths],
        )  # fmt: skip
        for (wall, memory), case in zip(axes, cases, strict=True):
            _draw_walls(wall, case, machine["cores"])
            _draw_memory(memory, case, measured["budget_mib"])
            wall.set_ylim(len(wall.get_yticks()) - 0.45, -0.55)  # ours on top
        axes[-1, 0].set_xlabel("wall time of the process, s")
        axes[-1, 1].set_xlabel("peak memory without file pages, MiB")
        handles, names = axes[0, 0].get_legend_handles_labels()
        stages = [f"{name} over {machine['cores']} cores" for name in names[:-1]]
        figure.legend(
            handles, [f"{LEAST}: {stages[0]}", *stages[1:], "start-up"],
            title=_footnote(machine, cases), title_fontsize=7.5, loc="outside lower left",
            ncols=4, frameon=False, alignment="left", fontsize=8, columnspacing=1.2,
        )  # fmt: skip
        figure.suptitle("Scene in, maps out: shorter is better", fontweight="bold")
        options = {"metadata": {"Date": None}} if path.suffix == ".svg" else {"dpi": 150}
        figure.savefig(path, **options)
    plt.close(figure)


def _tools(case: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Return the rounds of each tool, ours first."""
    runs = {"hsimap": case["hsimap"], **case["beside"]}
    return {LABELS.get(name, name.replace("_", " ")): found for name, found in runs.items()}


def _bars(axis: Axes, runs: dict[str, list[dict[str, float]]], key: str, unit: str) -> None:
    """Draw a bar a tool, its median at the end."""
    for name, rounds in runs.items():
        values = [one[key] for one in rounds]
        middle = median(values)
        reach = [[middle - min(values)], [max(values) - middle]]
        axis.barh(
            name, middle, color=OURS if name == "hsimap" else OTHERS, height=0.72,
            xerr=reach if len(values) > 1 else None,
            error_kw={"ecolor": SPREAD, "capsize": 2, "elinewidth": 0.8},
        )  # fmt: skip
        _tell(axis, max(values), name, f"{_short(middle)} {unit}")


def _short(value: float) -> str:
    """Return three digits, or all before the point."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _tell(axis: Axes, end: float, name: str, text: str) -> None:
    axis.annotate(
        text, (end, name), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )  # fmt: skip


def _draw_walls(axis: Axes, case: dict[str, Any], cores: int) -> None:
    runs = _tools(case)
    known = (*STAGES, "mpx")
    alone = {key: median(stage[key] for stage in case["stages"]) for key in known}
    kind = FORMATS.get(case["scene"][-4:], case["scene"])
    axis.set_title(f"{case['network']} on {kind}, {alone['mpx']:.3g} Mpx")
    _bars(axis, {"hsimap": runs["hsimap"]}, "wall", "s")
    left = 0.0
    for stage, color in STAGES.items():
        share = alone[stage] / (1 if stage == "start" else cores)
        axis.barh(LEAST, share, left=left, color=color, height=0.72, label=stage)
        left += share
    _tell(axis, left, LEAST, f"{_short(left)} s")
    _bars(axis, {name: found for name, found in runs.items() if name != "hsimap"}, "wall", "s")
    axis.margins(x=0.14)


def _draw_memory(axis: Axes, case: dict[str, Any], budget: float) -> None:
    _bars(axis, _tools(case), "mib", "MiB")
    axis.axvline(budget, color=OURS, linewidth=1, linestyle=":")
    axis.annotate(
        "hsimap's budget", (budget, 1), xycoords=("data", "axes fraction"), xytext=(3, -4),
        textcoords="offset points", color=OURS, fontsize=7.5, va="bottom",
    )  # fmt: skip
    axis.margins(x=0.22)
    axis.tick_params(left=False)


def _footnote(machine: dict[str, Any], cases: list[dict[str, Any]]) -> str:
    rounds = sorted({len(case["hsimap"]) for case in cases})
    told = " to ".join(str(n) for n in {rounds[0]: 0, rounds[-1]: 0})
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB;"
        f" {machine['date']}; hsimap {machine['hsimap']}; medians of {told} rounds, whiskers:"
        f" fastest and slowest"
    )

"""Compare the demo's maps with the truth, beside the two forests of boreal_forests.py.

    python benchmarks/demo_report.py demo/scene sample_data [--forests FILE]

Prints, for each variable, overall and balanced accuracy or R2 over every labelled pixel of the
scene, which neither the model nor the forests have seen. The figures of the forests are read from
the file that boreal_forests.py wrote. Exits with 1 if the model does not beat the forest on
single pixels on every variable, and the forest with spatial features on the mean rank.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio

from hsimap.evaluation import compare_models, score_task, square_blocks
from hsimap.synthetic import TASKS
from hsimap.tasks import Kind, encode_classes, task_from_mapping

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hsimap.tasks import Task

HEADLINE = {Kind.CATEGORICAL: "balanced_accuracy", Kind.CONTINUOUS: "r2"}
SHOWN = {Kind.CATEGORICAL: ("overall_accuracy", "balanced_accuracy"), Kind.CONTINUOUS: ("r2",)}
BLOCK = 32
"""Pixels; about the size of a stand, for the standard error."""


def read_map(path: Path) -> NDArray[np.generic]:
    """Return the ``(y, x)`` values of a single-band raster."""
    with rasterio.open(path) as file:
        return file.read(1)


def read_truth(folder: Path, task: Task) -> NDArray[np.generic]:
    """Return ``(y, x)`` labels: channel index with -1 = none, or value with NaN = none."""
    name = "classes.tif" if task.kind is Kind.CATEGORICAL else "variables.tif"
    with rasterio.open(folder / name) as file:
        values = file.read(file.descriptions.index(task.name) + 1)
    return encode_classes(task, values) if task.kind is Kind.CATEGORICAL else values


def measure(maps: Path, sample: Path, task: Task) -> tuple[dict[str, float], dict[str, float]]:
    """Return scores and standard errors of one task."""
    found, truth = read_map(maps / f"{task.name}.tif"), read_truth(sample, task)
    if task.kind is Kind.CATEGORICAL:
        found = encode_classes(task, found, unlabelled=(255,))
    blocks = square_blocks(truth.shape, size=BLOCK)
    scores = score_task(task, truth, found, blocks=blocks)
    return dict(scores.scores), dict(scores.standard_errors)


def main() -> None:
    """Print the table and judge it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("maps", type=Path)
    parser.add_argument("sample", type=Path)
    parser.add_argument("--forests", type=Path, default=Path("docs/results/boreal_forests.json"))
    arguments = parser.parse_args()
    rivals = json.loads(arguments.forests.read_text())["scores"]
    table: dict[str, dict[str, float]] = {}
    runs: dict[str, dict[str, dict[str, float]]] = {"hsimap": {}, "spatial": {}, "pixel": {}}
    print(f"{'variable':28} {'score':18} {'hsimap':>14} {'spatial':>8} {'pixel':>8} {'trivial':>8}")
    for name, mapping in TASKS.items():
        task = task_from_mapping(name, mapping)
        scores, errors = measure(arguments.maps, arguments.sample, task)
        for key in SHOWN[task.kind]:
            others = [rivals[rival][name][key] for rival in ("spatial", "pixel", "trivial")]
            line = f"{name:28} {key:18} {scores[key]:7.3f} ±{errors[key]:5.3f}"
            print(line, *(f"{value:8.3f}" for value in others))
        headline = HEADLINE[task.kind]
        table[name] = {"hsimap": scores[headline]}
        table[name] |= {rival: rivals[rival][name][headline] for rival in ("spatial", "pixel")}
        for method, value in table[name].items():
            runs[method][name] = {headline: value}
    ranks = compare_models({method: [tasks] for method, tasks in runs.items()}).mean_rank
    print("mean rank:", ", ".join(f"{name} {rank:.2f}" for name, rank in ranks.items()))
    behind = [name for name, row in table.items() if row["hsimap"] <= row["pixel"]]
    if behind or ranks["hsimap"] >= ranks["spatial"]:
        print(f"the model is behind: pixel forest on {behind or 'none'}, mean ranks {dict(ranks)}")
        sys.exit(1)


if __name__ == "__main__":
    main()

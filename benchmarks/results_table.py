"""Print the test-fold results of the real scenes as a table, beside the forest and the floor.

    python benchmarks/results_table.py [docs/results]

Networks are means over their seeds. A figure holds where it is at or above the floor within one
block-bootstrap standard error, which is the mean of the seeds' own. Exits with 1 if one does not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any, Final

OVERALL, BALANCED, R2 = "overall_accuracy", "balanced_accuracy", "r2"
FLOORS: Final[dict[str, dict[tuple[str, str], float]]] = {
    "berlin_hymap": {
        ("landcover_level1", OVERALL): 0.87,
        ("landcover_level1", BALANCED): 0.87,
        ("landcover_level2", OVERALL): 0.71,
        ("landcover_level2", BALANCED): 0.57,
        ("impervious_fraction", R2): 0.67,
        ("tree_fraction", R2): 0.60,
        ("roof_fraction", R2): 0.60,
    },
    "enmap_potsdam": {
        ("landcover_level1", OVERALL): 0.84,
        ("landcover_level1", BALANCED): 0.59,
        ("landcover_level3", OVERALL): 0.70,
        ("landcover_level3", BALANCED): 0.51,
        ("vegetation_fraction", R2): 0.53,
    },
    "neon_sjer": {
        ("height_class", OVERALL): 0.74,
        ("height_class", BALANCED): 0.76,
        ("canopy_height_p95_m", R2): 0.82,
        ("canopy_cover_gt2m", R2): 0.86,
    },
    "indian_pines": {("landcover", OVERALL): 0.72, ("landcover", BALANCED): 0.70},
}
"""Random forests on the given splits; what a model of ours must reach."""
SEEDS: Final = 3
HEAD: Final = """\
| scene | variable | score | hsimap | ± block bootstrap | context hidden | forest here | floor |
|---|---|---|---|---|---|---|---|"""


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ``.jsonl`` file, the last of each seed; empty if there is none."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return list({line["seed"]: line for line in lines}.values())


def mean(runs: list[dict[str, Any]], task: str, score: str) -> tuple[float, float]:
    """Return the mean score and the mean standard error of some runs."""
    tasks = [run["tasks"][task] for run in runs]
    return fmean(t[score] for t in tasks), fmean(t["standard_error"][score] for t in tasks)


def main() -> None:
    """Print the table and judge it."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/results")
    failed = []
    print(HEAD)
    for scene, floors in FLOORS.items():
        runs, masked = read(folder / f"{scene}.jsonl"), read(folder / f"{scene}_mask.jsonl")
        forests = read(folder / f"{scene}_forest.jsonl")
        if len(runs) < SEEDS:
            failed.append(f"{scene}: {len(runs)} of {SEEDS} seeds")
            continue
        for (task, score), floor in floors.items():
            found, error = mean(runs, task, score)
            hidden = f"{mean(masked, task, score)[0]:.3f}" if masked else ""
            forest = f"{mean(forests, task, score)[0]:.3f}" if forests else ""
            print(f"| {scene} | {task} | {score.replace('_', ' ')} | **{found:.3f}** | {error:.3f}"
                  f" | {hidden} | {forest} | {floor:.2f} |")  # fmt: skip
            if found < floor - error:
                failed.append(f"{scene} {task} {score}: {found:.3f} < {floor:.2f} - {error:.3f}")
    for line in failed:
        print(f"below the floor: {line}", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

"""A random forest a task, on the pixels, labels and folds of a recipe: the floor for a network.

    python benchmarks/forest.py pipelines/berlin_hymap.yaml --data FOLDER --windows 5 15

Pixels are read through the recipe, as `hsimap train` reads them. A forest sees the spectrum of its
pixel and, with --windows 5, also the mean spectrum of the 5 x 5 valid pixels around it. It is
fitted on the training fold and scored on the test fold (or, with --fold validation, on that).
--record appends a line that `hsimap compare --results` takes as a row.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from hsimap.evaluation import append_result, score_task, square_blocks
from hsimap.geometry import Window
from hsimap.labels import TEST, TRAIN, VALIDATION
from hsimap.recipes import load_recipe
from hsimap.tasks import Kind
from hsimap.training import git_commit, open_recipe, whole_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sklearn.ensemble._forest import ForestClassifier, ForestRegressor

    from hsimap.recipes import Recipe
    from hsimap.tasks import Task
    from hsimap.training import LabelledScene

FOLDS = {"test": TEST, "validation": VALIDATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """One fold of one scene."""

    features: NDArray[np.float32]
    """``(y, x, feature)``: spectra in the model's storage units, then window means."""
    valid: NDArray[np.bool_]
    """``(y, x)``: valid and shown to the fold."""
    targets: dict[str, NDArray[Any]]
    """Task to ``(y, x)`` labels of the fold; -1 or NaN = none."""
    blocks: NDArray[np.int64]
    """``(y, x)``: block of each pixel, for standard errors."""


def gather(scene: LabelledScene, fold: int, windows: Sequence[int]) -> Pixels:
    """Return the pixels and labels of a scene as a fold sees them."""
    view = scene.view(fold)
    whole = Window(row=0, col=0, height=view.shape[0], width=view.shape[1])
    stored, valid = view.read(whole)
    image = np.where(valid, view.to_network(stored), 0).astype(np.float32)  # (band, y, x)
    share = valid.astype(np.float32)
    layers = [image]
    for side in windows:
        weight = np.maximum(uniform_filter(share, side, mode="constant"), 1e-6)
        layers.append(uniform_filter(image, (0, side, side), mode="constant") / weight)
    return Pixels(
        features=np.concatenate(layers).transpose(1, 2, 0),
        valid=valid,
        targets=whole_targets(view),
        blocks=square_blocks(view.shape, size=scene.block),
    )


def table(parts: Sequence[Pixels], task: Task) -> tuple[NDArray[Any], ...]:
    """Return ``(n, feature)`` features, ``(n,)`` labels and ``(n,)`` blocks of a task."""
    rows, offset = [], 0
    for part in parts:
        if task.name in part.targets:
            target = part.targets[task.name]
            use = (target >= 0 if task.classes else np.isfinite(target)) & part.valid
            rows.append((part.features[use], target[use], part.blocks[use] + offset))
        offset += int(part.blocks.max()) + 1
    features, labels, blocks = (np.concatenate(column) for column in zip(*rows, strict=True))
    return features, labels, blocks


def forest(task: Task, options: argparse.Namespace) -> ForestClassifier | ForestRegressor:
    """Return an unfitted forest: class-balanced, or a third of the features a split."""
    shared = {"n_jobs": options.jobs, "random_state": options.seed}
    if task.kind is Kind.CATEGORICAL:
        return RandomForestClassifier(options.trees, class_weight="balanced_subsample", **shared)
    return RandomForestRegressor(options.trees, max_features=1 / 3, **shared)


def run(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """Fit and score all tasks; return them by name."""
    with open_recipe(recipe) as opened:
        train, shown = (
            [gather(scene, fold, options.windows) for scene in opened.scenes]
            for fold in (TRAIN, FOLDS[options.fold])
        )
    results = {}
    for task in recipe.tasks_list():
        started = time.monotonic()
        features, labels, _ = table(train, task)
        model = forest(task, options).fit(features, labels)
        features, labels, blocks = table(shown, task)
        scores = score_task(task, labels, model.predict(features), blocks=blocks).as_dict()
        results[task.name] = scores
        print(line(task, scores, time.monotonic() - started), flush=True)
    return results


def line(task: Task, scores: dict[str, Any], seconds: float) -> str:
    """Return one row for the terminal."""
    names = ("overall_accuracy", "balanced_accuracy") if task.classes else ("r2", "rmse")
    errors = scores["standard_error"]
    text = "  ".join(f"{name} {scores[name]:.3f} ± {errors[name]:.3f}" for name in names)
    return f"{task.name:26} n {scores['n']:6}  {text}  {seconds:.0f} s"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--windows", type=int, nargs="*", default=[])
    parser.add_argument("--fold", choices=FOLDS, default="test")
    parser.add_argument("--trees", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, overrides=options.overrides, data=options.data)
    started, began = time.monotonic(), time.process_time()
    tasks = run(recipe, options)
    if options.record is not None:
        facts = {
            "model": "spatial random forest" if options.windows else "random forest",
            "recipe": recipe.name,
            "recipe_digest": recipe.digest,
            "data_digest": recipe.data_digest,
            "trees": options.trees,
            "windows": options.windows,
            "seed": options.seed,
            "fold": options.fold,
            "commit": git_commit(Path(__file__).parent),
            "seconds": round(time.monotonic() - started, 1),
            "cpu_seconds": round(time.process_time() - began, 1),
        }
        append_result(options.record, facts | {"tasks": tasks})


if __name__ == "__main__":
    main()

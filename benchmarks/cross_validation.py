"""Score a recipe without its test fold: cross-validation over the blocks of its other two folds.

    python benchmarks/cross_validation.py pipelines/berlin_hymap.yaml --set training.epochs=30

The blocks of the training and the validation fold are dealt into --folds parts of like size, at
random but always the same. A network is trained on all parts but one, with --buffer pixels between
them, to its last epoch, and maps the part left out; what is printed are scores over all parts
together, as a mean over --seeds. A pixel of the test fold is seen by nobody. The recipe has a split
by raster. --model logistic, svm or forest fits scikit-learn's models to the spectra of the same
pixels instead, and tells what a network has to be better than. --record appends a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from forest import forest, gather, table
from scipy.ndimage import maximum_filter
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from hsimap.evaluation import append_result
from hsimap.labels import TRAIN, VALIDATION
from hsimap.recipes import load_recipe
from hsimap.training import git_commit, open_recipe, predict_fold, selection_score, whole_targets
from hsimap.training._log import SilentLog
from hsimap.training._train import prepare, start_fabric
from hsimap.training._validation import TaskStatistics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from hsimap.recipes import Recipe
    from hsimap.tasks import Task

FOREST = argparse.Namespace(trees=300, seed=0, jobs=1)
MODELS: dict[str, Callable[[Task], Any]] = {
    "logistic": lambda t: LogisticRegression(C=10, max_iter=3000) if t.classes else Ridge(),
    "svm": lambda t: SVC(C=300, gamma=0.003) if t.classes else SVR(C=1),
    "forest": lambda t: forest(t, FOREST),
}
"""Of scikit-learn, of standardised bands."""
DEAL = 7
"""Seed of how blocks are dealt, which no option changes: figures are of the same folds."""


def deal(split: NDArray[Any], *, known: list[Any], block: int, folds: int) -> NDArray[Any]:
    """Return the part, 0 to ``folds`` - 1, of each pixel of the known folds; -1 = none."""
    rng, parts = np.random.default_rng(DEAL), np.full(split.shape, -1)
    inside = np.isin(split, np.hstack(known).astype(int))
    corners = [(r, c) for r in range(0, len(split), block) for c in range(0, split.shape[1], block)]
    boxes = [(slice(r, r + block), slice(c, c + block)) for r, c in corners]
    sizes, chance = np.zeros(folds), rng.random(folds) / 2
    for box in sorted(boxes, key=lambda box: -int(inside[box].sum())):
        part = int(np.argmin(sizes + chance))
        parts[box][inside[box]] = part
        sizes[part] += inside[box].sum()
    return parts


def split_of(parts: NDArray[Any], left_out: int, *, buffer: int) -> NDArray[np.uint8]:
    """Return the split of one fold; what is near another part is not trained on."""
    out = parts == left_out
    near = maximum_filter(out, 2 * buffer + 1)
    split = np.zeros(parts.shape, np.uint8)
    split[(parts >= 0) & ~near] = TRAIN
    split[out] = VALIDATION
    return split


def write_folds(recipe: Recipe, options: argparse.Namespace, folder: Path) -> list[list[str]]:
    """Write each fold's splits; return the overrides that make a recipe take them."""
    found: list[list[str]] = [[] for _ in range(options.folds)]
    for i, scene in enumerate(recipe.scenes):
        spec = scene.split
        if spec is None or spec.raster is None or spec.block is None:
            raise SystemExit(f"{options.recipe}: scene {i} has no split by a raster with a block")
        with rasterio.open(recipe.root / spec.raster) as file:
            values, profile = file.read(1), file.profile
        known = [spec.train, spec.validation]
        parts = deal(values, known=known, block=spec.block, folds=options.folds)
        profile.update(dtype="uint8", nodata=None)
        for fold, sets in enumerate(found):
            path = folder / f"split_{i}_{fold}.tif"
            with rasterio.open(path, "w", **profile) as file:
                file.write(split_of(parts, fold, buffer=options.buffer), 1)
            sets += [f"scenes.{i}.split.raster={path}", f"scenes.{i}.split.train={TRAIN}",
                     f"scenes.{i}.split.validation={VALIDATION}"]  # fmt: skip
    return found


def leave_out(recipe: Recipe, folder: Path, metrics: Mapping[str, TaskStatistics]) -> None:
    """Train on a fold; add labels and predictions of its left-out part."""
    fabric = start_fabric(recipe.training)
    with open_recipe(recipe) as opened:
        fit, _ = prepare(fabric, recipe, opened, folder)
        fit.run(SilentLog())
        network = fit.objective.network
        with fit.average.swapped_in(network):
            for view in fit.material.validation:
                trim = network.spec.patch // 2
                maps = predict_fold(network, view, trim=trim, device=fabric.device)
                for name, target in whole_targets(view).items():
                    metrics[name].update(target, maps[name])


def leave_out_by(model: str, recipe: Recipe, metrics: Mapping[str, TaskStatistics]) -> None:
    """Do what :func:`leave_out` does with a model of scikit-learn for each task."""
    with open_recipe(recipe) as opened:
        train, shown = (
            [gather(scene, fold, ()) for scene in opened.scenes] for fold in (TRAIN, VALIDATION)
        )
    for task in recipe.tasks_list():
        features, labels, _ = table(train, task)
        fitted = make_pipeline(StandardScaler(), MODELS[model](task)).fit(features, labels)
        features, labels, _ = table(shown, task)
        predicted = fitted.predict(features)
        if not task.classes and task.range is not None:
            predicted = predicted.clip(*task.range)
        metrics[task.name].update(labels, predicted)


def run(options: argparse.Namespace, seed: int, folds: list[list[str]]) -> dict[str, Any]:
    """Return the scores of one seed over all folds together, by task."""
    metrics: dict[str, TaskStatistics] = {}
    for sets in folds:
        chosen = [*options.overrides, *sets, f"training.seed={seed}"]
        recipe = load_recipe(options.recipe, data=options.data, overrides=chosen)
        to_the_end = {"validate_every": recipe.training.epochs, "patience": None}
        training = recipe.training.model_copy(update=to_the_end)
        recipe = recipe.model_copy(update={"training": training})
        metrics = metrics or {task.name: TaskStatistics(task) for task in recipe.tasks_list()}
        if options.model in MODELS:
            leave_out_by(options.model, recipe, metrics)
        else:
            with tempfile.TemporaryDirectory() as folder:
                leave_out(recipe, Path(folder), metrics)
    return {name: metric.compute() for name, metric in metrics.items()}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--model", choices=["network", *MODELS], default="network")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--buffer", type=int, default=1, help="pixels between two parts")
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    recipe = load_recipe(options.recipe, data=options.data, overrides=options.overrides)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        folds = write_folds(recipe, options, Path(folder))
        seeds = [run(options, seed, folds) for seed in range(options.seeds)]
    kept = ("overall_accuracy", "balanced_accuracy", "r2", "rmse", "n")
    means = {
        name: {k: round(float(np.mean([s[name][k] for s in seeds])), 4) for k in kept if k in first}
        for name, first in seeds[0].items()
    }
    scores = [round(selection_score(tasks), 4) for tasks in seeds]
    line = {
        "recipe": recipe.name, "model": options.model, "sets": options.overrides,
        "folds": options.folds, "buffer": options.buffer, "score": scores, "tasks": means,
        "cpu_seconds_each": round((time.process_time() - began) / (options.seeds * options.folds)),
        "commit": git_commit(Path(__file__).parent),
    }  # fmt: skip
    print(json.dumps(line), flush=True)
    if options.record is not None:
        append_result(options.record, line)


if __name__ == "__main__":
    main()

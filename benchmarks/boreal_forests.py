"""Two random forests on the synthetic forest scenes: the rivals of the networks.

    python benchmarks/boreal_forests.py [--recipe pipelines/boreal_demo.yaml] [--scene sample_data]
    python benchmarks/boreal_forests.py --recipe pipelines/boreal_campaign.yaml --fold test \
        --record docs/results/campaign.jsonl

Both train on the pixels of the training fold of the recipe's scenes. They are scored on every
labelled pixel of a scene whose seed the recipe does not have, or on a fold of the recipe's own
scenes, whose stands are not in the training fold:

* ``pixel``: the 20 first principal components of each pixel;
* ``spatial``: the same with their means over 5x5 and 15x15 pixels (valid ones only) added.

``trivial`` predicts the most frequent class, or the mean, of the training pixels. Prints JSON;
``--record FILE`` also appends a line of results a model, as ``hsimap train --record`` does;
``hsimap compare`` with that file puts them beside the networks of the same data.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from scipy.ndimage import uniform_filter
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from hsimap.evaluation import append_result, score_task, square_blocks
from hsimap.labels import TEST, TRAIN, VALIDATION
from hsimap.recipes import load_recipe, scene_files
from hsimap.tasks import Kind, encode_classes
from hsimap.training import git_commit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.tasks import Task

COMPONENTS = 20
WINDOWS = (5, 15)
TREES = 80
PIXELS = 24_000
"""Training pixels of all scenes together."""
BLOCK = 38
"""Side in pixels of the squares that standard errors are resampled over: about a stand."""
FOLDS = {"scene": None, "test": TEST, "validation": VALIDATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The rasters of one scene."""

    folder: Path

    def image(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return ``(y, x, band)`` stored values and ``(y, x)`` validity."""
        with rasterio.open(self.folder / "scene.tif") as file:
            values = np.moveaxis(file.read(), 0, -1)
            return values.astype(np.float32), (values != file.nodata).all(axis=-1)

    def target(self, task: Task) -> NDArray[np.float32]:
        """Return ``(y, x)`` class codes or values, NaN = no label."""
        name = "classes" if task.kind is Kind.CATEGORICAL else "variables"
        with rasterio.open(self.folder / f"{name}.tif") as file:
            values = file.read(file.descriptions.index(task.name) + 1).astype(np.float32)
        return np.where(values == 0, np.nan, values) if name == "classes" else values

    def pixels(self, fold: int | None) -> NDArray[np.bool_]:
        """Return ``(y, x)``: whether a pixel belongs to a stand of a fold; None = any."""
        with rasterio.open(self.folder / "split.tif") as file:
            folds = file.read(1)
            return folds > 0 if fold is None else folds == fold


def features(
    scores: NDArray[np.float32], valid: NDArray[np.bool_], windows: Sequence[int]
) -> NDArray[np.float32]:
    """Return the components of each pixel and their means over windows, ``(y, x, feature)``."""
    layers = [scores]
    share = valid.astype(np.float32)
    for side in windows:
        weight = np.maximum(uniform_filter(share, side, mode="constant"), 1e-6)
        total = uniform_filter(scores * share[..., None], (side, side, 1), mode="constant")
        layers.append(total / weight[..., None])
    return np.concatenate(layers, axis=-1)


def fit_components(places: Sequence[Place], rng: np.random.Generator) -> PCA:
    """Fit principal components on a sample of the training pixels."""
    rows = []
    for place in places:
        values, valid = place.image()
        pixels = values[valid & place.pixels(TRAIN)]
        rows.append(rng.choice(pixels, min(6000, len(pixels)), replace=False))
    return PCA(COMPONENTS, random_state=0).fit(np.concatenate(rows))


def project(pca: PCA, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return ``(y, x, component)``; 0 where invalid."""
    scores = np.zeros((*valid.shape, COMPONENTS), dtype=np.float32)
    scores[valid] = pca.transform(values[valid])
    return scores


def training_set(
    places: Sequence[Place], tasks: Sequence[Task], pca: PCA, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return ``(pixel, feature)`` with all features and ``(pixel, task)`` targets."""
    inputs, targets = [], []
    for place in places:
        values, valid = place.image()
        maps = np.stack([place.target(task) for task in tasks], axis=-1)
        usable = valid & place.pixels(TRAIN) & np.isfinite(maps).all(axis=-1)
        chosen = rng.choice(
            np.flatnonzero(usable), min(PIXELS // len(places), int(usable.sum())), replace=False
        )
        table = features(project(pca, values, valid), valid, WINDOWS)
        inputs.append(table.reshape(-1, table.shape[-1])[chosen])
        targets.append(maps.reshape(-1, len(tasks))[chosen])
    return np.concatenate(inputs), np.concatenate(targets)


def trivial(task: Task, targets: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the most frequent class, or the mean, ``n`` times."""
    if task.kind is Kind.CATEGORICAL:
        codes, counts = np.unique(targets, return_counts=True)
        return np.full(n, codes[counts.argmax()], dtype=np.float32)
    return np.full(n, targets.mean(), dtype=np.float32)


def forest(
    tasks: Sequence[Task],
    train: tuple[NDArray[np.float32], NDArray[np.float32]],
    rows: NDArray[np.float32],
    *,
    seed: int,
) -> Iterator[NDArray[np.float32]]:
    """Fit and predict task by task; all continuous tasks share one forest."""
    options = {
        "n_estimators": TREES, "min_samples_leaf": 5, "max_features": "sqrt",
        "n_jobs": 1, "random_state": seed,
    }  # fmt: skip
    values = [k for k, task in enumerate(tasks) if task.kind is not Kind.CATEGORICAL]
    shared = None
    if values:
        model = RandomForestRegressor(**options).fit(train[0], train[1][:, values])
        shared = model.predict(rows).reshape(len(rows), -1)
    for k, task in enumerate(tasks):
        if task.kind is not Kind.CATEGORICAL:
            yield shared[:, values.index(k)]
        else:
            model = RandomForestClassifier(class_weight="balanced_subsample", **options)
            yield model.fit(train[0], train[1][:, k]).predict(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The pixels that the forests are scored on."""

    rows: NDArray[np.float32]
    """``(pixel, feature)``."""
    truth: NDArray[np.float32]
    """``(pixel, task)``: class codes and values."""
    blocks: NDArray[np.int64]
    """``(pixel,)``: block of each, for standard errors."""


def shown(places: Sequence[Place], tasks: Sequence[Task], pca: PCA, fold: int | None) -> Shown:
    """Return the labelled pixels of a fold, None = of all."""
    rows, truth, blocks, offset = [], [], [], 0
    for place in places:
        values, valid = place.image()
        maps = np.stack([place.target(task) for task in tasks], axis=-1)
        use = valid & place.pixels(fold) & np.isfinite(maps).all(axis=-1)
        rows.append(features(project(pca, values, valid), valid, WINDOWS)[use])
        truth.append(maps[use])
        block = square_blocks(valid.shape, size=BLOCK)
        blocks.append(block[use] + offset)
        offset += int(block.max()) + 1
    return Shown(
        rows=np.concatenate(rows), truth=np.concatenate(truth), blocks=np.concatenate(blocks)
    )


def score(
    task: Task, truth: NDArray[np.float32], found: NDArray[np.float32], blocks: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the scores of one task."""
    if task.kind is Kind.CATEGORICAL:
        truth, found = (encode_classes(task, codes.astype(np.int64)) for codes in (truth, found))
    return score_task(task, truth, found, blocks=blocks).as_dict()


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Train both forests on a recipe's scenes and score them."""
    began = time.process_time()
    recipe = load_recipe(options.recipe)
    tasks = recipe.tasks_list()
    places = [Place(folder=files.image.parent) for files in scene_files(recipe)]
    rng = np.random.default_rng(options.seed)
    pca = fit_components(places, rng)
    train = training_set(places, tasks, pca, rng)
    fold = FOLDS[options.fold]
    held = shown([Place(folder=options.scene)] if fold is None else places, tasks, pca, fold)
    pixel = (train[0][:, :COMPONENTS], train[1])
    found: dict[str, Iterator[NDArray[np.float32]]] = {
        "trivial": (trivial(t, train[1][:, k], len(held.rows)) for k, t in enumerate(tasks)),
        "pixel": forest(tasks, pixel, held.rows[:, :COMPONENTS], seed=options.seed),
        "spatial": forest(tasks, train, held.rows, seed=options.seed),
    }
    shared = time.process_time() - began
    scores, cpu_seconds = {}, {}
    for name, each in found.items():
        began = time.process_time()
        scores[name] = {
            task.name: score(task, held.truth[:, k], p, held.blocks)
            for k, (task, p) in enumerate(zip(tasks, each, strict=True))
        }
        cpu_seconds[name] = round(shared + time.process_time() - began, 1)
    where = str(options.scene) if fold is None else options.fold
    facts = {"recipe": recipe.name, "recipe_digest": recipe.digest, "seed": options.seed}
    facts |= {"data_digest": recipe.data_digest, "cpu_seconds": cpu_seconds}
    return {**facts, "fold": where, "pixels": len(held.rows), "scores": scores}


def record(path: Path, result: dict[str, Any]) -> None:
    """Append a line of results a model."""
    keys = ("recipe", "recipe_digest", "data_digest", "seed", "fold", "seconds")
    facts = {key: result[key] for key in keys}
    facts |= {"trees": TREES, "commit": git_commit(Path(__file__).parent)}
    for name, tasks in result["scores"].items():
        model = name if name == "trivial" else f"{name} random forest"
        cost = {"cpu_seconds": result["cpu_seconds"][name]}
        append_result(path, {"model": model, **facts, **cost, "tasks": tasks})


def main() -> None:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=Path("pipelines/boreal_demo.yaml"))
    parser.add_argument("--scene", type=Path, default=Path("sample_data"))
    parser.add_argument("--fold", choices=FOLDS, default="scene")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    start = time.perf_counter()
    result = compare(options)
    result["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(result, indent=1))
    if options.record is not None:
        record(options.record, result)


if __name__ == "__main__":
    main()

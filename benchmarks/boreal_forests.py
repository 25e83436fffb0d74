"""Two random forests on the synthetic forest scenes: the rivals of the shipped demo model.

    python benchmarks/boreal_forests.py [--recipe pipelines/boreal_demo.yaml] [--scene sample_data]

Both train on the pixels of the training fold of the recipe's scenes and are scored on every
labelled pixel of a scene whose seed the recipe does not have:

* ``pixel``: the 20 first principal components of each pixel;
* ``spatial``: the same with their means over 5x5 and 15x15 pixels (valid ones only) added.

``trivial`` predicts the most frequent class, or the mean, of the training pixels. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from scipy.ndimage import uniform_filter
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import balanced_accuracy_score, r2_score

from hsimap.labels import TRAIN
from hsimap.recipes import load_recipe, scene_files
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.tasks import Task

COMPONENTS = 20
WINDOWS = (5, 15)
TREES = 80
PIXELS = 24_000
"""Training pixels of all scenes together."""


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

    def train_pixels(self) -> NDArray[np.bool_]:
        """Return ``(y, x)``: whether a pixel belongs to a stand of the training fold."""
        with rasterio.open(self.folder / "split.tif") as file:
            return file.read(1) == TRAIN


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
        pixels = values[valid & place.train_pixels()]
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
        usable = valid & place.train_pixels() & np.isfinite(maps).all(axis=-1)
        chosen = rng.choice(
            np.flatnonzero(usable), min(PIXELS // len(places), int(usable.sum())), replace=False
        )
        table = features(project(pca, values, valid), valid, WINDOWS)
        inputs.append(table.reshape(-1, table.shape[-1])[chosen])
        targets.append(maps.reshape(-1, len(tasks))[chosen])
    return np.concatenate(inputs), np.concatenate(targets)


def score(task: Task, target: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, float]:
    """Return the scores of one task."""
    if task.kind is Kind.CATEGORICAL:
        overall = float((target == found).mean())
        return {
            "overall_accuracy": overall,
            "balanced_accuracy": float(balanced_accuracy_score(target, found)),
        }
    rmse = float(np.sqrt(np.mean((target - found) ** 2)))
    return {"r2": float(r2_score(target, found)), "rmse": rmse}


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
) -> Iterator[NDArray[np.float32]]:
    """Fit and predict task by task; all continuous tasks share one forest."""
    options = {
        "n_estimators": TREES, "min_samples_leaf": 5, "max_features": "sqrt",
        "n_jobs": 1, "random_state": 0,
    }  # fmt: skip
    values = [k for k, task in enumerate(tasks) if task.kind is not Kind.CATEGORICAL]
    shared = RandomForestRegressor(**options).fit(train[0], train[1][:, values]).predict(rows)
    for k, task in enumerate(tasks):
        if task.kind is not Kind.CATEGORICAL:
            yield shared[:, values.index(k)]
        else:
            model = RandomForestClassifier(class_weight="balanced_subsample", **options)
            yield model.fit(train[0], train[1][:, k]).predict(rows)


def compare(recipe_path: Path, scene: Path) -> dict[str, object]:
    """Train both forests on a recipe's scenes and score them on a scene."""
    recipe = load_recipe(recipe_path)
    tasks = recipe.tasks_list()
    places = [Place(folder=files.image.parent) for files in scene_files(recipe)]
    rng = np.random.default_rng(0)
    pca = fit_components(places, rng)
    train = training_set(places, tasks, pca, rng)
    target = Place(folder=scene)
    values, valid = target.image()
    table = features(project(pca, values, valid), valid, WINDOWS)
    maps = np.stack([target.target(task) for task in tasks], axis=-1)
    use = valid & np.isfinite(maps).all(axis=-1)
    rows, truth = table[use], maps[use]
    found: dict[str, Iterator[NDArray[np.float32]]] = {
        "trivial": (trivial(t, train[1][:, k], len(rows)) for k, t in enumerate(tasks)),
        "pixel": forest(tasks, (train[0][:, :COMPONENTS], train[1]), rows[:, :COMPONENTS]),
        "spatial": forest(tasks, train, rows),
    }
    scores = {
        name: {
            task.name: score(task, truth[:, k], p)
            for k, (task, p) in enumerate(zip(tasks, each, strict=True))
        }
        for name, each in found.items()
    }
    return {"recipe": recipe.name, "scene": str(scene), "pixels": len(rows), "scores": scores}


def main() -> None:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", type=Path, default=Path("pipelines/boreal_demo.yaml"))
    parser.add_argument("--scene", type=Path, default=Path("sample_data"))
    arguments = parser.parse_args()
    start = time.perf_counter()
    result = compare(arguments.recipe, arguments.scene)
    print(json.dumps(result | {"seconds": round(time.perf_counter() - start, 1)}, indent=1))


if __name__ == "__main__":
    main()

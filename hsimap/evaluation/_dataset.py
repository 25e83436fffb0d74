"""What the labels of a recipe are: distributions, folds and their leaks, separability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import distance_transform_cdt

from hsimap.evaluation._registration import LabelOffset, label_offset
from hsimap.evaluation._separability import ClassMoments, Separability, separability
from hsimap.labels import TEST, TRAIN, VALIDATION
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.evaluation._fold import FoldScene
    from hsimap.tasks import Task

FOLDS: Final = {"training": TRAIN, "validation": VALIDATION, "test": TEST}
VALUE_BINS: Final = 2000
"""Of the histograms of values; quantiles are exact to one of them."""
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_WINDOW: Final = 256
_MOST_WINDOWS: Final = 1024
"""Windows whose spectra are read for the separability, evenly spread."""
_SIDE: Final = 600
"""Most pixels along a side of the map of the folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Labels of one task, by fold."""

    task: Task
    counts: Mapping[str, NDArray[np.float64]]
    """Fold to ``(class,)`` pixels, or to ``(bin,)`` pixels by value."""
    edges: NDArray[np.float64] | None
    """``(bin + 1,)`` of a continuous task."""
    moments: Mapping[str, tuple[float, float]]
    """Fold to mean and standard deviation of a continuous task; empty otherwise."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        folds: dict[str, dict[str, Any]] = {}
        for fold, counts in self.counts.items():
            total = float(counts.sum())
            folds[fold] = {"pixels": int(total)}
            if self.edges is None:
                labels = self.task.classes
                folds[fold]["classes"] = {
                    label.name: int(n) for label, n in zip(labels, counts, strict=True)
                }
            elif total:
                mean, std = self.moments[fold]
                folds[fold] |= {"mean": mean, "std": std} | self.quantiles(fold)
        return {"kind": self.task.kind.value, "unit": self.task.unit, "folds": folds}

    def quantiles(self, fold: str) -> dict[str, float]:
        """Return quantiles of a continuous task from its histogram, by name as ``q05``."""
        if self.edges is None or not self.counts[fold].sum():
            return {}
        reached = np.cumsum(self.counts[fold]) / self.counts[fold].sum()
        values = np.interp(_QUANTILES, np.concatenate([[0.0], reached]), self.edges)
        return {
            f"q{100 * q:02.0f}": float(value) for q, value in zip(_QUANTILES, values, strict=True)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneFolds:
    """The folds of one scene, and what crosses between them."""

    scene: str
    shape: tuple[int, int]
    pixels: Mapping[str, int]
    """By fold."""
    stands: Mapping[str, int]
    """Stands by fold; empty without stands."""
    shared_stands: int
    """Stands with pixels in more than one fold: labels of a stand are alike, so they leak."""
    nearest: int | None
    """Pixels (chessboard) between a test pixel and the nearest training pixel; None without."""
    within_window: float | None
    """Share of the test pixels whose own window, of the training patch's size, reaches training
    pixels."""
    picture: NDArray[np.uint8]
    """``(y, x)`` fold codes, thinned."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "size": list(self.shape),
            "pixels": dict(self.pixels),
            "stands": dict(self.stands),
            "stands_in_several_folds": self.shared_stands,
            "nearest_training_pixel_to_test_px": self.nearest,
            "test_pixels_with_training_pixels_in_window": self.within_window,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The analysis of a recipe's labels."""

    patch: int
    """Side of a training window in pixels."""
    distributions: tuple[Distribution, ...]
    separabilities: tuple[Separability, ...]
    """Of the training pixels; tasks with too few are left out."""
    scenes: tuple[SceneFolds, ...]
    offsets: tuple[LabelOffset, ...]
    """Where labels lie beside the image; scenes with too few labels are left out."""
    foreign_share: float
    """Share of the pixels in training windows that belong to other folds."""

    @property
    def leaks(self) -> tuple[str, ...]:
        """Return what lets labels of one fold help another, a sentence each."""
        return tuple(
            f"{scene.scene}: {scene.shared_stands} stands have pixels in more than one fold"
            for scene in self.scenes
            if scene.shared_stands
        )

    @property
    def verdict(self) -> str:
        """Return one sentence on the leaks."""
        if self.leaks:
            return f"Leak: {'; '.join(self.leaks)}."
        if any(scene.stands for scene in self.scenes):
            return "No leak: no stand lies in two folds, and no pixel."
        return "No pixel lies in two folds; there are no stand ids to check."

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "training_window_px": self.patch,
            "tasks": {found.task.name: found.as_dict() for found in self.distributions},
            "separability": {found.task.name: found.as_dict() for found in self.separabilities},
            "scenes": {scene.scene: scene.as_dict() for scene in self.scenes},
            "label_offsets": {found.scene: found.as_dict() for found in self.offsets},
            "share_of_training_windows_in_other_folds": self.foreign_share,
            "leaks": list(self.leaks),
        }


def describe_dataset(
    scenes: Sequence[FoldScene], tasks: Sequence[Task], *, patch: int, foreign_share: float
) -> Dataset:
    """Analyse the labels of open scenes.

    Parameters
    ----------
    scenes : sequence of FoldScene
        All scenes of a recipe.
    tasks : sequence of Task
        Its tasks.
    patch : int
        Side of a training window in pixels.
    foreign_share : float
        Share of the pixels in training windows that belong to other folds.
    """
    known = [task for task in tasks if task.kind in {Kind.CATEGORICAL, Kind.CONTINUOUS}]
    offsets = (label_offset(scene, known) for scene in scenes)
    return Dataset(
        patch=patch,
        distributions=tuple(_distributions(scenes, known)),
        separabilities=tuple(_separabilities(scenes, known)),
        scenes=tuple(_folds_of(scene, patch) for scene in scenes),
        offsets=tuple(found for found in offsets if found is not None),
        foreign_share=foreign_share,
    )


def _labels(scenes: Sequence[FoldScene], fold: int) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield task and ``(n,)`` known labels, window by window."""
    for scene in scenes:
        view = scene.view(fold)
        for window in view.windows(max(view.shape)):
            for name, values in view.targets(window).items():
                yield name, values[np.isfinite(values) if values.dtype.kind == "f" else values >= 0]


def _distributions(scenes: Sequence[FoldScene], tasks: Sequence[Task]) -> Iterator[Distribution]:
    edges = _value_edges(scenes, [task.name for task in tasks if not task.classes])
    bins = {task.name: task.channels if task.classes else VALUE_BINS for task in tasks}
    counts = {name: {fold: np.zeros(n) for fold in FOLDS} for name, n in bins.items()}
    sums = {name: {fold: np.zeros(3) for fold in FOLDS} for name in edges}
    for fold, code in FOLDS.items():
        for name, values in _labels(scenes, code):
            if name in edges:
                exact = values.astype(np.float64)
                counts[name][fold] += np.histogram(exact, edges[name])[0]
                sums[name][fold] += (exact.size, exact.sum(), (exact**2).sum())
            elif name in counts:
                counts[name][fold] += np.bincount(values, minlength=bins[name])
    for task in tasks:
        found = {fold: _mean_std(total) for fold, total in sums.get(task.name, {}).items()}
        yield Distribution(
            task=task, counts=counts[task.name], edges=edges.get(task.name), moments=found
        )


def _value_edges(
    scenes: Sequence[FoldScene], names: Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    ends: dict[str, list[float]] = {name: [] for name in names}
    for code in FOLDS.values() if ends else ():
        for name, values in _labels(scenes, code):
            if name in ends and values.size:
                ends[name] += [float(values.min()), float(values.max())]
    return {name: _edges(found) for name, found in ends.items()}


def _edges(ends: Sequence[float]) -> NDArray[np.float64]:
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    return np.linspace(low, high if high > low else low + 1, VALUE_BINS + 1)


def _mean_std(sums: NDArray[np.float64]) -> tuple[float, float]:
    n, total, squares = (float(value) for value in sums)
    if not n:
        return float("nan"), float("nan")
    return total / n, max(squares / n - (total / n) ** 2, 0.0) ** 0.5


def _separabilities(scenes: Sequence[FoldScene], tasks: Sequence[Task]) -> Iterator[Separability]:
    classes = [task for task in tasks if task.classes]
    moments: dict[str, ClassMoments] = {}
    views = [scene.view(TRAIN) for scene in scenes]
    windows = [(view, window) for view in views for window in view.windows(_WINDOW)]
    for view, window in windows[:: -(-len(windows) // _MOST_WINDOWS) or 1] if classes else ():
        stored, valid = view.read(window)
        spectra, targets = view.to_network(stored), view.targets(window)
        for task in classes:
            use = valid & (targets[task.name] >= 0)
            if task.name not in moments:
                moments[task.name] = ClassMoments(task.channels, len(spectra))
            moments[task.name].add(targets[task.name][use], spectra[:, use].astype(np.float64))
    for task in classes:
        if task.name in moments and (found := separability(task, moments[task.name])) is not None:
            yield found


def _folds_of(scene: FoldScene, patch: int) -> SceneFolds:
    folds, height, width = scene.folds, scene.folds.shape[0], scene.folds.shape[1]
    held: dict[str, set[int]] = {}
    if scene.stands is not None:
        for name, code in FOLDS.items():
            held[name] = set(np.unique(scene.stands[folds == code]).tolist()) - {0}
    every = [stand for stands in held.values() for stand in stands]
    nearest, within = None, None
    if (folds == TRAIN).any() and (folds == TEST).any():
        distance = distance_transform_cdt(folds != TRAIN, metric="chessboard")
        from_test = distance[folds == TEST]
        nearest, within = int(from_test.min()), float((from_test <= patch // 2).mean())
    step = max(1, -(-max(height, width) // _SIDE))
    return SceneFolds(
        scene=scene.name,
        shape=(height, width),
        pixels={name: int((folds == code).sum()) for name, code in FOLDS.items()},
        stands={name: len(stands) for name, stands in held.items()},
        shared_stands=len(every) - len(set(every)),
        nearest=nearest,
        within_window=within,
        picture=folds[::step, ::step].astype(np.uint8),
    )

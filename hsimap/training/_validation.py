"""Map the labelled parts of a fold with a live network, and score them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torchmetrics import Metric

from hsimap.evaluation import class_counts, class_scores, value_scores, value_sums
from hsimap.evaluation._scores import N_SUMS
from hsimap.geometry import round_up
from hsimap.mapping.engine import Engine
from hsimap.mapping.flags import Flagged
from hsimap.mapping.tiling import TilePlan
from hsimap.tasks import Kind, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.geometry import Window
    from hsimap.networks import MappingNetwork
    from hsimap.training._folds import FoldView

_LARGEST: Final = 256
"""Kept side of a tile of the prediction, in pixels."""


class LiveRuntime:
    """A network in memory as a runtime: the graph that will be deployed, in evaluation mode.

    Parameters
    ----------
    network : MappingNetwork
        The network.
    device : device
        Where it lies.
    """

    def __init__(self, network: MappingNetwork, device: torch.device) -> None:
        self._network, self._device = network, device
        self._dtype = next(network.parameters()).dtype

    def describe(self) -> dict[str, str]:
        """Return what computes."""
        return {"runtime": "torch", "device": str(self._device)}

    @torch.inference_mode()
    def forward(
        self, image: NDArray[np.generic], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Return each output of ``(batch, band, y, x)`` pixels as ``(batch, channel, y, x)``."""
        self._network.eval()
        pixels, mask = (
            torch.from_numpy(array).to(self._device, self._dtype) for array in (image, valid)
        )
        outputs = self._network(pixels, mask)
        names = [output.name for output in self._network.outputs]
        return {
            name: value.float().cpu().numpy() for name, value in zip(names, outputs, strict=True)
        }

    def close(self) -> None:
        """Do nothing: the network belongs to the caller."""


class TaskStatistics(Metric):  # type: ignore[misc]  # torchmetrics has no types
    """Additive statistics of one task, summed over scenes and processes.

    Parameters
    ----------
    task : Task
        Categorical or continuous.
    """

    full_state_update = False

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._task = task
        size = task.channels**2 if task.kind is Kind.CATEGORICAL else N_SUMS
        zeros = torch.zeros(size, dtype=torch.float64)
        self.add_state("total", default=zeros, dist_reduce_fx="sum")

    def update(self, target: NDArray[Any], predicted: NDArray[Any]) -> None:
        """Add pixels; those without a label or without a prediction count for nothing."""
        if self._task.kind is Kind.CATEGORICAL:
            use = (target >= 0) & (predicted >= 0)
            n_classes = self._task.channels
            found = class_counts(target[use], predicted[use], n_classes=n_classes)
        else:
            use = np.isfinite(target) & np.isfinite(predicted)
            found = value_sums(target[use], predicted[use])
        self.total += torch.from_numpy(found).to(self.total.device)

    def compute(self) -> dict[str, float]:
        """Return the scores; NaN without a pixel."""
        total = self.total.cpu().numpy()
        if self._task.kind is Kind.CATEGORICAL:
            side = self._task.channels
            scores = class_scores(total.reshape(side, side))
        else:
            scores = value_scores(total)
        return {name: float(value) for name, value in scores.items()}


def predict_fold(
    network: MappingNetwork, view: FoldView, *, trim: int, device: torch.device
) -> dict[str, NDArray[Any]]:
    """Map the strips of a scene that hold pixels of a fold, as the mapping engine does.

    Parameters
    ----------
    network : MappingNetwork
        The network.
    view : FoldView
        The scene as the fold sees it.
    trim : int
        Context of a tile on each side, in pixels; rounded up to the alignment.
    device : device
        Where the network lies.

    Returns
    -------
    dict
        Task to ``(y, x)``: int64 channel index, -1 = not mapped; or float32 value, NaN = not
        mapped.
    """
    maps = {task.name: blank(task, view.shape) for task in network.spec.tasks}
    for window, part in predict_strips(network, view, trim=trim, device=device):
        for name, values in part.items():
            maps[name][window.slices] = values
    return maps


def predict_strips(
    network: MappingNetwork, view: FoldView, *, trim: int, device: torch.device
) -> Iterator[tuple[Window, dict[str, NDArray[Any]]]]:
    """Map one strip after the other; parameters and maps as in :func:`predict_fold`.

    Yields
    ------
    window : Window
        The rows of the strip, over the whole width.
    maps : dict
        Task to ``(y, x)`` of the window.
    """
    tasks = {task.name: task for task in network.spec.tasks}
    step = network.alignment
    kept = min(round_up(max(view.shape), step), round_up(_LARGEST, step))
    trim = round_up(max(trim, (network.spec.patch - kept + 1) // 2), step)
    plan = TilePlan(
        height=view.shape[0], width=view.shape[1], kept=kept, trim=trim, ramp=0, alignment=step
    )
    runtime = LiveRuntime(network, device)
    engine = Engine(plan, Flagged(view), runtime=runtime, outputs=network.outputs)
    for strip in engine.strips(_wanted(plan, view)):
        window = plan.strip(strip.index)
        maps = {name: blank(task, (window.height, window.width)) for name, task in tasks.items()}
        for output in network.outputs:
            values = decide(tasks[output.task], strip.values[output.name])
            maps[output.task][strip.valid] = values[strip.valid]
        yield window, maps


def score_views(
    network: MappingNetwork, views: Sequence[FoldView], *, trim: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Return the scores of each task over a fold of all scenes, strip by strip."""
    metrics = {task.name: TaskStatistics(task) for task in network.spec.tasks}
    for view in views:
        for window, maps in predict_strips(network, view, trim=trim, device=device):
            for name, target in view.targets(window).items():
                metrics[name].update(target, maps[name])
    return {name: metric.compute() for name, metric in metrics.items()}


def selection_score(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Return the one number that chooses the epoch.

    The mean over tasks of (overall + balanced accuracy) / 2 for a categorical task and of R², not
    less than -1, for a continuous one; tasks without a label in the fold are left out.

    Examples
    --------
    >>> selection_score(
    ...     {"a": {"overall_accuracy": 0.8, "balanced_accuracy": 0.6}, "b": {"r2": 0.5}}
    ... )
    0.6
    """
    values = []
    for found in scores.values():
        if "r2" in found:
            values.append(max(found["r2"], -1.0))
        else:
            values.append((found["overall_accuracy"] + found["balanced_accuracy"]) / 2)
    known = [value for value in values if np.isfinite(value)]
    return round(sum(known) / len(known), 9) if known else float("nan")


def whole_targets(view: FoldView) -> dict[str, NDArray[Any]]:
    """Return the labels of a fold over its whole scene, ``(y, x)`` by task."""
    parts: dict[str, NDArray[Any]] = {}
    for window in view.windows(max(view.shape)):
        for name, values in view.targets(window).items():
            if name not in parts:
                none = np.nan if values.dtype.kind == "f" else -1
                parts[name] = np.full(view.shape, none, dtype=values.dtype)
            parts[name][window.slices] = values
    return parts


def _wanted(plan: TilePlan, view: FoldView) -> list[int]:
    strips = {
        row // plan.kept
        for window in view.windows(plan.kept)
        for row in (window.row, window.row + window.height - 1)
    }
    return sorted(strips)


def blank(task: Task, shape: tuple[int, int]) -> NDArray[Any]:
    """Return a map without a class or a value: int64 of -1, or float32 of NaN."""
    if task.kind is Kind.CATEGORICAL:
        return np.full(shape, -1, dtype=np.int64)
    return np.full(shape, np.nan, dtype=np.float32)


def decide(task: Task, values: NDArray[np.float32]) -> NDArray[Any]:
    """Return the class of highest probability, or the value, of ``(channel, y, x)``."""
    decided: NDArray[Any] = values.argmax(axis=0) if task.kind is Kind.CATEGORICAL else values[0]
    return decided

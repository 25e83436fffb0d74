"""Measure on the validation fold how sure a trained network may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hsimap.bundle import Calibration, Intervals, Sharpness
from hsimap.evaluation import (
    Geometry,
    UnitSample,
    fit_intervals,
    fit_temperature,
    labelled,
    map_fold,
    unit_ids,
)
from hsimap.labels import VALIDATION
from hsimap.tasks import Kind
from hsimap.training._validation import LiveRuntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from hsimap.evaluation import FoldStrip
    from hsimap.networks import MappingNetwork
    from hsimap.tasks import Task
    from hsimap.training._folds import LabelledScene

_LEAST_UNITS = 4
"""Fewer fix neither a temperature nor an interval."""


def calibrate(
    network: MappingNetwork,
    scenes: Sequence[LabelledScene],
    *,
    trim: int,
    device: torch.device,
    fold: int = VALIDATION,
) -> Calibration | None:
    """Fit intervals and temperatures to the stands, or the blocks, of the validation fold.

    Parameters
    ----------
    network : MappingNetwork
        With its final weights and temperature 1.
    scenes : sequence of LabelledScene
        All scenes; each is seen as the fold sees it.
    trim : int
        Context of a tile on each side, in pixels.
    device : device
        Where the network lies.
    fold : int
        2 = validation.

    Returns
    -------
    Calibration or None
        None where the fold has labels in too few units for anything.
    """
    tasks = {task.name: task for task in network.spec.tasks}
    found = gather(network, scenes, trim=trim, device=device, fold=fold)
    intervals: dict[str, Intervals] = {}
    temperature: dict[str, float] = {}
    sharpness: dict[str, Sharpness] = {}
    for name, sample in found.items():
        units, rows = sample.pixels()
        if len(np.unique(units)) < _LEAST_UNITS:
            continue
        if tasks[name].kind is Kind.CATEGORICAL:
            target = rows[:, 0].astype(np.int64)
            temperature[name], sharpness[name] = fit_temperature(rows[:, 1:], target, units)
        elif (fitted := fit_intervals(rows[:, 1], rows[:, 0], units)) is not None:
            intervals[name] = fitted
    if not intervals and not temperature:
        return None
    return Calibration(
        unit="stand" if unit_ids(scenes)[1] == "stand" else "block",
        intervals=intervals,
        temperature=temperature,
        sharpness=sharpness,
    )


def apply_temperature(network: MappingNetwork, calibration: Calibration) -> None:
    """Make the network divide its logits by the fitted temperatures, in place."""
    network.spec = network.spec.model_copy(update={"temperature": dict(calibration.temperature)})


def gather(
    network: MappingNetwork,
    scenes: Sequence[LabelledScene],
    *,
    trim: int,
    device: torch.device,
    fold: int,
) -> dict[str, UnitSample]:
    """Draw pixels of every unit of a fold: target, then probabilities or the value."""
    geometry = Geometry(
        outputs=network.outputs, alignment=network.alignment, patch=network.spec.patch, trim=trim
    )
    tasks = {
        task.name: task
        for task in network.spec.tasks
        if task.kind in {Kind.CATEGORICAL, Kind.CONTINUOUS}
    }
    samples = {
        name: UnitSample(1 + task.channels, seed=index)
        for index, (name, task) in enumerate(tasks.items())
    }
    runtime = LiveRuntime(network, device)
    for scene, units in zip(scenes, unit_ids(scenes)[0], strict=True):
        for strip in map_fold(scene.view(fold), runtime, geometry):
            for name, sample in samples.items():
                _draw(sample, tasks[name], strip, units=units[strip.rows])
    return samples


def _draw(sample: UnitSample, task: Task, strip: FoldStrip, *, units: NDArray[np.int64]) -> None:
    targets: Mapping[str, NDArray[Any]] = strip.targets
    target, values = targets[task.name], strip.values[task.name]
    use = labelled(task, target) & strip.valid & np.isfinite(values).all(axis=0) & (units >= 0)
    rows = np.concatenate([target[use][None].astype(np.float64), values[:, use]])
    sample.add(units[use], rows.T)

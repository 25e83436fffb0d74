"""From a trained network to a bundle: scores on the test fold, seams, ONNX, provenance."""

from __future__ import annotations

import platform
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors.torch import save as save_safetensors

from hsimap.bundle import Bundle, BundleFields, TileDefaults
from hsimap.evaluation import TaskScores, score_stands, score_task, square_blocks
from hsimap.geometry import round_up
from hsimap.labels import TEST
from hsimap.runtimes import export_onnx
from hsimap.runtimes._memory import measure_activations
from hsimap.training._calibrate import apply_temperature, calibrate
from hsimap.training._commit import git_commit
from hsimap.training._complete import describe_input
from hsimap.training._seams import choose_crop, measure_seams
from hsimap.training._validation import LiveRuntime, predict_fold, whole_targets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from hsimap.networks import MappingNetwork
    from hsimap.recipes import Recipe
    from hsimap.runtimes import ParityReport
    from hsimap.tasks import Task
    from hsimap.training._folds import LabelledScene
    from hsimap.training._scenes import RecipeScenes
    from hsimap.training._seams import Seams
    from hsimap.training._statistics import TrainStatistics

_LARGEST_TILE: Final = 1024
_PACKAGES: Final = ("hsimap", "torch", "lightning", "numpy", "onnx")
"""Whose versions go into the provenance."""


def score_test(
    network: MappingNetwork,
    scenes: Sequence[LabelledScene],
    *,
    trim: int,
    device: torch.device,
    fold: int = TEST,
) -> dict[str, dict[str, Any]]:
    """Score every task over a fold of all scenes, by pixel and, where there are stands, by stand.

    Parameters
    ----------
    network : MappingNetwork
        The network.
    scenes : sequence of LabelledScene
        All scenes; each is seen as the fold sees it.
    trim : int
        Context of a tile on each side, in pixels.
    device : device
        Where the network lies.
    fold : int
        3 = test.

    Returns
    -------
    dict
        Task to scores with standard errors, plain JSON values.
    """
    parts: dict[str, list[tuple[NDArray[Any], ...]]] = {}
    offset = 0
    for scene in scenes:
        view = scene.view(fold)
        maps = predict_fold(network, view, trim=trim, device=device)
        blocks = square_blocks(view.shape, size=scene.block) + offset
        stands = np.zeros(view.shape, dtype=np.int64) if scene.stands is None else scene.stands
        stands = np.where(stands > 0, stands + offset, 0)
        offset = int(max(blocks.max(), stands.max())) + 1
        for name, target in whole_targets(view).items():
            arrays = (target, maps[name], blocks, stands)
            parts.setdefault(name, []).append(tuple(array.ravel() for array in arrays))
    tasks = {task.name: task for task in network.spec.tasks}
    return {name: _scores(tasks[name], found) for name, found in parts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network with its final weights, and where it comes from."""

    network: MappingNetwork
    recipe: Recipe
    opened: RecipeScenes
    statistics: TrainStatistics
    facts: Mapping[str, Any]
    """Provenance of the run: seconds, threads, best epoch and such."""


def save_bundle(out: Path, trained: Trained, *, overwrite: bool) -> Bundle:
    """Score, measure, export and write a trained network.

    Parameters
    ----------
    out : Path
        The model folder.
    trained : Trained
        The network.
    overwrite : bool
        Replace a bundle that is there.

    Raises
    ------
    VerificationError
        If the ONNX graph does not agree with the network.
    StorageError
        If the disk refuses.
    """
    started = time.process_time()
    network, recipe, opened = trained.network, trained.recipe, trained.opened
    device = next(network.parameters()).device
    scene = opened.scenes[0]
    crop = choose_crop(scene.source, scene.folds.shape)
    seams = measure_seams(network, LiveRuntime(network, device), scene.source, crop)
    calibration = calibrate(network, opened.scenes, trim=seams.trim, device=device)
    if calibration is not None:
        apply_temperature(network, calibration)
    spectra, spare = describe_input(network, recipe, opened, trained.statistics)
    metrics = score_test(network, opened.scenes, trim=seams.trim, device=device)
    onnx, parity = export_onnx(network)
    fields = BundleFields(
        name=recipe.name,
        description=recipe.description,
        input=spectra,
        tasks=network.spec.tasks,
        outputs=network.outputs,
        alignment=network.alignment,
        reach=network.reach,
        patch=network.spec.patch,
        tile=TileDefaults(
            trim=seams.trim, ramp=seams.ramp, max_tile=round_up(_LARGEST_TILE, network.alignment)
        ),
        network=network.spec.model_dump(mode="json"),
        metrics=metrics,
        calibration=calibration,
        provenance=_provenance(recipe, seams, parity)
        | dict(trained.facts)
        | spare
        | {"cpu_seconds_finishing": round(time.process_time() - started, 3)},
    )
    weights = {name: _stored(value) for name, value in network.state_dict().items()}
    files = {"weights.safetensors": save_safetensors(weights), "network.onnx": onnx}
    with tempfile.TemporaryDirectory(prefix="hsimap-") as folder:
        draft = Bundle.save(Path(folder) / "draft", fields, files)
        needed = measure_activations(draft)
    fields = fields.model_copy(update=needed)
    return Bundle.save(out, fields, files, overwrite=overwrite)


def result_of(bundle: Bundle) -> dict[str, Any]:
    """Return the line that ``hsimap train --record`` appends: who, what, how well.

    Parameters
    ----------
    bundle : Bundle
        As :func:`hsimap.training.train` returns it.
    """
    told = bundle.manifest.provenance
    keys = (
        "recipe", "recipe_digest", "seed", "commit", "context", "foreign_share_of_training_windows",
        "parameters", "best_epoch", "validation_score", "seconds", "threads", "cpu", "versions",
        "data_digest", "macs_per_pixel", "epochs", "cpu_seconds", "cpu_seconds_finishing",
    )  # fmt: skip
    line: dict[str, Any] = {key: told[key] for key in keys if key in told}
    return line | {"bundle": bundle.digest, "fold": "test", "tasks": bundle.manifest.metrics}


def _stored(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.float() if value.is_floating_point() else value


def _scores(task: Task, found: Sequence[tuple[NDArray[Any], ...]]) -> dict[str, Any]:
    target, predicted, blocks, stands = (np.concatenate(part) for part in zip(*found, strict=True))
    scores: TaskScores = score_task(task, target, predicted, blocks=blocks)
    record = scores.as_dict()
    if stands.any():
        record["by_stand"] = score_stands(task, target, predicted, stands=stands).as_dict()
    return record


def _provenance(recipe: Recipe, seams: Seams, parity: ParityReport) -> dict[str, Any]:
    return {
        "recipe": recipe.name,
        "recipe_digest": recipe.digest,
        "data_digest": recipe.data_digest,
        "seed": recipe.training.seed,
        "settings": {
            "training": recipe.training.model_dump(mode="json"),
            "input": recipe.input.model_dump(mode="json"),
        },
        "commit": git_commit(Path(__file__).parent),
        "versions": {name: version(name) for name in _PACKAGES},
        "cpu": platform.processor() or platform.machine(),
        "seams": {
            "bar": "99.9th percentile of |tiled - whole| in standard deviations of the output",
            "tile": seams.tile,
            "ramp": seams.ramp,
            "tried": {str(trim): dict(errors) for trim, errors in seams.tried.items()},
        },
        "onnx_parity": {"tolerance": parity.tolerance, "worst": parity.worst},
    }

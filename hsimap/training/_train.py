"""Train the network of a recipe: a list of verbs."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment

from hsimap.bundle import Bundle
from hsimap.errors import BundleError, OutputExistsError, ResourceError, UsageError
from hsimap.labels import TRAIN, VALIDATION
from hsimap.mapping.journal import locked
from hsimap.networks import report
from hsimap.runtimes import keep_freed_memory
from hsimap.training._build import build_objective, network_spec
from hsimap.training._checkpoints import has_checkpoint, load_checkpoint, remove_checkpoints
from hsimap.training._complete import complete_bundle
from hsimap.training._finish import Trained, save_bundle
from hsimap.training._log import RunLog, SilentLog
from hsimap.training._loop import Checkpoints, Fit, Material
from hsimap.training._pretrain import pretrain
from hsimap.training._sampling import PatchSampler, SamplingRules, balanced_shares
from hsimap.training._scenes import open_recipe
from hsimap.training._statistics import TrainStatistics, measure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from hsimap.geometry import Window
    from hsimap.recipes import Recipe, TrainingSettings
    from hsimap.training._folds import FoldView
    from hsimap.training._log import Log
    from hsimap.training._scenes import RecipeScenes

_LOG: Final = logging.getLogger(__name__)
_TIMES_COVERED: Final = 4
"""How often an epoch covers the labelled training pixels, where its length is not stated."""
_LEAST_STEPS: Final = 16
"""Fewest steps of such an epoch."""


def train(
    recipe: Recipe,
    out: Path | None = None,
    *,
    run: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Bundle:
    """Train a recipe's network and write its bundle.

    Parameters
    ----------
    recipe : Recipe
        As :func:`hsimap.recipes.load_recipe` returns it.
    out : Path, optional
        The model folder; ``models/<name>`` by default.
    run : Path, optional
        The run folder, for logs and checkpoints; ``runs/<name of the model folder>`` by default.
    resume : bool
        Go on from the newest whole checkpoint of the run folder; with the same number of threads
        the weights end bit for bit as if never interrupted. Without a checkpoint it starts.
    overwrite : bool
        Replace another bundle, or a run that was not finished.
    progress : bool
        Draw a progress bar on standard error.

    Returns
    -------
    Bundle
        One that is there already and stems from the same recipe is returned as it is, or with
        what it lacks of the training spectra (:func:`complete_bundle`). With several
        devices only the first process returns; the others end here.

    Raises
    ------
    OutputExistsError
        If the model folder or the run folder holds something else.
    LockedError
        If another process trains in the run folder.
    KeyboardInterrupt
        After SIGINT or SIGTERM, with a checkpoint written.
    HsimapError
        If the recipe, its files, the device or the disk are at fault.
    """
    out = out or Path("models") / recipe.name
    run = run or Path("runs") / out.name
    finished = _finished(recipe, out, overwrite=overwrite)
    if finished is not None:
        return complete_bundle(finished, recipe)
    started = time.process_time()
    fabric = start_fabric(recipe.training)
    with ExitStack() as stack:
        if fabric.is_global_zero:
            run.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(run))
            if overwrite and not resume:
                remove_checkpoints(run)
        opened = stack.enter_context(open_recipe(recipe))
        if has_checkpoint(run) and not resume:
            raise OutputExistsError(
                f"{run} holds checkpoints of an unfinished run; resume it, overwrite it or remove"
                f" the folder"
            )
        fit, found = prepare(fabric, recipe, opened, run)
        notes = [*opened.notes, *_take_up(fit, recipe, resume=resume)]
        fit.position.cpu_seconds += time.process_time() - started
        fabric.barrier()
        fit.run(stack.enter_context(_open_log(fit, notes, bar=progress)))
        if fabric.is_global_zero:
            fit.objective.network.load_state_dict(fit.position.best)
            trained = Trained(
                network=fit.objective.network,
                recipe=recipe,
                opened=opened,
                statistics=found,
                facts=_facts(fit, opened, found),
            )
            save_bundle(out, trained, overwrite=overwrite)
            remove_checkpoints(run)
        fabric.barrier()
    if not fabric.is_global_zero:
        raise SystemExit(0)
    return Bundle.load(out)


def start_fabric(settings: TrainingSettings) -> Fabric:
    """Open the devices, with arithmetic that repeats.

    Raises
    ------
    ResourceError
        If the device that the recipe asks for is not there.
    """
    if settings.accelerator == "cuda" and torch.cuda.device_count() < settings.devices:
        raise ResourceError(
            f"the recipe asks for {settings.devices} CUDA device(s) and there are"
            f" {torch.cuda.device_count()}; set training.accelerator=auto or cpu"
        )
    if settings.batch < settings.devices:
        raise UsageError(
            f"training.batch {settings.batch} cannot be shared by {settings.devices} devices; give"
            f" each at least one patch"
        )
    keep_freed_memory()
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    # Processes are ours to start: a batch system that is installed is not asked.
    fabric = Fabric(
        accelerator=settings.accelerator,
        devices=settings.devices,
        precision=settings.precision,
        plugins=[LightningEnvironment()],
    )
    fabric.launch()
    return fabric


def prepare(
    fabric: Fabric, recipe: Recipe, opened: RecipeScenes, run: Path
) -> tuple[Fit, TrainStatistics]:
    """Measure the training fold and set up a fresh run."""
    settings, wavelengths = recipe.training, opened.input.wavelength_nm
    if settings.augment.smoothing and wavelengths is None:
        raise UsageError(
            f"recipe {recipe.name}: training.augment.smoothing is"
            f" {settings.augment.smoothing:g} nm, but the bands of {opened.scenes[0].name} have no"
            f" wavelengths; give input.wavelengths or set it to 0"
        )
    tasks = recipe.tasks_list()
    views = [scene.view(TRAIN) for scene in opened.scenes]
    kinds = {task.name: (task.kind, task.channels) for task in tasks}
    found = measure(views, kinds, patch=settings.patch, percent=settings.target_percentile)
    spec = network_spec(recipe, found, n_bands=opened.input.n_bands)
    material = Material(
        train=views,
        validation=[scene.view(VALIDATION) for scene in opened.scenes],
        sampler=make_sampler(views, settings),
        mean=torch.tensor(found.mean),
        std=torch.tensor(found.std),
        wavelength_nm=None if wavelengths is None else torch.tensor(wavelengths),
    )
    objective = build_objective(spec, settings, found)
    checkpoints = Checkpoints(folder=run, identity=recipe.digest)
    if settings.pretrain.epochs and load_checkpoint(run)[0] is None:
        pretrain(fabric, objective.network, material, settings=settings, checkpoints=checkpoints)
    return Fit(fabric, objective, material, settings=settings, checkpoints=checkpoints), found


def make_sampler(views: Sequence[FoldView], settings: TrainingSettings) -> PatchSampler:
    """Return the sampler of a recipe, with its default length of an epoch."""
    positions = [view.positions() for view in views]
    n_labelled = sum(len(found) for found in positions)
    covering = -(-_TIMES_COVERED * n_labelled // settings.patch**2)
    samples = settings.samples_per_epoch or max(_LEAST_STEPS * settings.batch, covering)
    rules = SamplingRules(
        patch=settings.patch,
        batch=settings.batch,
        samples=samples,
        seed=settings.seed,
        flips=settings.augment.flips,
        turns=settings.augment.turns,
    )
    shares = balanced_shares(views, positions) if settings.sampling == "balanced" else None
    return PatchSampler(positions, rules, shares=shares)


def foreign_share(sampler: PatchSampler, views: Sequence[FoldView]) -> float:
    """Return the share of the first epoch's patch pixels that belong to other folds."""
    foreign = total = 0
    for step in range(sampler.steps):
        for draw in sampler.batch(0, step):
            view = views[draw.scene]
            inside: Window = draw.window.clip(height=view.shape[0], width=view.shape[1])
            foreign += int(view.foreign(inside).sum())
            total += inside.height * inside.width
    return foreign / total


def _finished(recipe: Recipe, out: Path, *, overwrite: bool) -> Bundle | None:
    """Return the bundle that is there if it is the recipe's own; refuse to lose another."""
    if overwrite or not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        bundle = Bundle.load(out)
    except (BundleError, UsageError) as error:
        raise OutputExistsError(
            f"{out} exists and is no whole bundle ({error}); choose another folder"
        ) from error
    if bundle.manifest.provenance.get("recipe_digest") != recipe.digest:
        raise OutputExistsError(
            f"{out} holds a model of another recipe or of other settings; choose another folder or"
            f" overwrite it"
        )
    return bundle


def _take_up(fit: Fit, recipe: Recipe, *, resume: bool) -> tuple[str, ...]:
    """Load the checkpoint if asked to."""
    folder = fit.checkpoints.folder
    if not resume:
        return ()
    state, notes = load_checkpoint(folder)
    if state is None and has_checkpoint(folder):
        return ()  # of the pretraining, which is done by now
    if state is None:
        return (f"{folder} holds no checkpoint; the run starts at the beginning",)
    if state["identity"] != recipe.digest:
        raise OutputExistsError(
            f"{folder} holds a run of another recipe or of other settings; choose another folder"
        )
    fit.load(state)
    if state["threads"] != torch.get_num_threads():
        note = (
            f"the run was started with {state['threads']} threads and goes on with"
            f" {torch.get_num_threads()}: its weights will differ in the last bits"
        )
        return (*notes, note)
    return notes


def _open_log(fit: Fit, notes: Sequence[str], *, bar: bool) -> AbstractContextManager[Log]:
    """Open the log and say the notes; processes but the first are silent."""
    if not fit.fabric.is_global_zero:
        return SilentLog()
    for note in notes:
        _LOG.warning(note)
    folder, epochs = fit.checkpoints.folder, fit.settings.epochs
    return RunLog(folder, epochs=epochs, done=fit.position.epoch, bar=bar)


def _facts(fit: Fit, opened: RecipeScenes, found: TrainStatistics) -> dict[str, Any]:
    share = foreign_share(fit.material.sampler, fit.material.train)
    size = report(fit.objective.network)
    contexts = sorted({scene.context for scene in opened.scenes})
    return {
        "scenes": [scene.name for scene in opened.scenes],
        "notes": list(opened.notes),
        "labelled_training_pixels": dict(found.n_pixels),
        "context": "/".join(contexts),
        "foreign_share_of_training_windows": share if contexts != ["mask"] else 0.0,
        "epochs": fit.position.epoch,
        "best_epoch": fit.position.best_epoch,
        "validation_score": fit.position.best_score,
        "parameters": size.parameters,
        "macs_per_pixel": round(size.macs_per_pixel),
        "seconds": round(fit.position.seconds, 3),
        "cpu_seconds": round(fit.position.cpu_seconds, 3),
        "threads": torch.get_num_threads(),
        "processes": fit.fabric.world_size,
        "device": str(fit.fabric.device),
    }

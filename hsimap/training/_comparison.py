"""Train the runs that a comparison of recipes still lacks, the first seed of all recipes first."""

from __future__ import annotations

import os
import time
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hsimap.errors import UsageError
from hsimap.evaluation import append_result, evaluate_model
from hsimap.labels import VALIDATION
from hsimap.runtimes import instruction_set, open_runtime
from hsimap.streams import available_cpus
from hsimap.training._checkpoints import has_checkpoint
from hsimap.training._finish import result_of
from hsimap.training._scenes import open_recipe
from hsimap.training._train import train

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.recipes import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where the runs of a comparison go, and how long it may take."""

    folder: Path
    """Models go to ``models/<recipe>/seed-<k>`` in it, logs and checkpoints to ``runs/...``."""
    results: Path
    """JSON-lines file that each finished run is appended to."""
    fold: str = "test"
    """Whose labels the scores are of: ``test`` or ``validation``."""
    minutes: float | None = None
    """No run is started after so many; None = no limit."""


def train_missing(
    trials: Sequence[Recipe],
    bench: Bench,
    *,
    progress: bool = True,
    finished: Callable[[dict[str, Any]], None] | None = None,
) -> int:
    """Train recipes one after the other and append a line of results for each.

    A run that was interrupted goes on from its checkpoint, a model that is finished is only
    scored: the same call again does what is left.

    Parameters
    ----------
    trials : sequence of Recipe
        Each with its own ``training.seed``, in the order in which they are trained.
    bench : Bench
        Folders, fold and limit.
    progress : bool
        Draw a progress bar on standard error.
    finished : callable, optional
        Told each line that was appended.

    Returns
    -------
    int
        Runs that are done; fewer than ``trials`` where the time was up.

    Raises
    ------
    UsageError
        If a recipe asks for several devices, whose processes end with one run.
    HsimapError
        As :func:`hsimap.training.train`.
    """
    for trial in trials:
        if trial.training.devices > 1:
            raise UsageError(
                f"recipe {trial.name} asks for {trial.training.devices} devices; runs are compared"
                f" on one: set training.devices=1"
            )
    started = time.monotonic()
    for done, trial in enumerate(trials):
        if bench.minutes is not None and time.monotonic() - started >= 60 * bench.minutes:
            return done
        line = _run(trial, bench, progress=progress)
        append_result(bench.results, line)
        if finished is not None:
            finished(line)
    return len(trials)


def _run(trial: Recipe, bench: Bench, *, progress: bool) -> dict[str, Any]:
    """Train one recipe, or take its finished model, and return its line."""
    place = f"{trial.name}/seed-{trial.training.seed}"
    run = bench.folder / "runs" / place
    bundle = train(
        trial,
        bench.folder / "models" / place,
        run=run,
        resume=has_checkpoint(run),
        progress=progress,
    )
    line = result_of(bundle) | {"machine": _machine()}
    if bench.fold == "validation":
        line |= {"fold": bench.fold, "tasks": _score(bundle, trial)}
    return line


def _score(bundle: Bundle, trial: Recipe) -> dict[str, Any]:
    """Score a model on the validation fold."""
    with (
        open_recipe(trial, bundle.manifest.input) as opened,
        closing(open_runtime(bundle, threads=1)) as runtime,
    ):
        found = evaluate_model(
            bundle, runtime, opened.scenes, tasks=trial.tasks_list(), fold=VALIDATION
        )
    return {task.task.name: task.levels()["pixel"].as_dict() for task in found.tasks}


def _machine() -> dict[str, Any]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpus": available_cpus(), "instruction_set": instruction_set(), "load": load}

"""From settings and statistics to a network and its objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hsimap.networks import NetworkSpec, NormalisationSpec, build_network, read_settings
from hsimap.tasks import main_output
from hsimap.training._balancing import FixedBalance, UncertaintyBalance
from hsimap.training._objective import Objective
from hsimap.training._statistics import median_frequency

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.recipes import Recipe, TrainingSettings
    from hsimap.tasks import Task
    from hsimap.training._statistics import TrainStatistics


def network_spec(recipe: Recipe, found: TrainStatistics, *, n_bands: int) -> NetworkSpec:
    """Return what the network is built from.

    Parameters
    ----------
    recipe : Recipe
        Its ``network``, ``input.normalise`` and ``training.patch`` count.
    found : TrainStatistics
        Of the training fold.
    n_bands : int
        Bands that the network reads.

    Raises
    ------
    UsageError
        If the network's settings are wrong.
    """
    settings = read_settings(recipe.network, source=f"recipe {recipe.name}: network")
    tasks = recipe.tasks_list()
    mode = recipe.input.normalise
    mean, std = {
        "standardise": (found.mean, found.std),
        "minmax": (found.low, found.width),
        "l2": ((), ()),
        "none": ((), ()),
    }[mode]
    return NetworkSpec(
        settings=settings,
        n_bands=n_bands,
        patch=recipe.training.patch,
        tasks=tasks,
        outputs=tuple(main_output(task) for task in tasks),
        normalisation=NormalisationSpec(mode=mode, mean=mean, std=std),
        scaling=dict(found.scaling),
    )


def build_objective(
    spec: NetworkSpec, settings: TrainingSettings, found: TrainStatistics
) -> Objective:
    """Build a fresh network with its losses and their balance, seeded by ``settings.seed``."""
    torch.manual_seed(settings.seed)
    weights = {}
    if settings.class_weights == "median_frequency":
        weights = {
            name: torch.from_numpy(median_frequency(counts))
            for name, counts in found.class_counts.items()
        }
    return Objective(build_network(spec), _balance(spec.tasks, settings), weights)


def _balance(
    tasks: Sequence[Task], settings: TrainingSettings
) -> FixedBalance | UncertaintyBalance:
    match settings.balancing:
        case "uncertainty":
            return UncertaintyBalance(tasks)
        case "fixed":
            return FixedBalance(tasks, settings.task_weights)
        case "equal":
            return FixedBalance(tasks)

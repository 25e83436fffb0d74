"""From settings and statistics to a network and its objective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from hsimap.errors import UsageError
from hsimap.networks import NetworkSpec, NormalisationSpec, build_network, read_settings
from hsimap.tasks import Kind, main_output
from hsimap.training._balancing import DynamicAverage, FixedBalance, UncertaintyBalance
from hsimap.training._gradnorm import GradNormBalance
from hsimap.training._objective import LossRules, Objective
from hsimap.training._statistics import inverse_frequency, median_frequency

if TYPE_CHECKING:
    from hsimap.networks import MappingNetwork
    from hsimap.recipes import Recipe, TrainingSettings
    from hsimap.tasks import Task
    from hsimap.training._objective import Balance
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
        scaling={
            task.name: target_scaling(task, recipe.training, found)
            for task in tasks
            if task.kind is Kind.CONTINUOUS
        },
    )


def target_scaling(
    task: Task, settings: TrainingSettings, found: TrainStatistics
) -> tuple[float, float]:
    """Return offset and gain of a continuous task: value = offset + gain * scaled value.

    With ``targets: minmax`` the offset is the lower end of the task's range, else the least
    training label; offset + gain is the percentile that the recipe names, else the upper end of
    the range, else the largest training label (arXiv 2407.16384, Table I: the 98th percentile).
    """
    if settings.targets == "standardise":
        return found.scaling[task.name]
    low, high = task.range or found.extremes[task.name]
    high = found.limits.get(task.name, high)
    return low, (high - low) if high > low else 1.0


def build_objective(
    spec: NetworkSpec, settings: TrainingSettings, found: TrainStatistics
) -> Objective:
    """Build a fresh network with its losses and their balance, seeded by ``settings.seed``.

    Raises
    ------
    UsageError
        If the network is to see components of bands that are not shifted and scaled.
    """
    torch.manual_seed(settings.seed)
    rule = {"median_frequency": median_frequency, "inverse_frequency": inverse_frequency}
    weights = {}
    if settings.class_weights != "none":
        weights = {
            name: torch.from_numpy(rule[settings.class_weights](counts))
            for name, counts in found.class_counts.items()
        }
    network = build_network(spec)
    if network.backbone.n_components:
        show_components(network, found)
    rules = LossRules(settings=settings.losses, class_weights=weights, limits=found.limits)
    return Objective(network, build_balance(network, settings), rules)


def show_components(network: MappingNetwork, found: TrainStatistics) -> None:
    """Give a network the components of the training's spectra, as weights of normalised bands."""
    normalisation = network.spec.normalisation
    if not normalisation.std:
        raise UsageError(
            f"network.components is {network.backbone.n_components}, but input.normalise is"
            f" {normalisation.mode}; set it to standardise or minmax, or the components to 0"
        )
    weights = found.spread.scores * np.asarray(normalisation.std)
    network.backbone.show_components(torch.from_numpy(weights))


def build_balance(network: MappingNetwork, settings: TrainingSettings) -> Balance:
    """Return what makes one total of the losses of the network's tasks."""
    tasks = network.spec.tasks
    match settings.balancing:
        case "uncertainty":
            return UncertaintyBalance(tasks)
        case "fixed":
            return FixedBalance(tasks, settings.task_weights)
        case "equal":
            return FixedBalance(tasks)
        case "gradnorm":
            return GradNormBalance(len(tasks), dict(network.named_parameters()), settings.gradnorm)
        case "dwa":
            return DynamicAverage(len(tasks), temperature=settings.dwa.temperature)

"""An interrupted run ends in the weights of an uninterrupted one; hidden labels change nothing."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import BANDS, TASKS, ArrayLabels, crashing_at, small_scene

from hsimap.networks import NetworkSettings, NetworkSpec, NormalisationSpec, build_network
from hsimap.recipes import AugmentSettings, GradNormSettings, TrainingSettings
from hsimap.tasks import main_output
from hsimap.training._build import build_balance
from hsimap.training._checkpoints import load_checkpoint
from hsimap.training._loop import Checkpoints, Fit, Material
from hsimap.training._objective import LossRules, Objective
from hsimap.training._sampling import PatchSampler, SamplingRules
from hsimap.training._statistics import measure, median_frequency
from hsimap.training._train import start_fabric

SETTINGS = TrainingSettings(
    patch=8,
    batch=4,
    epochs=3,
    warmup_epochs=1,
    average=0.9,
    learning_rate=5e-3,
    weight_decay=1e-2,
    checkpoint_seconds=1e9,
    augment=AugmentSettings(brightness=0.1, noise=0.1, band_dropout=0.3),
)


class Log:
    def __init__(self):
        self.records = []

    def write(self, epoch, record):
        self.records.append((epoch, record))

    def show(self, epoch, note):
        pass


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_fit(folder, *, scene=None, **changes):
    scene = scene or small_scene()
    settings = SETTINGS.model_copy(update=changes)
    view = scene.view(1)
    found = measure([view], {t.name: (t.kind, t.channels) for t in TASKS}, patch=8)
    torch.manual_seed(0)
    spec = NetworkSpec(
        settings=NetworkSettings(architecture="spectral_spatial", width=8, dropout=0.2),
        n_bands=BANDS,
        patch=8,
        tasks=TASKS,
        outputs=tuple(main_output(task) for task in TASKS),
        normalisation=NormalisationSpec(mean=found.mean, std=found.std),
        scaling=dict(found.scaling),
    )
    weights = {n: torch.from_numpy(median_frequency(c)) for n, c in found.class_counts.items()}
    network = build_network(spec)
    rules = LossRules(class_weights=weights)
    objective = Objective(network, build_balance(network, settings), rules)
    rules = SamplingRules(patch=8, batch=4, samples=20, seed=0, flips=True, turns=True)
    material = Material(
        train=[view],
        validation=[scene.view(2)],
        sampler=PatchSampler([view.positions()], rules),
        mean=torch.tensor(found.mean),
        std=torch.tensor(found.std),
    )
    fabric = start_fabric(settings)
    checkpoints = Checkpoints(folder=folder, identity="x")
    return Fit(fabric, objective, material, settings=settings, checkpoints=checkpoints)


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first.nan_to_num(-7), second.nan_to_num(-7))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return first == second


GRADNORM = {"balancing": "gradnorm", "gradnorm": GradNormSettings(update_every=2)}


@pytest.mark.parametrize(
    ("crash_at", "changes"),
    [
        (1, {}), (7, {}), (10, {}), (14, {}),
        (7, GRADNORM), (12, GRADNORM), (11, {"balancing": "dwa"}),
        (7, {"optimiser": "adam", "warmup": "epochs"}), (7, {"optimiser": "sgd"}),
    ],
)  # fmt: skip
def test_a_killed_run_resumes_to_the_same_weights(tmp_path, crash_at, changes):
    whole = make_fit(tmp_path / "whole", **changes)
    whole.run(Log())
    killed = make_fit(tmp_path / "run", checkpoint_seconds=0, **changes)
    with crashing_at(crash_at):
        killed.run(Log())
    torch.randn(99)  # the generator moves on between the two runs
    resumed = make_fit(tmp_path / "run", checkpoint_seconds=0, **changes)
    resumed.load(load_checkpoint(tmp_path / "run")[0])
    assert (resumed.position.epoch, resumed.position.step) == divmod(crash_at, 5)
    resumed.run(Log())
    assert same(resumed.objective.state_dict(), whole.objective.state_dict())
    assert same(resumed.average.state, whole.average.state)
    assert same(resumed.position.best, whole.position.best)
    assert resumed.position.best_score == whole.position.best_score


class TerminatedError(Exception):
    pass


def terminate(number, frame):
    raise TerminatedError


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, TerminatedError)]
)
def test_a_signal_acts_after_the_run_is_saved(tmp_path, monkeypatch, number, error):
    old = signal.signal(signal.SIGTERM, terminate)
    try:
        before = signal.getsignal(number)
        fit = make_fit(tmp_path)
        update = fit.average.update
        monkeypatch.setattr(
            fit.average, "update", lambda net: (signal.raise_signal(number), update(net))[1]
        )
        with pytest.raises(error):
            fit.run(Log())
        assert signal.getsignal(number) is before
    finally:
        signal.signal(signal.SIGTERM, old)
    state, _ = load_checkpoint(tmp_path)
    assert (state["position"]["epoch"], state["position"]["step"]) == (0, 1)


def test_labels_of_other_folds_change_nothing_that_is_trained(tmp_path):
    scene = small_scene()
    hidden = scene.folds != 1
    rng = np.random.default_rng(9)
    cover = np.where(hidden, rng.integers(0, 3, hidden.shape), scene.labels["cover"].values)
    depth = np.where(hidden, 1e6, scene.labels["depth"].values).astype(np.float32)
    poisoned = replace(scene, labels={"cover": ArrayLabels(cover), "depth": ArrayLabels(depth)})
    clean_run = make_fit(tmp_path)
    clean_run.run(Log())
    poisoned_run = make_fit(tmp_path, scene=poisoned)
    poisoned_run.run(Log())
    assert same(clean_run.objective.state_dict(), poisoned_run.objective.state_dict())
    assert same(clean_run.average.state, poisoned_run.average.state)
    # Selection does see the validation fold; with the test fold alone poisoned it is unchanged.
    depth = np.where(scene.folds == 3, 1e6, scene.labels["depth"].values).astype(np.float32)
    poisoned = replace(scene, labels={**scene.labels, "depth": ArrayLabels(depth)})
    third = make_fit(tmp_path, scene=poisoned)
    third.run(Log())
    assert same(clean_run.position.best, third.position.best)


def test_it_learns(tmp_path):
    log = Log()
    fit = make_fit(tmp_path, epochs=25, validate_every=5)
    fit.run(log)
    scores = [record["validation"] for _, record in log.records if "validation" in record]
    assert len(scores) == 5
    assert scores[-1]["cover"]["overall_accuracy"] > 0.9
    assert scores[-1]["depth"]["r2"] > 0.8
    losses = [record["loss"]["depth"] for _, record in log.records if "loss" in record]
    assert losses[-1] < losses[0] / 2


def test_patience_ends_a_run_that_no_longer_improves(tmp_path):
    fit = make_fit(tmp_path, epochs=50, learning_rate=0.0, average=0.0, patience=3)
    fit.run(Log())
    assert fit.position.finished
    assert fit.position.epoch < 50


def test_weight_decay_spares_norms_biases_and_the_balance(tmp_path):
    fit = make_fit(tmp_path)
    decayed, spared = fit.optimiser.param_groups
    assert all(p.ndim > 1 for p in decayed["params"])
    names = {id(p): name for name, p in fit.objective.named_parameters()}
    assert "balance.log_variance" in {names[id(p)] for p in spared["params"]}
    assert spared["weight_decay"] == 0


def test_weights_of_gradnorm_are_set_by_gradnorm_alone(tmp_path):
    fit = make_fit(tmp_path, **GRADNORM)
    handled = {id(p) for group in fit.optimiser.param_groups for p in group["params"]}
    assert not handled & {id(p) for p in fit.objective.balance.parameters()}
    fit.run(Log())
    weights = [float(w) for w in fit.objective.balance.weights]
    assert sum(weights) == pytest.approx(len(TASKS))
    assert weights[0] != 1


def test_a_loss_is_the_mean_over_the_steps_that_have_the_task(tmp_path):
    scene = small_scene()
    depth = np.full_like(scene.labels["depth"].values, np.nan)
    depth[19, 0] = 1.0  # a corner that most patches miss
    scene = replace(scene, labels={**scene.labels, "depth": ArrayLabels(depth)})
    seen = []
    fit = make_fit(tmp_path, scene=scene, epochs=1)
    forward = fit.objective.forward

    def noted(*inputs):
        result = forward(*inputs)
        seen.append((float(result[1][1]), float(result[2][1])))
        return result

    fit.objective.forward = noted
    log = Log()
    fit.run(log)
    losses = [loss for loss, present in seen if present]
    assert 0 < len(losses) < len(seen)
    assert log.records[0][1]["loss"]["depth"] == pytest.approx(np.mean(losses))


@pytest.mark.parametrize(
    ("changes", "kind", "options"),
    [
        ({"optimiser": "adam", "betas": (0.7, 0.99)}, torch.optim.Adam, {"betas": (0.7, 0.99)}),
        ({"optimiser": "sgd", "momentum": 0.7}, torch.optim.SGD, {"momentum": 0.7}),
        ({}, torch.optim.AdamW, {"betas": (0.9, 0.999)}),
    ],
)
def test_the_optimiser_is_the_recipes(tmp_path, changes, kind, options):
    optimiser = make_fit(tmp_path, **changes).optimiser.optimizer
    assert type(optimiser) is kind
    assert {name: optimiser.defaults[name] for name in options} == options
    # L2 decay is added to the gradient: Adam is AdamW's base class and says which it is.
    assert optimiser.defaults.get("decoupled_weight_decay", False) is (kind is torch.optim.AdamW)

"""Pretraining restores hidden bands of unlabelled pixels, and goes on where it was killed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scenefile import recipe_for, write_labelled_scene
from small import crashing_at, small_scene

from hsimap.networks import NetworkSpec, NormalisationSpec, build_network, read_settings
from hsimap.tasks import main_output, task_from_mapping
from hsimap.training import open_recipe, train
from hsimap.training._pretrain import (
    MaskedBands,
    free_positions,
    hidden_bands,
    restoring_twin,
    take_over,
)
from hsimap.training._train import prepare, start_fabric

TASKS = (
    task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 2: "b"}}),
    task_from_mapping("depth", {"kind": "continuous", "unit": "m"}),
)


def network(n_bands=6, **settings):
    settings = settings or {"architecture": "spectral_spatial", "width": 8, "dilations": [1]}
    return build_network(
        NetworkSpec(
            settings=read_settings(settings, source="test"),
            n_bands=n_bands,
            patch=32,
            tasks=TASKS,
            outputs=tuple(main_output(task) for task in TASKS),
            normalisation=NormalisationSpec(mean=(10.0,) * n_bands, std=(2.0,) * n_bands),
        )
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_runs_of_bands_are_hidden(share):
    torch.manual_seed(1)
    hidden = hidden_bands(4000, 64, share=share)
    assert hidden.any(dim=1).all()
    assert hidden.float().mean() == pytest.approx(max(share, 1 / 9), abs=0.03)
    assert hidden.float().mean(dim=0).std() < 0.03  # no band is favoured
    edges = (hidden[:, 1:] != hidden[:, :-1]).sum(dim=1)
    assert edges.max() <= 9
    assert hidden_bands(5, 3, share=0.5).shape == (5, 3)


@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "taiga", "preset": "tiny"},
        {"architecture": "unet"},
        {"architecture": "unet", "members": 2},
        {},
    ],
    ids=["taiga", "unet", "ensemble", "spectral_spatial"],
)
def test_everything_but_the_heads_is_taken_over(settings):
    torch.manual_seed(0)
    own = network(**settings)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    twin = restoring_twin(own)
    taken = take_over(own, twin.state_dict())
    assert not any("head" in name for name in taken)
    assert any("stem" in name or "down" in name or "encoder" in name for name in taken)
    for name, value in own.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name] if name in taken else before[name])


def test_many_bands_have_several_heads():
    twin = restoring_twin(network(n_bands=426))
    raw = twin.logits(torch.full((1, 426, 32, 32), 10.0), torch.ones(1, 1, 32, 32))
    assert [value.shape[1] for value in raw.values()] == [200, 200, 26]


def objective(own, share=0.5):
    statistics = torch.full((6,), 10.0), torch.full((6,), 2.0)
    return MaskedBands(restoring_twin(own), statistics, share=share)


@pytest.mark.parametrize("members", [1, 2])
def test_the_loss_is_of_hidden_bands_and_valid_pixels(members):
    torch.manual_seed(0)
    sizes = {"architecture": "spectral_spatial", "width": 8, "dilations": [1]}
    masked = objective(network(members=members, **sizes))
    for name, weight in masked.network.named_parameters():
        if "head" in name:
            torch.nn.init.zeros_(weight)
    image = 10 + 2 * torch.randn(5, 6, 32, 32)
    valid = (torch.rand(5, 1, 32, 32) > 0.3).float()
    torch.manual_seed(4)
    total, losses, present = masked(image, valid, {})
    torch.manual_seed(4)
    hidden = hidden_bands(5, 6, share=0.5)
    counted = hidden[..., None, None] & (valid > 0)
    expected = ((image - 10) / 2).abs()[counted].mean()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(losses, expected[None])
    assert present.tolist() == [1.0]
    garbage = torch.where(valid > 0, image, torch.tensor(float("nan")))
    torch.manual_seed(4)
    torch.testing.assert_close(masked(garbage, valid, {})[0], expected)
    assert masked(image, valid * 0, {})[0] == 0


def test_hidden_values_are_not_seen():
    torch.manual_seed(0)
    masked = objective(network()).eval()
    image, valid = 10 + 2 * torch.randn(2, 6, 32, 32), torch.ones(2, 1, 32, 32)
    seen = []
    masked.network.backbone.register_forward_hook(lambda m, inputs, out: seen.append(inputs[0]))
    torch.manual_seed(4)
    hidden = hidden_bands(2, 6, share=0.5)[..., None, None]
    for other in (image, torch.where(hidden, image + 5, image)):
        torch.manual_seed(4)
        masked(other, valid, {})
    assert torch.equal(seen[0], seen[1])


def test_patches_lie_round_labelled_and_unlabelled_pixels_but_in_no_other_fold():
    scene = small_scene(height=20, width=26)
    (found,) = free_positions([scene.view(1)])
    at = set(map(tuple, found.tolist()))
    wanted = {tuple(p) for p in np.argwhere(scene.folds <= 1).tolist()}
    assert at == wanted
    large = replace(scene, folds=np.zeros((2000, 1800), np.uint8))
    (thinned,) = free_positions([large.view(1)])
    assert 100_000 < len(thinned) < 400_000


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def start(recipe, run):
    """Set up a run, with its pretraining; return the network and the random state."""
    with open_recipe(recipe) as opened:
        fit, _ = prepare(start_fabric(recipe.training), recipe, opened, run)
    return fit.objective.network.state_dict(), torch.get_rng_state()


@pytest.mark.parametrize("crash_at", [3, 6, 11])
def test_a_killed_pretraining_ends_in_the_same_weights(tmp_path, one_thread, crash_at):
    write_labelled_scene(tmp_path)
    recipe = recipe_for(tmp_path, pretrain={"epochs": 2}, checkpoint_seconds=0.0)
    whole, random = start(recipe, tmp_path / "r1")
    with crashing_at(crash_at):
        start(recipe, tmp_path / "r2")
    torch.randn(7)
    resumed, later = start(recipe, tmp_path / "r2")
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert torch.equal(random, later)
    again, _ = start(recipe, tmp_path / "r2")  # killed before the first step of the training
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    fresh, _ = start(recipe_for(tmp_path), tmp_path / "r3")
    heads = [name for name in fresh if "head" in name]
    assert all(torch.equal(fresh[name], whole[name]) for name in heads)
    assert not torch.equal(fresh["backbone.stem.0.mix.weight"], whole["backbone.stem.0.mix.weight"])


def test_a_run_logs_the_loss_and_leaves_no_checkpoint(tmp_path):
    write_labelled_scene(tmp_path)
    recipe = recipe_for(tmp_path, epochs=1, pretrain={"epochs": 3, "masked": 0.3})
    bundle = train(recipe, tmp_path / "m", run=tmp_path / "r", progress=False)
    told = bundle.manifest.provenance["settings"]["training"]["pretrain"]
    assert told == {"epochs": 3, "masked": 0.3, "learning_rate": None}
    lines = (tmp_path / "r/pretrain/log.jsonl").read_text().splitlines()
    log = [json.loads(line) for line in lines]
    losses = [line["loss"]["bands_0"] for line in log if "loss" in line]
    assert len(losses) == 3
    assert losses[2] < losses[0]
    assert not list((tmp_path / "r").rglob("*.pt"))

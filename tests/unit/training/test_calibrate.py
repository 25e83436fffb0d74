"""What a network is calibrated on, and what becomes of its probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small import BANDS, small_scene

from hsimap.evaluation import square_blocks, unit_ids
from hsimap.labels import VALIDATION
from hsimap.training import predict_fold, whole_targets
from hsimap.training._calibrate import apply_temperature, calibrate

CPU = torch.device("cpu")


def scenes():
    return [replace(small_scene(seed=seed, height=60), block=4) for seed in range(3)]


def test_blocks_of_the_validation_fold_are_the_units(network):
    found = calibrate(network, scenes(), trim=4, device=CPU)
    assert found.unit == "block"
    shares = []
    units, _ = unit_ids(scenes())
    for scene, ids in zip(scenes(), units, strict=True):
        view = scene.view(VALIDATION)
        value = predict_fold(network, view, trim=4, device=CPU)["depth"]
        low, high = found.intervals["depth"].bounds(value, level=90, clip=None)
        target = whole_targets(view)["depth"]
        known = np.isfinite(target) & np.isfinite(value)
        inside = (low <= target) & (target <= high)
        shares += [inside[known & (ids == unit)].mean() for unit in np.unique(ids[known])]
    assert sum(found.intervals["depth"].units) == pytest.approx(len(shares), abs=0.01)
    # On the pixels that it was fitted to, the level and the share of the unit at infinity.
    assert 0.9 <= np.mean(shares) < 0.94


def test_stands_are_the_units_where_every_scene_has_them(network):
    with_stands = [
        replace(scene, stands=square_blocks(scene.folds.shape, size=6).astype(np.int32) + 1)
        for scene in scenes()
    ]
    assert calibrate(network, with_stands, trim=4, device=CPU).unit == "stand"
    mixed = [*with_stands[:2], scenes()[2]]
    assert calibrate(network, mixed, trim=4, device=CPU).unit == "block"


def test_too_few_units_give_no_calibration(network):
    one = replace(small_scene(), block=100)
    assert calibrate(network, [one], trim=4, device=CPU) is None


def test_the_deployed_probabilities_are_those_of_logits_over_the_temperature(network):
    found = calibrate(network, scenes(), trim=4, device=CPU)
    temperature = found.temperature["cover"]
    assert temperature != 1
    image = torch.randn(1, BANDS, 16, 16) * 300 + 1000
    valid = torch.ones(1, 1, 16, 16)
    with torch.inference_mode():
        before = network(image, valid)
        expected = (network.logits(image, valid)["cover"] / temperature).softmax(dim=1)
        apply_temperature(network, found)
        after = network(image, valid)
    torch.testing.assert_close(after[0], expected)
    assert torch.equal(after[0].argmax(dim=1), before[0].argmax(dim=1))
    assert torch.equal(after[1], before[1])

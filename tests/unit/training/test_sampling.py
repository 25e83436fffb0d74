"""Patches are a pure function of seed, epoch and step, and aim at every labelled pixel."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import ArrayLabels, small_scene

from hsimap.geometry import Window
from hsimap.recipes import AugmentSettings
from hsimap.training._batches import disturb, load_batch
from hsimap.training._sampling import Draw, PatchSampler, SamplingRules, balanced_shares

RULES = SamplingRules(patch=8, batch=4, samples=10, seed=3, flips=True, turns=True)
POSITIONS = [np.array([[0, 0], [5, 7], [9, 2]]), np.array([[4, 4], [1, 8]])]


def test_a_batch_depends_on_seed_epoch_and_step_only():
    first, second = (PatchSampler(POSITIONS, RULES) for _ in range(2))
    walked = [first.batch(epoch, step) for epoch in range(3) for step in range(first.steps)]
    assert second.batch(2, 1) == walked[2 * first.steps + 1]
    assert second.batch(0, 2) == walked[2]
    other = PatchSampler(POSITIONS, replace(RULES, seed=4))
    assert other.batch(0, 0) != walked[0]


def test_every_pixel_is_aimed_at_equally_often_across_epochs():
    sampler = PatchSampler(POSITIONS, RULES)  # 3 steps of 4: 12 patches an epoch, 5 pixels
    draws = [d for epoch in range(5) for step in range(3) for d in sampler.batch(epoch, step)]
    assert len(draws) == 60
    hits = Counter()
    for draw in draws:
        assert draw.window.height == draw.window.width == 8
        hits[draw.scene] += 1
    assert hits == {0: 36, 1: 24}


def test_the_aimed_pixel_lies_anywhere_in_its_patch():
    positions = [np.array([[100, 200]])]
    sampler = PatchSampler(positions, replace(RULES, samples=4000, batch=4000))
    places = {(100 - d.window.row, 200 - d.window.col) for d in sampler.batch(0, 0)}
    assert places == {(r, c) for r in range(8) for c in range(8)}


def test_all_eight_symmetries_are_reached_and_differ():
    array = np.arange(9).reshape(3, 3)
    sampler = PatchSampler(POSITIONS, replace(RULES, samples=200, batch=200))
    seen = {draw.orient(array).tobytes() for draw in sampler.batch(0, 0)}
    assert len(seen) == 8
    plain = PatchSampler(POSITIONS, replace(RULES, samples=50, flips=False, turns=False))
    assert all(np.array_equal(d.orient(array), array) for d in plain.batch(0, 0))


def rare_scene():
    """A scene with 2 pixels of class 2, 20 of class 1, 50 of class 0 and 28 of a value only."""
    scene = small_scene(height=20, width=26)
    cover, depth = np.full((20, 26), -1), np.full((20, 26), np.nan, dtype=np.float32)
    cover.flat[np.flatnonzero(scene.folds == 1)[:72]] = np.repeat([2, 1, 0], [2, 20, 50])
    depth.flat[np.flatnonzero(scene.folds == 1)[72:100]] = 1.0
    return replace(scene, labels={"cover": ArrayLabels(cover), "depth": ArrayLabels(depth)})


def test_balanced_shares_are_even_over_the_classes():
    view = rare_scene().view(1)
    shares = balanced_shares([view], [view.positions()])
    assert shares.sum() == pytest.approx(1)
    whole = Window(row=0, col=0, height=20, width=26)
    classes = view.targets(whole)["cover"][tuple(view.positions().T)]
    sums = [shares[classes == k].sum() for k in (-1, 0, 1, 2)]
    assert sums == pytest.approx([0.28, 0.24, 0.24, 0.24])
    for k in (-1, 0, 1, 2):
        assert np.ptp(shares[classes == k]) == 0


def test_balanced_patches_aim_at_rare_classes_as_often():
    view = rare_scene().view(1)
    positions = [view.positions()] * 2
    shares = balanced_shares([view] * 2, positions)
    rules = replace(RULES, patch=1, batch=4000, samples=4000, flips=False, turns=False)
    sampler, again = (PatchSampler(positions, rules, shares=shares) for _ in range(2))
    drawn = [view.targets(draw.window)["cover"].item() for draw in sampler.batch(3, 0)]
    counts = Counter(drawn)
    for k, share in ((-1, 0.28), (0, 0.24), (1, 0.24), (2, 0.24)):
        assert counts[k] / 4000 == pytest.approx(share, abs=0.03)
    assert again.batch(3, 0) == sampler.batch(3, 0) != sampler.batch(4, 0)


def test_without_classes_every_pixel_is_aimed_at_alike():
    scene = rare_scene()
    none = ArrayLabels(np.full((20, 26), -1))
    view = replace(scene, labels={**scene.labels, "cover": none}).view(1)
    shares = balanced_shares([view], [view.positions()])
    assert shares == pytest.approx(np.full(28, 1 / 28))


def test_image_validity_and_labels_turn_together():
    scene = small_scene()
    view = scene.view(1)
    plain = Draw(
        scene=0,
        window=PatchSampler([np.array([[3, 4]])], RULES).batch(0, 0)[0].window,
        flip_rows=False,
        flip_cols=False,
        transpose=False,
    )
    turned = replace(plain, flip_rows=True, transpose=True)
    batch = load_batch([plain, turned], [view])
    assert batch.image.shape == (2, 4, 8, 8)

    def turn(tensor):
        return turned.orient(tensor[0].numpy())

    assert np.array_equal(turn(batch.image), batch.image[1].numpy())
    assert np.array_equal(turn(batch.valid), batch.valid[1].numpy())
    for target in batch.targets.values():
        assert np.array_equal(turn(target), target[1].numpy(), equal_nan=True)


def test_an_invalid_pixel_has_no_label():
    scene = small_scene()
    sampler = PatchSampler([np.array([[3, 3]])], RULES)
    batch = load_batch(sampler.batch(0, 0), [scene.view(1)])
    hidden = batch.valid[:, 0] == 0
    assert hidden.any()
    assert (batch.targets["cover"][hidden] == -1).all()
    assert batch.targets["depth"][hidden].isnan().all()
    assert (batch.targets["cover"][~hidden] >= 0).any()


def test_spectral_noise_is_repeatable_and_of_the_stated_size():
    image = torch.full((200, 6, 5, 5), 1000.0)
    statistics = torch.full((6,), 1000.0), torch.full((6,), 50.0)

    def apply(**kwargs):
        random = torch.Generator().manual_seed(1)
        return disturb(image, AugmentSettings(**kwargs), statistics=statistics, random=random)

    assert torch.equal(apply(), image)
    assert torch.equal(apply(noise=0.2), apply(noise=0.2))
    assert abs(apply(noise=0.2).std() / 10 - 1) < 0.02
    bright = apply(brightness=0.1) / image
    assert (bright.amax(dim=(1, 2, 3)) == bright.amin(dim=(1, 2, 3))).all()
    assert abs(bright[:, 0, 0, 0].std() / 0.1 - 1) < 0.2


def test_band_dropout_sets_one_run_of_bands_to_their_mean():
    image = torch.randn(300, 10, 2, 2)
    statistics = torch.arange(10.0), torch.ones(10)
    random = torch.Generator().manual_seed(0)
    settings = AugmentSettings(band_dropout=0.4)
    result = disturb(image, settings, statistics=statistics, random=random)
    changed = (result != image).all(dim=(2, 3))
    assert torch.equal(
        result[changed], torch.arange(10.0).expand(300, 10)[changed][:, None, None].expand(-1, 2, 2)
    )
    edges = (changed[:, 1:] != changed[:, :-1]).sum(dim=1)
    assert edges.max() <= 2
    assert changed.sum(dim=1).max() == 4
    assert changed.any(dim=0).all()

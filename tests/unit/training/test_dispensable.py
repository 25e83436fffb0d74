"""Which bands a network can do without, found on the validation fold."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from small import ArrayLabels, ArraySource

from hsimap.labels import VALIDATION
from hsimap.spectra import spread_of
from hsimap.tasks import main_output, task_from_mapping
from hsimap.training import _dispensable
from hsimap.training._dispensable import find_dispensable, without
from hsimap.training._folds import LabelledScene

TASKS = (
    task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 2: "b"}}),
    task_from_mapping("depth", {"kind": "continuous", "unit": "m"}),
)
BANDS = 6
READS = 2
"""The band that the network reads; the next one is the same but for noise, the others are noise."""


class ReadsSomeBands(torch.nn.Module):
    """Depth is the mean of some bands over 100, cover whether that is above 0."""

    def __init__(self, reads=(READS,)):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.spec = SimpleNamespace(tasks=TASKS, patch=8)
        self.outputs = tuple(main_output(task) for task in TASKS)
        self.reads = list(reads)
        self.seen = []

    def forward(self, image, valid):
        self.seen.append(image.numpy())
        depth = image[:, self.reads].mean(dim=1, keepdim=True) / 100
        cover = torch.cat([(depth <= 0).float(), (depth > 0).float()], dim=1)
        return cover, depth


def scene(seed=0, *, height=24, width=40, reads=(READS,)):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 100, (BANDS, height, width)).astype(np.float32)
    values[READS + 1] = values[READS] + rng.normal(0, 3, (height, width))
    depth = values[list(reads)].mean(axis=0) / 100
    valid = np.ones(depth.shape, dtype=bool)
    valid[:, -3:] = False
    values[:, ~valid] = 1e6
    folds = np.where(np.arange(width) < 20, 1, 2) * np.ones((height, 1))
    return LabelledScene(
        name="made",
        source=ArraySource(values, valid),
        labels={
            "cover": ArrayLabels((depth > 0).astype(np.int64)),
            "depth": ArrayLabels(np.where(rng.random(depth.shape) < 0.5, depth, np.nan)),
        },
        folds=folds.astype(np.uint8),
        context="share",
    )


def spread(scenes):
    pixels = np.concatenate([s.source.values[:, s.source.valid] for s in scenes], axis=1)
    return spread_of(pixels.mean(axis=1), np.atleast_2d(np.cov(pixels, bias=True)))


def find(network, scenes, *, limit=0.05):
    order = list(range(BANDS))
    return find_dispensable(network, scenes, spread=spread(scenes), order=order, limit=limit)


def test_bands_that_nothing_depends_on_or_others_tell_of_are_dispensable():
    scenes = [scene(0), scene(1)]
    found, facts = find(ReadsSomeBands(), scenes)
    # One of the two that say the same has to stay: the one that costs more alone.
    assert found == (0, 1, 3, 4, 5)
    assert facts["runs"] == BANDS
    assert facts["cost"] == 0
    assert 0 < facts["run_costs"][READS] < 0.05
    assert facts["passes"] == 1 + BANDS + 4  # the first is known, the last may not go
    more = (0, READS, 5)
    scenes = [scene(0, reads=more), scene(1, reads=more)]
    assert find(ReadsSomeBands(more), scenes)[0] == (1, 3, 4)


def test_a_limit_below_what_any_run_costs_leaves_nothing():
    every = range(BANDS)
    assert find(ReadsSomeBands(every), [scene(reads=every)], limit=1e-5)[0] == ()


def test_only_patches_of_the_validation_fold_are_looked_at_and_no_more_than_a_bound(monkeypatch):
    scenes = [scene(seed) for seed in range(3)]
    network = ReadsSomeBands()
    find(network, scenes)
    whole = sum(part.shape[0] for part in network.seen)
    assert all(part.shape[1:] == (BANDS, 8, 8) for part in network.seen)
    passes = find(network, scenes)[1]["passes"]
    windows = sum(len(list(s.view(VALIDATION).windows(8))) for s in scenes)
    assert whole == passes * windows
    monkeypatch.setattr(_dispensable, "_MOST_PIXELS", 5 * 64)
    network.seen.clear()
    assert find(network, scenes)[0] == (0, 1, 3, 4, 5)
    assert sum(part.shape[0] for part in network.seen) <= 5 * passes


def test_what_is_left_out_is_not_looked_at():
    made = spread([scene()])
    image = np.random.default_rng(0).normal(0, 100, (2, BANDS, 3, 4)).astype(np.float32)
    other = image.copy()
    lost = np.array([1, READS])
    other[:, lost] = 7e7
    change = without(lost, made)
    found = change(image)
    np.testing.assert_array_equal(found, change(other))
    np.testing.assert_array_equal(found[:, [0, 3, 4, 5]], image[:, [0, 3, 4, 5]])
    assert np.corrcoef(found[:, READS].ravel(), image[:, READS + 1].ravel())[0, 1] > 0.999
    assert image[0, 1, 0, 0] != found[0, 1, 0, 0]


def test_a_fold_without_labels_allows_nothing():
    empty = scene()
    empty.folds[:] = 1
    assert find(ReadsSomeBands(), [empty])[0] == ()


def test_one_band_is_never_dispensable():
    made = scene()
    made.source.values = made.source.values[:1]
    network = ReadsSomeBands()
    network.forward = lambda image, valid: ReadsSomeBands.forward(
        network, image.repeat(1, BANDS, 1, 1), valid
    )
    found = find_dispensable(network, [made], spread=spread([made]), order=[0], limit=0.9)
    assert found[0] == ()

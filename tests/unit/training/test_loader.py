"""Batches are the same from a thread, from processes, from memory and from the disk."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from scenefile import recipe_for, write_labelled_scene

from hsimap.recipes import AugmentSettings, TrainingSettings
from hsimap.training import _folds, open_recipe
from hsimap.training._loader import BatchSource, Loader, count_workers
from hsimap.training._memory import InMemorySource, Room, Shared
from hsimap.training._train import make_sampler

NOISY = AugmentSettings(noise=0.2, brightness=0.1, band_dropout=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    for seed, name in enumerate(("scene", "other")):
        write_labelled_scene(folder, name=name, seed=seed)
    return folder


def open_source(stack, folder, **training):
    recipe = recipe_for(folder, names=("scene", "other"), **training)
    opened = stack.enter_context(open_recipe(recipe))
    views = [scene.view(1) for scene in opened.scenes]
    statistics = torch.full((5,), 3000.0), torch.full((5,), 100.0)
    return BatchSource(
        views=views,
        sampler=make_sampler(views, recipe.training),
        augment=NOISY,
        statistics=statistics,
        seed=4,
    )


@pytest.fixture
def stack():
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield stack


def bytes_of(batches):
    return [
        [tensor.numpy().tobytes() for tensor in (b.image, b.valid, *b.targets.values())]
        for b in batches
    ]


@pytest.mark.slow
def test_processes_make_the_batches_of_the_thread(folder, stack):
    source = open_source(stack, folder, cache_gib=60_000 / 2**30)  # room for one scene of two
    kept = [isinstance(view._scene.source, InMemorySource) for view in source.views]
    assert kept == [True, False]
    before = torch.get_rng_state()
    alone, several = (Loader(source, workers=n, pin=False) for n in (0, 2))
    for epoch, first in [(0, 2), (1, 0)]:
        expected = bytes_of(alone.epoch(epoch, first=first))
        assert len(expected) == source.sampler.steps - first
        assert bytes_of(several.epoch(epoch, first=first)) == expected
    several.close()
    # Training draws from the global generator; reading must leave it alone.
    assert torch.equal(torch.get_rng_state(), before)


def test_kept_scenes_give_what_the_disk_gives(folder, stack):
    disk, kept = (open_source(stack, folder, cache_gib=gib) for gib in (0.0, 1.0))
    assert isinstance(kept.views[1]._scene.source, InMemorySource)
    assert not isinstance(disk.views[0]._scene.source, InMemorySource)
    for step in range(3):
        assert bytes_of([disk.load(0, step)]) == bytes_of([kept.load(0, step)])


def test_the_batches_of_two_processes_make_one(folder, stack):
    source = open_source(stack, folder)
    source = replace(source, augment=AugmentSettings())
    whole = source.load(0, 1).image
    parts = [replace(source, rank=rank, world=2).load(0, 1).image for rank in (0, 1)]
    assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), whole)


def test_an_error_of_a_batch_reaches_the_caller(folder, stack):
    source = open_source(stack, folder)
    broken = replace(source, views=source.views[:0])
    with pytest.raises(IndexError):
        list(islice(Loader(broken, workers=0, pin=False).epoch(0, first=0), 1))


def test_room_is_taken_in_order_until_it_is_full():
    class Adapter:
        shape, n_bands, itemsize = (1024, 1024), 60, 2

    room = Room(0.3)  # 60 * 2 + 1 + 2 * 4 = 129 MiB each
    assert [room.take(Adapter(), n_tasks=2) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint32, np.float32, bool])
def test_a_shared_array_is_the_same_after_a_journey(dtype):
    array = (np.arange(12).reshape(3, 4) % 7).astype(dtype)
    shared = Shared(array.copy())
    there = pickle.loads(pickle.dumps(shared))  # noqa: S301 - made here
    for found in (there.array, shared.array):
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)


def test_workers_are_counted_by_device(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(16), raising=False)
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert count_workers(TrainingSettings(), cpu) == 0
    assert count_workers(TrainingSettings(), gpu) == 8
    assert count_workers(TrainingSettings(devices=4), gpu) == 3
    assert count_workers(TrainingSettings(workers=5), cpu) == 5


@pytest.mark.parametrize("most", [1, 7, 100, 10_000])
def test_positions_are_thinned_evenly_and_in_bounded_memory(folder, stack, monkeypatch, most):
    view = open_source(stack, folder).views[0]
    every = view.positions()
    monkeypatch.setattr(_folds, "_MOST_POSITIONS", most)
    monkeypatch.setattr(_folds, "_MOST_PIXELS", 5 * 56)
    assert max(window.height for window in view.windows(56)) == 5
    found = view.positions()
    step = 1
    while -(-len(every) // step) > most:
        step *= 2
    assert np.array_equal(found, every[::step])

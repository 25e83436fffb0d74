"""Small labelled scenes in memory, for the tests of training."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from hsimap.networks import NetworkSettings, NetworkSpec, NormalisationSpec, build_network
from hsimap.tasks import main_output, task_from_mapping
from hsimap.training import _loader
from hsimap.training._folds import LabelledScene, cut

BANDS = 4
TASKS = (
    task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 2: "b", 3: "c"}}),
    task_from_mapping("depth", {"kind": "continuous", "unit": "m"}),
)


class ArraySource:
    """Pixels of an array."""

    def __init__(self, values, valid):
        self.values, self.valid = values, valid

    def read(self, window):
        return cut(self.values, window, fill=0), cut(self.valid, window, fill=False)

    def to_network(self, values):
        return values.astype(np.float32)


class ArrayLabels:
    """Labels of an array."""

    def __init__(self, values):
        self.values = values

    def read(self, window):
        return self.values[window.slices]


def small_scene(*, height=20, width=26, context="share", seed=0):
    """Return a scene whose classes and values show in its spectra; folds are vertical stripes."""
    rng = np.random.default_rng(seed)
    cover = np.kron(rng.integers(0, 3, (height // 2, width // 2)), np.ones((2, 2), dtype=int))
    depth = cover * 3.0 + rng.normal(0, 0.3, cover.shape)
    spectra = rng.normal(0, 1, (3, BANDS)) * 300 + 1000
    values = spectra[cover].transpose(2, 0, 1) + rng.normal(0, 20, (BANDS, height, width))
    valid = np.ones((height, width), dtype=bool)
    valid[:2, :3] = False
    labels = cover.astype(np.int64)
    labels[rng.random(labels.shape) < 0.2] = -1
    targets = depth.astype(np.float32)
    targets[rng.random(targets.shape) < 0.5] = np.nan
    folds = np.zeros((height, width), dtype=np.uint8)
    folds[:, : width // 2], folds[:, width // 2 + 1 : -6], folds[:, -6:] = 1, 2, 3
    return LabelledScene(
        name="small",
        source=ArraySource(values.astype(np.int16), valid),
        labels={"cover": ArrayLabels(labels), "depth": ArrayLabels(targets)},
        folds=folds,
        context=context,
    )


def small_network():
    """Return a network of both tasks, always the same."""
    torch.manual_seed(0)
    spec = NetworkSpec(
        settings=NetworkSettings(architecture="spectral_spatial", width=8),
        n_bands=BANDS,
        patch=8,
        tasks=TASKS,
        outputs=tuple(main_output(task) for task in TASKS),
        normalisation=NormalisationSpec(mean=(1000.0,) * BANDS, std=(300.0,) * BANDS),
        scaling={"depth": (3.0, 2.0)},
    )
    return build_network(spec).eval()


class CrashError(Exception):
    pass


@contextmanager
def crashing_at(number):
    """Load so many batches and no more; what is run inside must end of that."""
    load, done = _loader.load_batch, []

    def crash(draws, views):
        if len(done) == number:
            raise CrashError
        done.append(1)
        return load(draws, views)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_loader, "load_batch", crash)
        with pytest.raises(CrashError):
            yield

"""Small labelled scenes in memory, for the tests of training."""

from __future__ import annotations

import numpy as np

from hsimap.training._folds import LabelledScene, cut

BANDS = 4


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

"""Statistics come from the training fold alone and equal numpy's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import ArrayLabels, small_scene

from hsimap.errors import InputError
from hsimap.tasks import Kind
from hsimap.training._statistics import measure, median_frequency

KINDS = {"cover": (Kind.CATEGORICAL, 3), "depth": (Kind.CONTINUOUS, 1)}


def test_labels_are_counted_and_scaled_over_the_training_fold():
    scene = small_scene()
    found = measure([scene.view(1)], KINDS, patch=8)
    train = scene.folds == 1
    cover = scene.labels["cover"].values[train]
    depth = scene.labels["depth"].values[train]
    assert found.class_counts["cover"] == tuple((cover == c).sum() for c in range(3))
    assert found.scaling["depth"] == pytest.approx((np.nanmean(depth), np.nanstd(depth)))
    assert found.n_pixels == {"cover": (cover >= 0).sum(), "depth": np.isfinite(depth).sum()}


def test_bands_are_measured_over_valid_pixels_of_training_windows():
    scene = small_scene(context="mask")
    found = measure([scene.view(1)], KINDS, patch=4)
    use = scene.source.valid & (scene.folds <= 1)
    use[:, 16:] = False  # columns 0-15: the windows of 4 pixels that hold training pixels
    pixels = scene.source.values[:, use].astype(float)
    assert found.mean == pytest.approx(pixels.mean(axis=1))
    assert found.std == pytest.approx(pixels.std(axis=1))


def test_a_constant_band_has_unit_spread():
    scene = small_scene()
    scene.source.values[2] = 777
    assert measure([scene.view(1)], KINDS, patch=8).std[2] == 1.0


def test_a_task_without_a_training_label_is_an_error():
    scene = small_scene()
    empty = np.where(scene.folds == 1, np.nan, 1).astype(np.float32)
    scene = replace(scene, labels={**scene.labels, "depth": ArrayLabels(empty)})
    with pytest.raises(InputError, match="'depth' has no label in the training fold"):
        measure([scene.view(1)], KINDS, patch=8)


def test_median_frequency_weights():
    assert median_frequency([10, 40, 0, 20]).tolist() == [2.0, 0.5, 0.0, 1.0]

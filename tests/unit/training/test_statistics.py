"""Statistics come from the training fold alone and equal numpy's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import ArrayLabels, small_scene

from hsimap.errors import InputError
from hsimap.tasks import Kind
from hsimap.training import _statistics
from hsimap.training._statistics import inverse_frequency, measure, median_frequency, percentiles

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


@pytest.mark.parametrize("most", [1 << 18, 100])
def test_products_of_bands_are_numpys_covariance(monkeypatch, most):
    taken = []

    class Listing(_statistics._Products):
        def add(self, pixels):
            taken.append(pixels)
            super().add(pixels)

        def covariance(self):
            pixels = np.concatenate(taken, axis=1)
            np.testing.assert_allclose(super().covariance(), np.cov(pixels, bias=True), rtol=1e-9)
            return super().covariance()

    monkeypatch.setattr(_statistics, "_Products", Listing)
    monkeypatch.setattr(_statistics, "_MOST_PRODUCTS", most)
    scene = small_scene()
    found = measure([scene.view(1)], KINDS, patch=8)
    n = sum(part.shape[1] for part in taken)
    assert n <= most
    assert found.spread.mean.tolist() == list(found.mean)
    shown = np.sqrt(np.diag(found.spread.covariance))
    np.testing.assert_allclose(shown, found.std, rtol=1e-4 if most > n > 100 else 0.3)


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


def test_inverse_frequency_weights():
    assert inverse_frequency([10, 40, 0, 50]).tolist() == pytest.approx([10.0, 2.5, 0.0, 2.0])


@pytest.mark.parametrize("percent", [50, 90, 98])
def test_percentiles_are_numpys_to_a_bin(percent):
    scene = small_scene()
    found = measure([scene.view(1)], KINDS, patch=8, percent=percent)
    depth = scene.labels["depth"].values[scene.folds == 1]
    known = depth[np.isfinite(depth)]
    assert found.extremes["depth"] == (known.min(), known.max())
    exact = np.percentile(known, percent, method="inverted_cdf")
    width = (known.max() - known.min()) / 65536
    assert exact <= found.limits["depth"] * (1 + 1e-6) <= exact + 2 * width
    # At or below the limit lies the share that was asked for.
    assert (known <= found.limits["depth"]).mean() >= percent / 100


def test_the_percentile_of_a_constant_is_the_constant():
    scene = small_scene()
    same = ArrayLabels(np.full(scene.folds.shape, 3.0, dtype=np.float32))
    scene = replace(scene, labels={"depth": same})
    assert percentiles([scene.view(1)], {"depth": (3.0, 3.0)}, percent=98)["depth"] == 3.0

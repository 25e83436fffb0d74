"""Separability against the spectral package and closed forms; folds, leaks and distributions."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import spectral
from hypothesis import given
from hypothesis import strategies as st
from spectral.algorithms.algorithms import TrainingClass

from hsimap.evaluation import (
    ClassMoments,
    bhattacharyya,
    describe_dataset,
    divergence,
    separability,
)
from hsimap.evaluation.report import dataset_page
from hsimap.tasks import task_from_mapping

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small import small_scene  # beside the tests of training

COVER = task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 2: "b", 3: "c"}})
DEPTH = task_from_mapping("depth", {"kind": "continuous", "unit": "m"})


def normal(rng, k):
    root = rng.normal(size=(k, k))
    return rng.normal(size=k), root @ root.T + 0.1 * np.eye(k)


@given(st.integers(1, 6), st.integers(0, 999))
def test_the_bhattacharyya_distance_is_that_of_the_spectral_package(k, seed):
    rng = np.random.default_rng(seed)
    classes = []
    for index in (1, 2):
        mean, covariance = normal(rng, k)
        found = TrainingClass(np.zeros((1, 1, k)), np.ones((1, 1)), index)
        found.stats = spectral.GaussianStats(mean=mean, cov=covariance)
        classes.append(found)
    expected = spectral.bdist(*classes)
    pair = [c.stats.mean for c in classes] + [c.stats.cov for c in classes]
    assert bhattacharyya(*pair) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.integers(1, 5), st.integers(0, 999))
def test_the_divergence_is_both_kullback_leibler_divergences(k, seed):
    rng = np.random.default_rng(seed)
    (m1, c1), (m2, c2) = normal(rng, k), normal(rng, k)

    def kl(mean, covariance, other_mean, other):
        d, inverse = other_mean - mean, np.linalg.inv(other)
        logs = np.linalg.slogdet(other)[1] - np.linalg.slogdet(covariance)[1]
        return (np.trace(inverse @ covariance) - k + d @ inverse @ d + logs) / 2

    expected = kl(m1, c1, m2, c2) + kl(m2, c2, m1, c1)
    assert divergence(m1, m2, c1, c2) == pytest.approx(expected, rel=1e-6)


def test_classes_of_known_distance_and_moments_in_parts():
    rng = np.random.default_rng(0)
    target = rng.integers(0, 3, 60_000)
    spectra = rng.normal(size=(4, target.size)) + 5000
    spectra[0] += np.array([0, 0, 2.0])[target]
    moments = ClassMoments(3, 4)
    for part in np.array_split(np.arange(target.size), 7):
        moments.add(target[part], spectra[:, part])
    _, covariance = moments.of((0, 1, 2))
    for k in range(3):
        np.testing.assert_allclose(covariance[k], np.cov(spectra[:, target == k]), atol=1e-8)
    np.testing.assert_allclose(moments.pooled(), np.cov(spectra), atol=1e-8)
    found = separability(COVER, moments)
    # d = 2 standard deviations: B = 4 / 8, D = 4
    assert found.jeffries_matusita[2, 0] == pytest.approx(2 * (1 - np.exp(-0.5)), abs=0.02)
    assert found.transformed_divergence[2, 0] == pytest.approx(2 * (1 - np.exp(-0.5)), abs=0.02)
    assert found.jeffries_matusita[1, 0] == pytest.approx(0, abs=0.005)
    assert (found.components, found.variance) == (4, pytest.approx(1))


def test_small_classes_take_fewer_components_or_none():
    rng = np.random.default_rng(1)
    target = np.repeat([0, 1, 2], [400, 35, 8])
    moments = ClassMoments(3, 8)
    moments.add(target, rng.normal(size=(8, target.size)))
    found = separability(COVER, moments)
    assert (found.classes, found.components) == ((0, 1), 3)
    few = ClassMoments(3, 8)
    few.add(target[:410], rng.normal(size=(8, 410)))
    assert separability(COVER, few) is None


def test_distributions_are_counted_by_fold():
    scene = small_scene()
    found = describe_dataset([scene], [COVER, DEPTH], patch=8, foreign_share=0.125)
    cover, depth = found.distributions
    for fold, code in (("training", 1), ("validation", 2), ("test", 3)):
        labels = scene.labels["cover"].values[scene.folds == code]
        expected = np.bincount(labels[labels >= 0], minlength=3)
        assert cover.counts[fold].tolist() == expected.tolist()
        values = scene.labels["depth"].values[scene.folds == code]
        values = values[np.isfinite(values)]
        assert depth.moments[fold] == pytest.approx((values.mean(), values.std()), rel=1e-4)
        middle = depth.quantiles(fold)["q50"]
        assert (values <= middle + 0.01).mean() >= 0.5 >= (values <= middle - 0.01).mean()
    assert [s.task.name for s in found.separabilities] == ["cover"]
    assert found.as_dict()["share_of_training_windows_in_other_folds"] == 0.125


def test_leaks_and_distances_between_folds_are_found():
    scene = small_scene()  # training columns 0-12, none 13, validation 14-19, test 20-25
    found = describe_dataset([scene], [COVER], patch=16, foreign_share=0.0)
    (folds,) = found.scenes
    assert folds.nearest == 8
    assert folds.within_window == pytest.approx(1 / 6)
    assert found.leaks == ()
    stands = np.kron(np.arange(1, 27), np.ones((20, 1), dtype=int)).astype(np.int32)
    stands[:, 14], stands[:5, 25] = stands[:, 12], 0
    leaky = describe_dataset([replace(scene, stands=stands)], [COVER], patch=8, foreign_share=0)
    assert leaky.scenes[0].stands == {"training": 13, "validation": 6, "test": 6}
    assert leaky.scenes[0].shared_stands == 1
    assert "1 stands have pixels in more than one fold" in leaky.verdict


def test_the_page_holds_all_of_it_and_nothing_from_outside():
    scene = small_scene()
    found = describe_dataset([scene], [COVER, DEPTH], patch=8, foreign_share=0.1)
    page = dataset_page(found, recipe="a <b>", notes=("6 of 7 bands are used",))
    assert page.count("data:image/") == 5
    assert "Labels of a &lt;b&gt;" in page
    assert "10.0 %" in page
    assert "http" not in page.replace("http-equiv", "")

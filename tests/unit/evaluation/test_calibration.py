"""Intervals against mapie and the textbook rank; coverage of new stands; temperatures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mapie.regression import SplitConformalRegressor
from sklearn.base import BaseEstimator, RegressorMixin
from torchmetrics.classification import MulticlassCalibrationError

from hsimap.bundle import Intervals
from hsimap.evaluation import (
    UnitSample,
    calibration_error,
    conformal_quantile,
    fit_intervals,
    fit_temperature,
    unit_weights,
)


class Given(RegressorMixin, BaseEstimator):
    """A regressor whose prediction is its only feature."""

    def fit(self, x, y):
        self.fitted_ = True
        return self

    def predict(self, x):
        return x[:, 0]


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [39, 57, 200])
def test_one_pixel_a_unit_gives_the_intervals_of_mapie(level, n):
    rng = np.random.default_rng(n)
    predicted = rng.normal(20, 5, n)
    target = predicted + rng.normal(0, 2, n)
    oracle = SplitConformalRegressor(Given().fit(None, None), confidence_level=level, prefit=True)
    oracle.conformalize(predicted[:, None], target)
    _, bounds = oracle.predict_interval(np.array([[10.0], [30.0]]))
    half = conformal_quantile(np.abs(target - predicted), np.ones(n), level=level)
    np.testing.assert_allclose(bounds[:, 0, 0], [10 - half, 30 - half])
    np.testing.assert_allclose(bounds[:, 1, 0], [10 + half, 30 + half])


@given(st.integers(1, 120), st.sampled_from([80, 90, 95]), st.integers(0, 99))
def test_the_rank_is_the_finite_sample_one(n, level, seed):
    residuals = np.random.default_rng(seed).random(n)
    rank = -(-(n + 1) * level // 100)
    expected = np.sort(residuals)[rank - 1] if rank <= n else np.inf
    assert conformal_quantile(residuals, np.ones(n), level=level / 100) == expected


def test_a_stand_counts_once_however_many_pixels_it_has():
    residuals = np.arange(1.0, 40.0)
    alone = conformal_quantile(residuals, np.ones(39), level=0.9)
    times = np.random.default_rng(0).integers(1, 50, 39)
    units = np.repeat(np.arange(39), times)
    repeated = np.repeat(residuals, times)
    assert conformal_quantile(repeated, unit_weights(units), level=0.9) == alone


def stands(rng, n, *, pixels=30, noise=0.5):
    """Return mapped and true values of stands that share an error and a label each."""
    true = np.repeat(rng.uniform(0, 30, n), pixels)
    units = np.repeat(np.arange(n), pixels)
    shared = np.repeat(rng.normal(0, 1, n), pixels)
    noise = noise * rng.normal(0, 1, n * pixels)
    return true + (shared + noise) * (0.5 + true / 15), true, units


@pytest.mark.parametrize("level", [80, 90, 95])
def test_pixels_of_new_stands_are_covered_as_often_as_the_level_says(level):
    rng = np.random.default_rng(level)
    by_unit, low_values = [], []
    for _ in range(40):
        intervals = fit_intervals(*stands(rng, 300))
        mapped, true, _ = stands(rng, 200)
        low, high = intervals.bounds(mapped, level=level, clip=None)
        inside = (low <= true) & (true <= high)
        by_unit.append(inside.reshape(200, -1).mean())
        low_values.append(inside[mapped < intervals.edges[0]].mean())
    assert len(intervals.edges) > 2  # the width follows the mapped value ...
    assert -0.005 < np.mean(by_unit) - level / 100 < 0.02
    assert np.mean(low_values) == pytest.approx(level / 100, abs=0.03)  # ... and keeps its word


def test_pixels_taken_for_exchangeable_would_promise_too_much():
    rng = np.random.default_rng(5)
    shares = []
    for _ in range(200):
        mapped, true, units = stands(rng, 12, noise=0.1)
        honest = conformal_quantile(np.abs(mapped - true), unit_weights(units), level=0.9)
        naive = conformal_quantile(np.abs(mapped - true), np.ones(len(true)), level=0.9)
        new, truth, _ = stands(rng, 50, noise=0.1)
        shares.append([(np.abs(new - truth) <= half).mean() for half in (honest, naive)])
    honest, naive = np.mean(shares, axis=0)
    assert honest >= 0.895
    assert naive < 0.88


def test_too_few_units_reach_no_level_or_the_low_ones_only():
    rng = np.random.default_rng(0)
    assert fit_intervals(*stands(rng, 3)) is None
    assert fit_intervals(*stands(rng, 12)).levels == (80, 90)
    assert fit_intervals(*stands(rng, 30)).levels == (80, 90, 95)
    assert fit_intervals(*stands(rng, 30)).edges == ()


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20),
    st.floats(0, 1e3),
    st.sampled_from([None, (0.0, 40.0)]),
)
def test_bounds_enclose_the_value_and_keep_to_the_range(values, half, clip):
    intervals = Intervals(edges=(10.0,), half_widths={"90": (half, half / 3)}, units=(9, 9))
    values = np.array(values) if clip is None else np.clip(values, *clip)
    low, high = intervals.bounds(values, level=90, clip=clip)
    narrow = values.astype(np.float32)
    assert (low <= narrow).all()
    assert (narrow <= high).all()
    assert clip is None or (low.min() >= 0 and high.max() <= 40)


def test_the_width_changes_at_the_edge_and_nan_stays_nan():
    intervals = Intervals(edges=(10.0,), half_widths={"80": (1.0, 2.0)}, units=(9, 9))
    low, high = intervals.bounds(np.array([9.0, 10.0, np.nan]), level=80, clip=None)
    np.testing.assert_array_equal(low, np.float32([8, 8, np.nan]))
    np.testing.assert_array_equal(high, np.float32([10, 12, np.nan]))


def overconfident(rng, n, temperature):
    logits = rng.normal(0, 2, (n, 4))
    truth = (logits + rng.gumbel(size=(n, 4))).argmax(axis=1)
    sure = np.exp(logits * temperature)
    return sure / sure.sum(axis=1, keepdims=True), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_was_applied_is_found(temperature):
    probabilities, truth = overconfident(np.random.default_rng(3), 20_000, temperature)
    found, told = fit_temperature(probabilities, truth, np.arange(20_000))
    assert found == pytest.approx(temperature, rel=0.04)
    assert told.nll_after <= told.nll_before
    assert told.ece_after < 0.015
    assert told.ece_before > 0.05 or temperature == 1


def test_the_calibration_error_is_that_of_torchmetrics():
    probabilities, truth = overconfident(np.random.default_rng(4), 3000, 2.0)
    oracle = MulticlassCalibrationError(num_classes=4, n_bins=15, norm="l1")
    expected = float(oracle(torch.from_numpy(probabilities), torch.from_numpy(truth)))
    assert calibration_error(probabilities, truth) == pytest.approx(expected, abs=1e-6)


def test_a_large_stand_is_thinned_at_random_and_a_small_one_kept():
    sample = UnitSample(1)
    for start in range(0, 5000, 500):
        rows = np.arange(start, start + 500.0)[:, None]
        sample.add(np.full(500, 7), rows)
        sample.add(np.array([3]), np.array([[start]]))
    units, rows = sample.pixels()
    large = np.sort(rows[units == 7, 0])
    assert (units == 3).sum() == 10
    assert len(large) == 256 == len(np.unique(large))
    assert large.mean() == pytest.approx(2500, abs=300)

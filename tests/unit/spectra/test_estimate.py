"""Bands are estimated from what training spectra look like: by numpy, and by what must hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import FactorAnalysis

from hsimap.errors import MismatchError
from hsimap.spectra import Bands, Spread, fit_bands, match_table, spread_of
from hsimap.spectra._estimate import responses

NM = np.arange(450.0, 900.0, 5.0)
RNG = np.random.default_rng(3)
NOISE = 20.0


def spectra(n, rng=RNG):
    """Vegetation between two levels with an edge that moves, and noise; ``(pixel, band)``."""
    level, share, edge = rng.random((3, n, 1))
    clean = 500 + 2500 * share / (1 + np.exp(-(NM - 700 - 20 * edge) / 12)) + 600 * level
    dip = 300 * rng.random((n, 1)) * np.exp(-(((NM - 680) / 9) ** 2))
    return clean - dip + rng.normal(0, NOISE, (n, NM.size))


TRAIN = spectra(4000)
SPREAD = replace(spread_of(TRAIN.mean(axis=0), np.cov(TRAIN.T, bias=True)), wavelength_nm=NM)
MODEL = Bands(wavelength_nm=tuple(NM.tolist()), fwhm_nm=(5.0,) * NM.size, good=(True,) * NM.size)


def bands(nm, *, fwhm=None, bad=()):
    nm = np.asarray(nm, dtype=float)
    widths = None if fwhm is None else tuple(np.broadcast_to(fwhm, nm.size).tolist())
    good = tuple(i not in set(bad) for i in range(nm.size))
    return Bands(wavelength_nm=tuple(nm.tolist()), fwhm_nm=widths, good=good)


def brought(match, measured):
    """Return ``(pixel, model band)`` of ``(pixel, scene band)``."""
    taken = np.asarray(measured)[:, list(match.indices)]
    found = taken if match.weights is None else taken @ match.weights.T
    return found if match.offset is None else found + match.offset


def broad(nm, fwhm):
    """Return ``(scene band, model band)``: Gaussians over the model's bands."""
    power = -4 * np.log(2) * ((NM[None] - np.asarray(nm)[:, None]) / fwhm) ** 2
    weights = np.exp(power)
    return weights / weights.sum(axis=1, keepdims=True)


COARSE = np.linspace(452.0, 893.0, 40)


# --- the spread -----------------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn_where_its_model_is_ours():
    theirs = FactorAnalysis(3).fit(TRAIN)
    ours = Spread(
        mean=theirs.mean_, components=theirs.components_, noise=np.sqrt(theirs.noise_variance_)
    )
    found = (TRAIN - ours.mean) @ ours.scores.T
    np.testing.assert_allclose(found, theirs.transform(TRAIN), rtol=1e-6, atol=1e-8)


def test_scores_have_at_most_unit_variance_and_hardly_correlate():
    found = (TRAIN - SPREAD.mean) @ SPREAD.scores.T
    assert found.shape[1] == len(SPREAD.components)
    covariance = np.cov(found.T)
    variance = np.diag(covariance)
    assert (variance <= 1.01).all()
    assert variance[0] > 0.99
    strong = variance > 0.5
    correlation = covariance[strong][:, strong] - np.diag(variance[strong])
    assert np.abs(correlation).max() < 0.05


def test_a_constant_band_has_no_part_in_the_scores():
    spread = spread_of(
        np.zeros(6), np.diag([1.0, 1, 1, 1, 1, 0]) + np.outer(*[[1, 1, 1, 1, 1, 0]] * 2)
    )
    assert np.isfinite(spread.scores).all()
    assert not spread.scores[:, 5].any()


def test_the_spread_is_a_factor_analysis():
    found = FactorAnalysis(4, tol=1e-8, max_iter=5000).fit(TRAIN)
    n = SPREAD.components.shape[0]
    assert 4 <= n <= 24
    ours, theirs = SPREAD.covariance, found.get_covariance()
    exact = np.cov(TRAIN.T, bias=True)
    assert np.abs(ours - exact).max() < np.abs(theirs - exact).max() < 0.01 * exact.max()
    assert np.median(SPREAD.noise) == pytest.approx(NOISE, rel=0.1)


@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 40))
@settings(max_examples=30)
def test_variances_are_kept_and_constant_bands_stay_constant(seed, n_bands, n_pixels):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 1, (n_pixels, n_bands)) @ rng.normal(0, 1, (n_bands, n_bands))
    pixels[:, 0] = 7
    found = spread_of(pixels.mean(axis=0), np.cov(pixels.T, bias=True).reshape(n_bands, n_bands))
    assert len(found.components) <= n_bands // 2
    expected = pixels.var(axis=0)
    np.testing.assert_allclose(np.diag(found.covariance), expected, rtol=1e-4, atol=1e-12)
    weights, offset = found.given(np.eye(n_bands))
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights @ found.mean + offset, found.mean, atol=1e-9)


def test_estimates_are_the_conditional_mean():
    rng = np.random.default_rng(0)
    spread = Spread(
        mean=rng.normal(0, 1, 5), components=rng.normal(0, 1, (2, 5)), noise=np.full(5, 0.3)
    )
    weights, offset = spread.given(np.eye(5)[:3])
    drawn = rng.multivariate_normal(spread.mean, spread.covariance, 400_000)
    design = np.c_[drawn[:, :3], np.ones(len(drawn))]
    fitted = np.linalg.lstsq(design, drawn[:, 3:], rcond=None)[0]
    np.testing.assert_allclose(weights[3:], fitted[:3].T, atol=0.01)
    np.testing.assert_allclose(offset[3:], fitted[3], atol=0.01)


# --- responses ------------------------------------------------------------------------------------


def test_a_broad_band_sees_what_two_gaussians_in_a_row_do():
    used, response = responses(MODEL, bands([650.0, 700.0], fwhm=13.0))
    assert used.tolist() == [0, 1]
    np.testing.assert_allclose(response.sum(axis=1), 1)
    np.testing.assert_allclose(response @ NM, [650, 700], atol=1e-6)
    second = response @ NM**2 - (response @ NM) ** 2
    # A band of 13 nm is one of 5 nm seen through 12 nm.
    np.testing.assert_allclose(second, (12 / 2.3548) ** 2, rtol=0.04)


def test_a_band_as_narrow_as_the_models_lies_on_the_line_between_two():
    _, response = responses(MODEL, bands([651.0], fwhm=5.0))
    assert response[0, NM == 650] == pytest.approx(0.8)
    assert response[0, NM == 655] == pytest.approx(0.2)


def test_bad_bands_and_those_where_the_model_has_none_are_not_used():
    scene = bands([300.0, 440.0, 448.0, 500.0, 600.0, 897.0, 1200.0], fwhm=6.0, bad=(3,))
    assert responses(MODEL, scene)[0].tolist() == [2, 4, 5]


# --- what must hold -------------------------------------------------------------------------------


@st.composite
def coarse_sensors(draw):
    n = draw(st.integers(25, 60))
    centres = np.linspace(450, 895, n) + draw(st.floats(-2, 2))
    fwhm = draw(st.none() | st.floats(8, 30))
    bad = draw(st.sets(st.integers(1, n - 2), max_size=2))
    order = draw(st.permutations(range(n)))
    return bands(centres[order], fwhm=fwhm, bad=bad)


@given(coarse_sensors(), st.sampled_from(["auto", "always"]))
@settings(max_examples=25)
def test_the_mean_stays_the_mean_and_no_bad_band_is_read(scene, mode):
    match = fit_bands(MODEL, scene, resample=mode, spread=SPREAD, dispensable=range(MODEL.n))
    assert all(scene.good[i] for i in match.indices)
    assert "estimated" in match.ways
    assert match.resampled + match.ways.count("selected") + len(match.missing) == MODEL.n
    used, response = responses(MODEL, scene)
    seen = np.zeros((1, scene.n))
    seen[0, used] = response @ SPREAD.mean
    estimated = [i for i, way in enumerate(match.ways) if way in {"estimated", "missing"}]
    found = brought(match, seen)[0][estimated]
    np.testing.assert_allclose(found, SPREAD.mean[estimated], rtol=2e-4)


@given(coarse_sensors())
@settings(max_examples=15)
def test_missing_is_what_lines_do_not_reach_either(scene):
    plain = fit_bands(MODEL, scene, dispensable=range(MODEL.n))
    match = fit_bands(MODEL, scene, spread=SPREAD, dispensable=range(MODEL.n))
    assert match.missing == plain.missing
    if plain.missing:
        with pytest.raises(MismatchError, match="nothing is extrapolated"):
            fit_bands(MODEL, scene, spread=SPREAD)


def test_a_spectrum_unlike_the_trainings_stays_near_what_was_measured():
    scene = bands(COARSE, fwhm=13.0)
    _, response = responses(MODEL, scene)
    odd = 2000 + 500 * np.sin(NM / 60)  # nothing that the training holds
    measured = (response @ odd)[None]
    found = brought(fit_bands(MODEL, scene, spread=SPREAD), measured)
    assert np.abs(found @ response.T - measured).max() < 0.01 * np.ptp(odd)
    assert np.abs(found - odd).max() < 0.03 * np.ptp(odd)
    # Without room for what is new the training's shapes are forced on it.
    strict = replace(SPREAD, wavelength_nm=None)
    forced = brought(fit_bands(MODEL, scene, spread=strict), measured)
    assert np.abs(forced - odd).max() > 0.08 * np.ptp(odd)


@pytest.mark.parametrize("fwhm", [None, 13.0])
def test_broad_bands_are_brought_back_closer_than_by_lines(fwhm):
    truth = spectra(500, np.random.default_rng(9))
    measured = truth @ broad(COARSE, 12.0).T
    measured[:, [5, 20]] = 9e4
    scene = bands(COARSE, fwhm=fwhm, bad=(5, 20))
    match = fit_bands(MODEL, scene, spread=SPREAD)
    assert set(match.ways) == {"estimated"}
    error = brought(match, measured) - truth
    lines = brought(fit_bands(MODEL, scene), measured) - truth
    # No estimate can be better than the noise of each band's own.
    assert np.sqrt(np.mean(error**2)) < 1.2 * NOISE
    assert np.sqrt(np.mean(lines**2)) > 1.4 * NOISE
    assert np.abs(error.mean(axis=0)).max() < 5
    assert np.abs(lines.mean(axis=0)).max() > 100  # the dip, which lines cannot restore


# --- what is selected, resampled, estimated -------------------------------------------------------


def test_the_models_own_bands_are_selected_whatever_the_spread():
    for scene in (MODEL, bands(NM + 0.2), bands(NM[::-1], fwhm=6.0)):
        match = fit_bands(MODEL, scene, spread=SPREAD)
        assert match.weights is None
        assert match.indices == fit_bands(MODEL, scene).indices


def test_bad_bands_of_the_models_sensor_are_estimated_and_the_others_selected():
    match = fit_bands(MODEL, bands(NM, bad=(40, 41)), spread=SPREAD)
    assert match.ways.count("selected") == NM.size - 2
    assert match.ways[40] == match.ways[41] == "estimated"
    truth = spectra(300, np.random.default_rng(2))
    spoilt = truth.copy()
    spoilt[:, 40:42] = 9e4
    found = brought(match, spoilt)
    kept = [i for i in range(NM.size) if i not in {40, 41}]
    np.testing.assert_allclose(found[:, kept], truth[:, kept], rtol=1e-6)
    assert np.abs(found[:, 40:42] - truth[:, 40:42]).std() < 2 * NOISE


def test_a_sensor_that_is_finer_is_averaged_as_without_the_spread():
    fine = bands(np.arange(430.0, 920.0, 1.3), fwhm=1.5)
    with_spread = fit_bands(MODEL, fine, resample="always", spread=SPREAD)
    plain = fit_bands(MODEL, fine, resample="always")
    assert set(with_spread.ways) == {"gaussian"}
    np.testing.assert_array_equal(with_spread.weights, plain.weights)
    assert not with_spread.offset.any()


def test_a_sensor_that_lies_elsewhere_is_not_taken_for_the_models():
    # Half a spacing off at the red edge is another reflectance.
    truth = spectra(300, np.random.default_rng(5))
    shifted = np.array([np.interp(NM + 2.4, NM, row) for row in truth])
    scene = bands(NM + 2.4, fwhm=5.0)
    errors = {
        name: np.abs(brought(match, shifted) - truth)[:, 45:60].mean()
        for name, match in {
            "selected": fit_bands(MODEL, scene),
            "estimated": fit_bands(MODEL, scene, spread=SPREAD),
        }.items()
    }
    assert errors["estimated"] < 0.5 * errors["selected"]


def test_bands_that_may_be_missing_are_estimated_and_still_called_missing():
    scene = bands(NM[:70], fwhm=5.0)
    match = fit_bands(MODEL, scene, spread=SPREAD, dispensable=range(70, 90))
    assert match.missing == tuple(range(70, 90))
    truth = spectra(300, np.random.default_rng(6))
    found = brought(match, truth)
    assert np.abs(found - truth)[:, 70:].mean() < 2 * NOISE
    assert np.abs(SPREAD.mean - truth)[:, 70:].mean() > 10 * NOISE
    assert "estimated from the training spectra" in " ".join(match.notes)
    assert match_table(MODEL, match)[-1].startswith("800-895 nm: 20 bands, not in the scene; est")


def test_the_table_and_the_notes_count_estimates():
    match = fit_bands(MODEL, bands(COARSE, fwhm=13.0), spread=SPREAD)
    assert match_table(MODEL, match) == (
        "450-895 nm: 90 bands, estimated from the training spectra",
    )
    assert "90 of 90 bands of the model were estimated" in " ".join(match.notes)


def test_never_and_unknown_wavelengths_are_as_without_the_spread():
    with pytest.raises(MismatchError, match="--resample auto"):
        fit_bands(MODEL, bands(COARSE), resample="never", spread=SPREAD)
    nameless = Bands(wavelength_nm=None, fwhm_nm=None, good=(True,) * NM.size)
    assert fit_bands(MODEL, nameless, spread=SPREAD).offset is None


def test_scene_bands_far_from_the_models_leave_lines():
    model = Bands(wavelength_nm=(500.0, 505.0), fwhm_nm=(5.0, 5.0), good=(True, True))
    spread = Spread(mean=np.ones(2), components=np.ones((1, 2)), noise=np.ones(2))
    match = fit_bands(model, bands([460.0, 560.0], fwhm=5.0), spread=spread)
    assert set(match.ways) == {"linear"}

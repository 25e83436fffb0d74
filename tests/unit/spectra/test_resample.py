import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hsimap.errors import MismatchError
from hsimap.spectra import Bands, fit_bands, match_bands, match_table

VISIBLE = np.arange(450.0, 900.0, 4.0)


def bands(wavelengths, fwhm=None, good=None):
    flags = (True,) * len(wavelengths) if good is None else tuple(good)
    widths = None if fwhm is None else tuple(np.broadcast_to(fwhm, len(wavelengths)).tolist())
    return Bands(wavelength_nm=tuple(wavelengths), fwhm_nm=widths, good=flags)


def resampled(match, spectrum):
    taken = np.asarray(spectrum)[list(match.indices)]
    return taken if match.weights is None else match.weights @ taken


@st.composite
def sensors(draw):
    """A scene of any order with duplicates and bad bands, and a model inside its range."""
    gaps = draw(st.lists(st.floats(0, 12), min_size=8, max_size=40))
    centres = 400 + np.cumsum(gaps)
    assume(np.diff(centres).max() > 0.1)
    good = draw(st.lists(st.booleans(), min_size=len(gaps), max_size=len(gaps)))
    order = np.array(draw(st.permutations(range(len(gaps)))))
    good = np.array(good) | (np.arange(len(gaps)) % 2 == 0)
    model = np.sort(draw(st.lists(st.floats(centres[0], centres[-1]), min_size=1, max_size=12)))
    return bands(model, draw(st.floats(1, 40))), bands(centres[order], good=good[order])


@given(sensors(), st.sampled_from(["auto", "always"]))
def test_constants_stay_and_nothing_is_extrapolated(pair, mode):
    model, scene = pair
    match = fit_bands(model, scene, resample=mode, dispensable=range(model.n))
    weights = np.eye(model.n) if match.weights is None else match.weights
    expected = [way != "missing" for way in match.ways]
    np.testing.assert_allclose(weights.sum(axis=1), expected, atol=1e-6)
    assert weights.min() >= 0
    assert all(scene.good[i] for i in match.indices)


@given(sensors())
def test_a_line_stays_a_line_where_bands_are_resampled(pair):
    model, scene = pair
    match = fit_bands(model, scene, resample="always", dispensable=range(model.n))
    got = resampled(match, np.array(scene.wavelength_nm, dtype=np.float32))
    centres = np.array(scene.wavelength_nm)[np.array(scene.good)]
    inside = (np.array(model.wavelength_nm) >= centres.min()) & (
        np.array(model.wavelength_nm) <= centres.max()
    )
    mixed = np.array([way != "missing" for way in match.ways]) & inside
    np.testing.assert_allclose(got[mixed], np.array(model.wavelength_nm)[mixed], rtol=1e-5)


@given(st.permutations(range(VISIBLE.size)))
def test_the_order_of_the_scene_changes_nothing(order):
    model, spectrum = bands(np.arange(460.0, 880, 15), 15), np.sin(VISIBLE / 60).astype(np.float32)
    plain = resampled(fit_bands(model, bands(VISIBLE)), spectrum)
    other = resampled(fit_bands(model, bands(VISIBLE[order])), spectrum[order])
    np.testing.assert_allclose(other, plain, atol=1e-6)


def test_gaussian_weights_follow_the_models_band_width():
    match = fit_bands(bands([600.0], 20.0), bands(np.arange(500.0, 700, 2)), resample="always")
    centres = np.arange(500.0, 700, 2)[list(match.indices)]
    sigma = np.sqrt((match.weights[0] * (centres - 600) ** 2).sum())
    assert match.ways == ("gaussian",)
    assert sigma == pytest.approx(20 / 2.3548, rel=0.03)  # cut at three standard deviations


def test_duplicated_bands_do_not_count_twice():
    twice = np.sort(np.r_[VISIBLE, VISIBLE[VISIBLE < 600]])
    model, spectrum = bands([600.0], 40.0), np.cos
    once = resampled(fit_bands(model, bands(VISIBLE), resample="always"), spectrum(VISIBLE / 90))
    got = resampled(fit_bands(model, bands(twice), resample="always"), spectrum(twice / 90))
    np.testing.assert_allclose(got, once, atol=2e-3)


def test_auto_selects_where_it_can_and_says_what_it_did():
    scene = np.r_[VISIBLE[:40], np.arange(611.5, 910, 9)]
    match = fit_bands(bands(VISIBLE, 4.0), bands(scene))
    near = np.abs(scene[None, :] - VISIBLE[:, None]).min(axis=1) <= 2
    assert [way == "selected" for way in match.ways] == near.tolist()
    assert set(np.array(match.ways)[~near]) == {"linear"}  # 4 nm wide bands, sampled every 9 nm
    assert f"{(~near).sum()} of {VISIBLE.size}" in match.notes[0]
    lines = match_table(bands(VISIBLE, 4.0), match)
    assert lines[0] == "450-610 nm: 41 bands, selected, at most 1.5 nm off"


def test_all_bands_in_place_are_selected_without_weights():
    match = fit_bands(bands(VISIBLE), bands(VISIBLE[::-1]))
    assert match.weights is None
    assert match.indices == match_bands(bands(VISIBLE), bands(VISIBLE[::-1])).indices


def test_a_band_outside_or_in_a_wide_gap_is_missing():
    scene = VISIBLE[(VISIBLE < 600) | (VISIBLE > 700)]
    with pytest.raises(MismatchError, match=r"make 2 of the model's 3 bands from \(440, 650 nm"):
        fit_bands(bands([440.0, 500.0, 650.0], 4.0), bands(scene))
    match = fit_bands(bands([440.0, 500.0, 650.0], 4.0), bands(scene), dispensable=(0, 2))
    assert match.missing == (0, 2)
    assert resampled(match, np.ones(scene.size)).tolist() == [0, 1, 0]
    assert "the model's mean stands" in " ".join(match.notes)


def test_a_few_bad_bands_are_bridged():
    good = np.ones(VISIBLE.size, dtype=bool)
    good[50:53] = False
    match = fit_bands(bands(VISIBLE, 4.0), bands(VISIBLE, good=good))
    assert match.ways[50:53] == ("linear",) * 3
    got = resampled(match, VISIBLE.astype(np.float32))
    np.testing.assert_allclose(got, VISIBLE, rtol=1e-6)


def test_never_is_plain_selection():
    with pytest.raises(MismatchError, match="--resample auto"):
        fit_bands(bands(VISIBLE), bands(VISIBLE + 2.5 + 3 * (VISIBLE > 700)), resample="never")


def test_a_scene_without_a_good_band_has_nothing():
    with pytest.raises(MismatchError, match="0 good bands"):
        fit_bands(bands([500.0]), bands([500.0], good=[False]))

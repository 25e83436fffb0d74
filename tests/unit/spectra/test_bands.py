import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import InputError, MismatchError
from hsimap.spectra import Bands, match_bands, wavelengths_in_nm


def bands(wavelengths, good=None):
    flags = (True,) * len(wavelengths) if good is None else tuple(good)
    return Bands(wavelength_nm=tuple(wavelengths), fwhm_nm=None, good=flags)


def unknown(n):
    return Bands(wavelength_nm=None, fwhm_nm=None, good=(True,) * n)


@given(order=st.permutations(range(20)))
def test_any_order_of_the_scene_is_undone(order):
    model = np.arange(20) * 10.0 + 400
    match = match_bands(bands(model), bands(model[order]))
    np.testing.assert_array_equal(model[order][list(match.indices)], model)
    assert set(match.offset_nm) == {0.0}


def test_a_bad_band_is_never_chosen():
    model, scene = bands([500.0]), bands([500.0, 503.0], good=[False, True])
    assert match_bands(model, scene).indices == (1,)
    with pytest.raises(MismatchError, match="no good band within 2 nm of 500 nm"):
        match_bands(model, scene, tolerance_nm=2)


def test_a_shifted_scene_is_refused_beyond_half_the_spacing():
    model = bands(np.arange(400.0, 500, 4))
    assert match_bands(model, bands(np.arange(401.0, 501, 4))).offset_nm[0] == 1
    with pytest.raises(MismatchError, match=r"within 2 nm of 400 nm.*25 of its 25"):
        match_bands(model, bands(np.arange(402.1, 502, 4) + 300))


def test_one_coarse_band_does_not_stand_for_two():
    with pytest.raises(MismatchError, match="one band would stand for two"):
        match_bands(bands([500.0, 502.0]), bands([501.0, 700.0]), tolerance_nm=1.5)


def test_without_wavelengths_equal_counts_match_by_order_and_others_are_refused():
    match = match_bands(bands([500.0, 600.0]), unknown(2))
    assert match.indices == (0, 1)
    assert "by order" in match.notes[0]
    with pytest.raises(
        MismatchError, match="scene has 3 bands and the model needs 2, and the scene"
    ):
        match_bands(bands([500.0, 600.0]), unknown(3))


@pytest.mark.parametrize("unit", ["nm", "Nanometers", " nanometres "])
def test_stated_nanometres_are_kept(unit):
    assert wavelengths_in_nm([450.5, 2400], unit) == ((450.5, 2400.0), None)


@pytest.mark.parametrize("unit", ["um", "µm", "Micrometers", None, "Unknown"])
def test_micrometres_are_converted_and_a_guess_is_said(unit):
    values, note = wavelengths_in_nm([0.4505, 2.4], unit)
    assert values == (450.5, 2400.0)
    assert (note is None) == (unit in {"um", "µm", "Micrometers"})


def test_a_unit_that_is_not_plain_is_refused():
    with pytest.raises(InputError, match="state the unit"):
        wavelengths_in_nm([1.0, 100.0], None)


def test_lists_of_different_length_are_refused():
    with pytest.raises(InputError, match="wavelength_nm has 1 values for 2 bands"):
        Bands(wavelength_nm=(1.0,), fwhm_nm=None, good=(True, True))

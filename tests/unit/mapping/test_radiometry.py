import numpy as np
import pytest

from hsimap.errors import MismatchError
from hsimap.geometry import Window
from hsimap.mapping.radiometry import (
    check_radiometry,
    compare_spectra,
    guess_scale,
    sample_pixels,
)
from hsimap.synthetic import flight_line, make_block
from hsimap.synthetic._optics import WAVELENGTH_NM


@pytest.fixture(scope="module")
def forest():
    """Pixels of one flight line, and the mean spectrum of another: reflectance x 10 000."""
    found = []
    for seed in (3, 4):
        block = make_block(
            flight_line(size=64, seed=seed), Window(row=0, col=0, height=64, width=64)
        )
        pixels = block.image.reshape(-1, WAVELENGTH_NM.size).astype(float)
        found.append(pixels[pixels.any(axis=1)])
    return found[0], found[1].mean(axis=0)


def judged(forest, change, *, force=False, nm=WAVELENGTH_NM):
    pixels, mean = forest
    found = compare_spectra(change(pixels), mean, wavelength_nm=nm)
    return check_radiometry(found, scene="line.img", force=force)


def test_another_forest_is_no_reason_to_stop(forest):
    assert judged(forest, lambda x: x) == ()


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_shade_and_sun_are_not(forest, factor):
    assert judged(forest, lambda x: factor * x) == ()


def radiance(x):
    """Reflected sunlight in uW cm-2 sr-1 nm-1, the sun as a black body of 5772 K."""
    h, c, k = 6.62607015e-34, 2.99792458e8, 1.380649e-23
    metres = WAVELENGTH_NM * 1e-9
    planck = 2 * h * c**2 / metres**5 / np.expm1(h * c / (metres * k * 5772))
    irradiance = planck * (6.957e8 / 1.496e11) ** 2 * np.pi  # W m-2 m-1
    return x / 1e4 * irradiance / np.pi * 1e-9 * 100


FAULTS = {
    "scale": (lambda x: x / 1e4, "reflectance scale is wrong"),
    "radiance": (radiance, "holds radiance"),
    "scaled_radiance": (lambda x: 300 * radiance(x), "holds radiance"),
    "shuffled": (lambda x: x[:, np.random.default_rng(0).permutation(128)], "does not resemble"),
    "reversed": (lambda x: x[:, ::-1], "does not resemble"),
    "byte_order": (
        lambda x: x.astype(">i2").view("<i2").astype(float),
        "jumps from band to band|does not resemble",
    ),
    "interleave": (
        lambda x: np.ascontiguousarray(x.T).reshape(x.shape),
        "does not resemble",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_no_map_can_come_of_stops_and_says_why(forest, name):
    change, words = FAULTS[name]
    with pytest.raises(MismatchError, match=words):
        judged(forest, change)
    assert judged(forest, change, force=True)


def test_unknown_wavelengths_leave_the_other_checks(forest):
    assert judged(forest, lambda x: x, nm=None) == ()
    with pytest.raises(MismatchError, match="does not resemble"):
        judged(forest, lambda x: x[:, ::-1], nm=None)


def test_the_order_of_the_bands_does_not_count(forest):
    pixels, mean = forest
    order = np.random.default_rng(1).permutation(mean.size)
    plain = compare_spectra(pixels, mean, wavelength_nm=WAVELENGTH_NM)
    other = compare_spectra(pixels[:, order], mean[order], wavelength_nm=WAVELENGTH_NM[order])
    assert other.as_dict() == plain.as_dict()


def test_too_few_pixels_say_nothing(forest):
    assert compare_spectra(forest[0][:3], forest[1]) is None
    assert check_radiometry(None, scene="x", force=False) == ()


@pytest.mark.parametrize(("unit", "scale"), [(1.0, 1.0), (100.0, 0.01), (1e4, 1e-4)])
def test_the_scale_is_guessed_from_the_size_of_the_values(forest, unit, scale):
    assert guess_scale(forest[0] / 1e4 * unit) == scale


def test_no_guess_without_values():
    assert guess_scale(np.zeros((0, 3))) is None
    assert guess_scale(np.full((4, 3), 1e6)) is None


def test_only_valid_pixels_are_sampled_and_never_beyond_the_edge():
    seen = []

    def read(window):
        seen.append(window)
        values = np.ones((2, window.height, window.width))
        valid = np.zeros(values.shape[1:], dtype=bool)
        valid[0] = True
        return values, valid

    pixels = sample_pixels(read, (100, 7))
    assert all(w.row + w.height <= 100 and w.col + w.width <= 7 for w in seen)
    assert pixels.shape == (sum(w.width for w in seen), 2)

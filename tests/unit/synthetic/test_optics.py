import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from hsimap.synthetic._optics import (
    FLOORS,
    N_BANDS,
    WAVELENGTH_NM,
    crown_reflectance,
    floor_spectra,
    leaf_albedo,
    recollision_probability,
    skylight_share,
)


def at(nm):
    return int(abs(WAVELENGTH_NM - nm).argmin())


def albedo(species, *, chlorophyll=1.0, water=1.0, brown=0.01):
    values = {"chlorophyll": chlorophyll, "water": water, "brown": brown}
    return leaf_albedo(species, **{k: np.array([v]) for k, v in values.items()})[0]


def test_leaf_albedo_meets_the_published_figures():
    """Red 0.1, green 0.3 (needles) and 0.4 (birch), near infrared 0.85 to 0.95."""
    for species, green, infrared in ((0, 0.3, 0.88), (1, 0.3, 0.88), (2, 0.4, 0.94)):
        leaf = albedo(species)
        assert abs(leaf[at(550)] - green) < 0.08
        assert abs(leaf[at(675)] - 0.09) < 0.04
        assert abs(leaf[at(860)] - infrared) < 0.04
        edge = WAVELENGTH_NM[np.gradient(leaf).argmax()]
        assert 690 < edge < 725
        assert leaf[at(970)] < leaf[at(900)] - 0.02


@given(st.integers(0, 2), st.floats(0.5, 2), st.floats(0.5, 2), st.floats(0, 0.1))
def test_leaves_absorb_more_with_more_of_each_matter(species, chlorophyll, water, brown):
    leaf = albedo(species, chlorophyll=chlorophyll, water=water, brown=brown)
    assert ((leaf > 0) & (leaf < 1)).all()
    assert (albedo(species, chlorophyll=chlorophyll * 1.2, water=water, brown=brown) <= leaf).all()
    wetter = albedo(species, chlorophyll=chlorophyll, water=water * 1.2, brown=brown)
    assert wetter[at(970)] < leaf[at(970)]
    assert albedo(species, chlorophyll=chlorophyll, water=water, brown=brown + 0.05)[0] < leaf[0]


def test_recollision_probability_is_stenbergs_integral():
    def gap_at(angle, effective):
        return np.exp(-0.5 * effective / np.cos(angle)) * np.sin(2 * angle)

    for leaf_area, effective in ((1.0, 0.6), (4.0, 2.5), (9.0, 5.5)):
        gap, _ = quad(gap_at, 0, np.pi / 2, args=(effective,))
        p = recollision_probability(np.array([leaf_area]), np.array([effective]))
        np.testing.assert_allclose(p, 1 - (1 - gap) / leaf_area, rtol=1e-6)


@given(st.floats(0.3, 0.95), st.floats(0.05, 0.99))
def test_crowns_absorb_more_where_photons_meet_leaves_again(p, w):
    leaf = np.full((1, N_BANDS), w)
    crown = crown_reflectance(leaf, np.array([p]), upward=0.5)
    again = crown_reflectance(leaf, np.array([p + 0.02]), upward=0.5)
    assert (again < crown).all()
    assert (crown < 0.5 * w + 1e-12).all()
    black = crown_reflectance(leaf, np.array([0.0]), upward=0.5)
    np.testing.assert_allclose(black, 0.5 * w)


def test_floors_and_skylight_look_as_they_should():
    floor = dict(zip(FLOORS, floor_spectra(), strict=True))
    for name, spectrum in floor.items():
        assert spectrum.shape == (N_BANDS,), name
        assert spectrum.min() > 0.01, name
        assert spectrum.max() < 0.6, name
    assert floor["lichen"][at(550)] > 2 * floor["herbs"][at(550)]
    assert floor["herbs"][at(860)] > floor["bilberry"][at(860)] > floor["heather"][at(860)]
    wet = {name: spectrum[at(970)] / spectrum[at(900)] for name, spectrum in floor.items()}
    assert min(wet, key=wet.get) == "sphagnum"
    assert (np.diff(skylight_share()) < 0).all()

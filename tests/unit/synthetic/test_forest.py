import numpy as np
import pytest

from hsimap.synthetic import TASKS, VALUE_TASKS
from hsimap.synthetic._forest import draw_stands
from hsimap.synthetic._stands import SPACING_PX, StandLayout


@pytest.fixture(scope="module")
def stands():
    return draw_stands(StandLayout.of_scene(2000, seed=7))


def test_basal_area_is_stems_times_cross_section(stands):
    area_m2 = np.pi * (stands.mean_dbh / 200) ** 2
    np.testing.assert_allclose(stands.basal_area, area_m2 * stands.stem_density)


def test_shares_sum_to_one_and_name_the_main_species(stands):
    np.testing.assert_allclose(stands.shares.sum(axis=1), 1)
    assert (stands.main_tree_species_class == stands.shares.argmax(axis=1) + 1).all()


def test_every_value_lies_in_the_range_of_its_task(stands):
    for name, values in zip(VALUE_TASKS, stands.values(), strict=True):
        low, high = TASKS[name]["range"]
        assert low <= values.min(), name
        assert values.max() <= high, name


def test_every_class_is_common_and_declared(stands):
    for name, codes in zip(
        ("fertility_class", "soil_class", "main_tree_species_class"), stands.classes(), strict=True
    ):
        found, counts = np.unique(codes, return_counts=True)
        assert set(found.tolist()) == set(TASKS[name]["classes"])
        assert counts.min() / codes.size > 0.1


def test_spreads_are_near_the_measured_stands(stands):
    """Mean and sd of TAIGA's holdout stands; woody biomass has a sd only."""
    taiga = {
        "basal_area": (22.39, 6.76),
        "mean_dbh": (None, 5.86),
        "stem_density": (None, 769),
        "mean_height": (17.25, 4.41),
        "woody_biomass": (None, 42.3),
        "effective_leaf_area_index": (3.21, 1.61),
    }
    for name, values in zip(VALUE_TASKS, stands.values(), strict=True):
        mean, spread = taiga.get(name, (None, None))
        assert mean is None or abs(values.mean() / mean - 1) < 0.12, name
        assert spread is None or abs(values.std() / spread - 1) < 0.3, name


def test_needles_clump_more_than_leaves_and_poor_sites_bear_pine(stands):
    ratio = stands.effective_leaf_area_index / stands.leaf_area_index
    pine, birch = (ratio[stands.shares[:, k] > 0.8].mean() for k in (0, 2))
    assert 0.5 < pine < 0.68
    assert 0.8 < birch < 1
    assert np.corrcoef(stands.fertility, stands.shares[:, 0])[0, 1] < -0.3
    assert np.corrcoef(stands.mean_height, stands.mean_dbh)[0, 1] > 0.8
    assert np.corrcoef(stands.mean_dbh, stands.stem_density)[0, 1] < -0.5


def test_stands_have_the_stated_size_and_do_not_depend_on_the_window():
    layout = StandLayout.of_scene(400, seed=1)
    rows, cols = np.mgrid[:400, :400] + 0.5
    whole = layout.at(rows, cols)
    np.testing.assert_array_equal(
        whole[37:90, 210:222], layout.at(rows[37:90, 210:222], cols[37:90, 210:222])
    )
    per_stand = whole.size / np.unique(whole).size
    assert SPACING_PX**2 < per_stand < 1.7 * SPACING_PX**2

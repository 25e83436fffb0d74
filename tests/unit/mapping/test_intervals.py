"""Interval maps: which are made, what they hold, and when they are refused."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine

from hsimap.bundle import BundleFields
from hsimap.bundle._manifest import complete
from hsimap.errors import MismatchError
from hsimap.geometry import Grid
from hsimap.mapping.encoding import encode, products_of, values_of
from hsimap.mapping.intervals import bounded_tasks
from hsimap.mapping.settings import MapSettings, plan_map

GRID = Grid(height=6, width=8, transform=Affine.identity(), crs=None)
BOUNDS = {"edges": [10.0], "half_widths": {"80": [1, 4], "90": [2, 6]}, "units": [60, 60]}
INTERVALS = {"height": BOUNDS}


def manifest_of(intervals=INTERVALS, *, extra=()):
    """Return a manifest of a class, a height and a density."""
    fields = {
        "name": "demo",
        "input": {"n_bands": 3},
        "tasks": [
            {"name": "cover", "kind": "categorical",
             "classes": [{"code": 1, "name": "a", "color": "#000000"}]},
            {"name": "height", "kind": "continuous", "unit": "m", "range": [0, 12]},
            {"name": "density", "kind": "continuous"},
        ],
        "outputs": [
            {"task": "cover", "kind": "categorical", "channels": 1, "role": "probability"},
            {"task": "height", "kind": "continuous", "channels": 1},
            {"task": "density", "kind": "continuous", "channels": 1, "stride": 2},
            *extra,
        ],
        "alignment": 2, "reach": 2, "patch": 4,
        "tile": {"trim": 2, "ramp": 2, "max_tile": 64},
        "calibration": None if intervals is None else {"unit": "stand", "intervals": intervals},
    }  # fmt: skip
    return complete(BundleFields.model_validate(fields), {})


def test_both_ends_are_mapped_beside_the_value_in_its_style():
    settings = MapSettings(intervals=90, probabilities="none")
    products = products_of(manifest_of(), GRID, settings=settings, tags={"A": "b"})
    names = [product.layer.name for product in products]
    assert names == ["cover", "height", "height_low", "height_high", "density", "qa"]
    value, low = products[1].layer, products[2].layer
    assert (low.dtype, low.kind, low.grid, low.task, dict(low.tags)) == (
        value.dtype, value.kind, value.grid, value.task, dict(value.tags),
    )  # fmt: skip
    assert np.isnan(low.nodata)
    assert low.label == "height, lower end of the 90 % interval [m]"
    assert value.label == "height [m]"


def test_the_bounds_are_those_of_the_value_clipped_to_the_range():
    settings = MapSettings(intervals=90)
    products = {
        p.layer.name: p for p in products_of(manifest_of(), GRID, settings=settings, tags={})
    }
    values = np.float32([[[1.0, 5.0, 10.0, 11.0, np.nan]]])
    valid = np.array([[True, True, True, False, True]])
    found = {
        side: encode(p.layer, values_of(p, values), valid)[0, 0]
        for side, p in products.items()
        if side.startswith("height")
    }
    np.testing.assert_array_equal(found["height"], np.float32([1, 5, 10, np.nan, np.nan]))
    np.testing.assert_array_equal(found["height_low"], np.float32([0, 3, 4, np.nan, np.nan]))
    np.testing.assert_array_equal(found["height_high"], np.float32([3, 7, 12, np.nan, np.nan]))


@pytest.mark.parametrize(
    ("intervals", "told"), [(None, "at no level, not at 95"), (INTERVALS, "at 80, 90 % only")]
)
def test_a_level_without_calibration_is_refused_in_one_line(intervals, told):
    with pytest.raises(MismatchError, match=told) as error:
        plan_map(GRID, manifest_of(intervals), MapSettings(intervals=95), itemsize=2)
    assert "\n" not in str(error.value)
    plan_map(GRID, manifest_of(intervals), MapSettings(), itemsize=2)


def test_bounds_that_the_network_gives_itself_stay_its_own():
    extra = [{"task": "height", "kind": "continuous", "channels": 1, "role": "low"}]
    both = {"height": BOUNDS, "density": BOUNDS}
    assert bounded_tasks(manifest_of(both, extra=extra), 90) == ["density"]


def test_the_plan_counts_the_maps_and_says_what_is_missing():
    plain = plan_map(GRID, manifest_of(), MapSettings(), itemsize=2)
    more = plan_map(GRID, manifest_of(), MapSettings(intervals=80), itemsize=2)
    assert more.output_bytes - plain.output_bytes == 2 * 4 * 6 * 8
    assert [note for note in more.notes if "80 % interval" in note and "density" in note]

"""What the network is given of a scene."""

import numpy as np
import pytest
import xarray as xr

from hsimap.bundle import InputSpec
from hsimap.geometry import Window
from hsimap.mapping import SceneAdapter
from hsimap.mapping.adapter import RecyclingSource
from hsimap.scenes import scene_from_array

WHOLE = Window(row=0, col=0, height=6, width=9)


def scene(dtype=np.int16, **attributes):
    values = np.random.default_rng(0).integers(1, 200, (4, 6, 9)).astype(dtype)
    values[2, 1, 3] = values[0, 4, 8] = 255
    return scene_from_array(
        xr.DataArray(values, dims=("band", "y", "x"), attrs={"nodata": 255, **attributes})
    ), values


def spec(**fields):
    return InputSpec.model_validate({"n_bands": 4, **fields})


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.float32])
def test_integers_are_0_where_not_valid_and_untouched_elsewhere(dtype):
    opened, stored = scene(dtype)
    values, valid = SceneAdapter(opened, spec()).read(WHOLE)
    np.testing.assert_array_equal(valid, (stored != 255).all(axis=0))
    np.testing.assert_array_equal(values[:, valid], stored[:, valid])
    if np.dtype(dtype).kind != "f":
        assert not values[:, ~valid].any()


def test_integers_go_in_as_stored_only_where_the_units_agree():
    assert SceneAdapter(scene()[0], spec()).is_stored
    assert not SceneAdapter(scene(np.float32)[0], spec()).is_stored
    assert not SceneAdapter(scene(scale=1e-3)[0], spec(scale=1e-4)).is_stored


def test_shared_columns_are_copied_from_the_read_before():
    adapter = SceneAdapter(scene()[0], spec())
    source = RecyclingSource(adapter, 2)
    source.read_flagged(Window(row=-1, col=-2, height=8, width=7))
    window = Window(row=-1, col=2, height=8, width=9)
    values, flags = source.read_flagged(window, shared=3)
    expected, shown = adapter.read_flagged(window)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(flags, shown)
    assert source.to_network(values).dtype == np.int16

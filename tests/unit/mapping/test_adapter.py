"""What the network is given of a scene."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from hsimap.bundle import InputSpec
from hsimap.geometry import Window
from hsimap.mapping import SceneAdapter
from hsimap.mapping.recycling import RecyclingSource
from hsimap.scenes import Quality, scene_from_array

NM = (500.0, 505.0, 510.0, 515.0, 520.0)
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
    source = RecyclingSource(adapter, 1)
    source.read_flagged(Window(row=-1, col=-2, height=8, width=7))
    window = Window(row=-1, col=2, height=8, width=9)
    values, flags = source.read_flagged(window, shared=3)
    expected, shown = adapter.read_flagged(window)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(flags, shown)
    assert source.to_network(values).dtype == np.int16


def coarse(values, *, scale):
    coords = {"wavelength": ("band", [500.0, 510.0, 520.0])}
    array = xr.DataArray(
        values, dims=("band", "y", "x"), coords=coords, attrs={"nodata": -1, "scale": scale}
    )
    return scene_from_array(array)


def test_estimates_go_to_the_network_and_lines_to_the_comparison():
    # The bands between are twice what lies beside them: a spectrum that no line would guess.
    shape = np.array([100.0, 200.0, 100.0, 200.0, 100.0])
    wanted = spec(
        n_bands=5,
        wavelength_nm=NM,
        fwhm_nm=(5.0,) * 5,
        scale=1e-3,
        mean_spectrum=tuple(40 + shape),
        spread={"components": (tuple(shape),), "noise": (0.01,) * 5},
    )
    opened = coarse(np.array([0.15, 0.15, 0.15]).reshape(3, 1, 1), scale=1.0)
    opened.bands = replace(opened.bands, fwhm_nm=(5.0,) * 3)
    adapter = SceneAdapter(opened, wanted, resample="auto")
    assert adapter.match.ways == ("selected", "estimated") * 2 + ("selected",)
    assert not adapter.is_stored
    window = opened.grid.window
    image, valid = adapter.read_for_network(window)
    assert valid.all()
    np.testing.assert_allclose(image.ravel(), 40 + 1.1 * shape, rtol=1e-2)
    lines, shown = adapter.read_measured(window)
    assert shown.all()
    np.testing.assert_allclose(lines.ravel(), 150, rtol=1e-6)
    _, flags = adapter.read_flagged(window)
    assert (flags == Quality.RESAMPLED_SPECTRUM).all()


def test_without_a_spread_the_comparison_sees_what_the_network_sees():
    wanted = spec(n_bands=5, wavelength_nm=NM, scale=1e-3)
    values = np.random.default_rng(0).random((3, 4, 4))
    adapter = SceneAdapter(coarse(values, scale=1.0), wanted, resample="auto")
    window = Window(row=0, col=0, height=4, width=4)
    for a, b in zip(adapter.read_measured(window), adapter.read_for_network(window), strict=True):
        np.testing.assert_array_equal(a, b)

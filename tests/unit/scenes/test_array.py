"""A scene in an xarray.DataArray: lazy, in any order of axes, and in its place after a slice."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from affine import Affine

from hsimap.errors import InputError
from hsimap.geometry import Grid, Window
from hsimap.scenes import Scene, scene_from_array

VALUES = np.random.default_rng(0).integers(0, 99, (5, 40, 30)).astype(np.int16)
ROTATED = Affine.translation(5e5, 6e6) @ Affine.rotation(30) @ Affine.scale(2, -2)


def placed(transform):
    """Return a scene of ``VALUES`` with a transform."""
    array = xr.DataArray(VALUES, dims=("band", "y", "x"), attrs={"transform": tuple(transform)[:6]})
    return scene_from_array(array)


def test_only_the_chunks_under_a_window_are_computed():
    seen = []

    def block(block_info=None):
        bands, rows, cols = block_info[None]["array-location"]
        seen.append((rows[0], cols[0]))
        return VALUES[slice(*bands), slice(*rows), slice(*cols)]

    data = da.map_blocks(
        block, chunks=((5,), (10,) * 4, (10,) * 3), dtype="i2", meta=np.empty((0, 0, 0), "i2")
    )
    scene = scene_from_array(xr.DataArray(data, dims=("band", "y", "x")))
    assert seen == []
    found, _ = scene.read(Window(row=8, col=11, height=4, width=5), [3, 1])
    assert sorted(seen) == [(0, 10), (10, 10)]
    np.testing.assert_array_equal(found, VALUES[[3, 1], 8:12, 11:16])


def test_an_array_that_is_lazy_in_a_file_is_read_by_window(tmp_path, monkeypatch):
    from xarray.backends.scipy_ import ScipyArrayWrapper

    data = xr.Dataset({"r": (("band", "y", "x"), VALUES)})
    data.to_netcdf(tmp_path / "a.nc", engine="scipy")
    asked = []
    read = ScipyArrayWrapper._getitem
    monkeypatch.setattr(
        ScipyArrayWrapper, "_getitem", lambda self, key: asked.append(key) or read(self, key)
    )
    with xr.open_dataset(tmp_path / "a.nc", engine="scipy") as opened:
        scene = scene_from_array(opened["r"])
        assert asked == []
        window = Window(row=8, col=11, height=4, width=5)
        np.testing.assert_array_equal(scene.read(window)[0], VALUES[:, 8:12, 11:16])
    assert [key[1:] for key in asked] == [(slice(8, 12, 1), slice(11, 16, 1))]


@pytest.mark.parametrize("dims", [("y", "x", "band"), ("lat", "lon", "wave"), ("band", "y", "x")])
def test_axes_are_known_by_their_names(dims):
    order = (1, 2, 0) if len(dims[0]) < 4 else (0, 1, 2)
    scene = scene_from_array(xr.DataArray(VALUES.transpose(order), dims=dims))
    np.testing.assert_array_equal(scene.raw(scene.grid.window)[0], VALUES)


@pytest.mark.parametrize("transform", [ROTATED, Affine(2, 0, 5e5, 0, -2, 6e6)])
@pytest.mark.parametrize(
    ("rows", "cols", "step"),
    [(slice(7, 30), slice(4, 20), 1), (slice(3, None, 2), slice(1, None, 2), 2)],
)
def test_a_slice_of_the_view_keeps_its_place(transform, rows, cols, step):
    array = placed(transform).array.isel(y=rows, x=cols)
    scene = scene_from_array(array)
    for row, col in [(0, 0), (5, 9)]:
        centre = transform @ (cols.start + col * step + 0.5, rows.start + row * step + 0.5)
        np.testing.assert_allclose(scene.grid.transform @ (col + 0.5, row + 0.5), centre)
    np.testing.assert_array_equal(scene.raw(scene.grid.window)[0], VALUES[:, rows, cols])


def test_coordinates_that_are_not_even_are_refused():
    array = xr.DataArray(VALUES, dims=("band", "y", "x"))
    x = np.arange(30.0)
    x[7] += 0.4
    with pytest.raises(InputError, match="'x' is not evenly spaced"):
        scene_from_array(array.assign_coords(x=x, y=np.arange(40.0)))


def test_a_grid_of_the_view_is_that_of_the_scene():
    scene = placed(ROTATED)
    assert isinstance(scene, Scene)
    assert scene_from_array(scene.array).grid == Grid(
        height=40, width=30, transform=ROTATED, crs=None
    )

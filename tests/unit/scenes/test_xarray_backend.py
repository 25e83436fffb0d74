"""xarray opens scenes by hsimap: lazily, with bands and place."""

import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from rasterio.crs import CRS

from hsimap.geometry import Window
from hsimap.scenes import open_scene, scene_from_array
from hsimap.scenes._envi import RawReader
from hsimap.scenes._xarray import SceneBackend

VALUES = np.random.default_rng(0).integers(0, 9000, (4, 30, 20)).astype("<i2")
HEADER = """ENVI
samples = 20
lines = 30
bands = 4
data type = 2
interleave = bil
byte order = 0
wavelength units = Micrometers
wavelength = {0.5, 0.6, 0.7, 0.8}
fwhm = {0.01, 0.01, 0.01, 0.01}
bbl = {1, 0, 1, 1}
data ignore value = -9999
reflectance scale factor = 10000
"""
PLACE = "map info = {UTM, 1, 1, 5e5, 6e6, 2, 2, 33, North, WGS-84, units=Meters, rotation=%g}\n"


@pytest.fixture
def path(tmp_path):
    values = VALUES.copy()
    values[2, 3, 4] = -9999
    (tmp_path / "x.img").write_bytes(values.transpose(1, 0, 2).tobytes())
    (tmp_path / "x.hdr").write_text(HEADER + PLACE % 0)
    return tmp_path / "x.hdr"


def test_a_header_opens_by_name_and_nothing_is_read_before_it_is_asked_for(path, monkeypatch):
    asked = []
    read = RawReader.read
    monkeypatch.setattr(
        RawReader, "read", lambda self, window, *a: asked.append(window) or read(self, window, *a)
    )
    with xr.open_dataset(path, engine=SceneBackend) as data:
        cube = data["reflectance"]
        assert (cube.shape, cube.dtype, asked) == ((4, 30, 20), np.float32, [])
        part = cube[1:3, 2:6, 4].values
    assert asked == [Window(row=2, col=4, height=4, width=1)]
    expected = VALUES[1:3, 2:6, 4] * np.float32(1e-4)
    expected[1, 1] = np.nan
    np.testing.assert_allclose(part, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "key",
    [
        (slice(None), slice(None), slice(None)),
        (slice(None, None, -1), slice(5, 20, 3), slice(None, None, 2)),
        (2, slice(1, 9), slice(3, 4)),
        (slice(0, 2), 29, 19),
        ([3, 0], [5, 1, 9], slice(None)),
        (slice(0), slice(None), slice(None)),
    ],
)
def test_any_indexing_is_that_of_numpy(path, key):
    with xr.open_dataset(path, engine=SceneBackend, mask_and_scale=False) as data:
        found = data["reflectance"].isel(dict(zip(("band", "y", "x"), key, strict=True)))
        plain = xr.DataArray(open_scene(path).raw(open_scene(path).grid.window)[0])
        expected = plain.isel(dict(zip(plain.dims, key, strict=True)))
        np.testing.assert_array_equal(found.values, expected.values)


def test_dask_reads_the_same_by_block(path):
    with xr.open_dataset(path, engine=SceneBackend, mask_and_scale=False, chunks={}) as data:
        whole = data["reflectance"].chunk(y=7, x=6)
        stored = open_scene(path).raw(open_scene(path).grid.window)[0]
        np.testing.assert_array_equal(whole.values, stored)


@pytest.mark.parametrize("angle", [0, 30])
def test_bands_and_place_come_along_and_the_way_back_is_the_same_scene(path, angle):
    path.write_text(HEADER + PLACE % angle)
    scene = open_scene(path)
    with xr.open_dataset(path, engine=SceneBackend, mask_and_scale=False) as data:
        np.testing.assert_allclose(data["wavelength"], [500, 600, 700, 800])
        np.testing.assert_allclose(data["fwhm"], 10)
        assert data["good"].values.tolist() == [True, False, True, True]
        assert ("x" in data.coords) == (angle == 0)
        place = data["spatial_ref"].attrs
        assert CRS.from_wkt(place["crs_wkt"]) == CRS.from_epsg(32633)
        stated = Affine.from_gdal(*map(float, place["GeoTransform"].split()))
        assert stated == scene.grid.transform
        again = scene_from_array(data["reflectance"])
        assert again.bands == scene.bands
        assert again.grid.transform.almost_equals(scene.grid.transform)
        assert (again.grid.crs, again.nodata, again.scale) == (scene.grid.crs, -9999, 1e-4)
        cut = scene_from_array(data["reflectance"][:, 4:, 3:])
        assert cut.grid.transform.almost_equals(
            scene.grid.transform @ Affine.translation(3, 4), precision=1e-6
        )


def test_the_entry_point_names_the_backend_and_only_headers_open_by_guess():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    module, name = project["project"]["entry-points"]["xarray.backends"]["hsimap"].split(":")
    assert getattr(import_module(module), name) is SceneBackend
    guesses = {name: SceneBackend().guess_can_open(name) for name in ("x.HDR", "x.nc", "x.zarr")}
    assert guesses == {"x.HDR": True, "x.nc": False, "x.zarr": False}

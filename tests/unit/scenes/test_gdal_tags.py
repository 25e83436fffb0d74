"""GeoTIFF and other GDAL rasters: where wavelengths, scale and place may stand."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint

from hsimap.errors import InputError
from hsimap.geometry import Window
from hsimap.scenes import open_scene

VALUES = np.random.default_rng(0).integers(0, 99, (3, 20, 30)).astype(np.int16)


def write(path, driver="GTiff", **options):
    profile = {
        "driver": driver, "dtype": "int16", "count": 3, "height": 20, "width": 30,
        "crs": "EPSG:32633", "transform": Affine(2, 0, 5e5, 0, -2, 6e6),
    } | options  # fmt: skip
    if "gcps" in options:
        del profile["transform"]
    with rasterio.open(path, "w", **profile) as file:
        file.write(VALUES)
    return path


def tagged(path, *, raster=None, envi=None, bands=None, imagery=None, names=None):
    write(path)
    with rasterio.open(path, "r+") as file:
        file.update_tags(**(raster or {}))
        file.update_tags(ns="ENVI", **(envi or {}))
        for i in file.indexes:
            file.update_tags(i, **{key: values[i - 1] for key, values in (bands or {}).items()})
            both = {key: values[i - 1] for key, values in (imagery or {}).items()}
            file.update_tags(i, ns="IMAGERY", **both)
            if names:
                file.set_band_description(i, names[i - 1])
    return open_scene(path)


UM = {"CENTRAL_WAVELENGTH_UM": (0.5, 0.6, 0.7), "FWHM_UM": (0.009, 0.01, 0.011)}


@pytest.mark.parametrize(
    "where",
    [
        {"bands": {"wavelength": (500, 600, 700), "wavelength_units": ("Nanometers",) * 3}},
        {"bands": {"WAVELENGTH": (0.5, 0.6, 0.7), "WAVELENGTH_UNITS": ("um",) * 3}},
        {"imagery": UM},
        {"envi": {"wavelength": "{500, 600, 700}", "wavelength_units": "Nanometers"}},
        {"raster": {"wavelength": "0.5, 0.6, 0.7", "wavelength_units": "Micrometers"}},
        {"names": ("500.0 nm", "Band 2 (600 Nanometers)", "0.7 µm")},
    ],
    ids=["band", "other casing", "IMAGERY", "ENVI", "raster", "descriptions"],
)
def test_wavelengths_are_found_wherever_they_are(tmp_path, where):
    scene = tagged(tmp_path / "x.tif", **where)
    assert scene.bands.wavelength_nm == (500, 600, 700)
    assert scene.notes == ()


def test_the_most_precise_statement_is_taken(tmp_path):
    envi = {"wavelength": "{500.12, 600.34, 700.56}", "wavelength_units": "nm", "fwhm": "{9,8,7}"}
    scene = tagged(
        tmp_path / "x.tif", imagery=UM, envi=envi | {"bbl": "{1, 0, 1}"}, names=["1 nm"] * 3
    )
    assert scene.bands.wavelength_nm == (500.12, 600.34, 700.56)
    assert scene.bands.fwhm_nm == (9, 8, 7)
    assert scene.bands.good == (True, False, True)
    assert tagged(tmp_path / "y.tif", imagery=UM).bands.fwhm_nm == (9, 10, 11)


def test_what_is_incomplete_or_of_other_bands_is_ignored_and_said(tmp_path):
    scene = tagged(tmp_path / "x.tif", raster={"wavelength": "1,2,3,4,5"}, imagery=UM)
    assert scene.bands.wavelength_nm == (500, 600, 700)
    write(tmp_path / "y.tif")
    with rasterio.open(tmp_path / "y.tif", "r+") as file:
        file.update_tags(2, wavelength=600)
        file.update_tags(wavelength="1,2,3,4,5")
    scene = open_scene(tmp_path / "y.tif")
    assert scene.bands.wavelength_nm is None
    assert scene.notes == (
        "the tag 'wavelength' has not one number for each of 3 bands and was ignored",
        "only 1 of 3 bands state a wavelength: none was used",
    )


@pytest.mark.parametrize(
    ("tags", "scale"),
    [
        ({"raster": {"scale_factor": "0.0001"}}, 1e-4),
        ({"raster": {"SCALE_FACTOR": "0.0001"}}, 1e-4),
        ({"envi": {"reflectance_scale_factor": "10000"}}, 1e-4),
        ({}, None),
    ],
)
def test_the_scale_is_found(tmp_path, tags, scale):
    assert tagged(tmp_path / "x.tif", **tags).scale == scale


def test_an_offset_and_a_scale_that_is_no_number_are_refused(tmp_path):
    with pytest.raises(InputError, match="scale_factor must be a number, is 'many'"):
        tagged(tmp_path / "x.tif", raster={"scale_factor": "many"})
    write(tmp_path / "y.tif")
    with rasterio.open(tmp_path / "y.tif", "r+") as file:
        file.offsets = (3.0,) * 3
    with pytest.raises(InputError, match="have an offset of 3"):
        open_scene(tmp_path / "y.tif")


def test_control_points_do_not_place_a_scene_and_that_is_said(tmp_path):
    points = [GroundControlPoint(r, c, 5e5 + c, 6e6 - r) for r, c in ((0, 0), (0, 9), (9, 0))]
    write(tmp_path / "x.tif", gcps=points)
    assert any("control points or RPC" in note for note in open_scene(tmp_path / "x.tif").notes)


@pytest.mark.parametrize(
    ("driver", "name", "options"),
    [
        ("HFA", "x.img", {}),
        ("PCIDSK", "x.pix", {}),
        ("JP2OpenJPEG", "x.jp2", {"QUALITY": "100", "REVERSIBLE": "YES", "YCBCR420": "NO"}),
        ("COG", "x.tif", {"compress": "deflate"}),
    ],
)
def test_other_rasters_of_gdal_are_read_as_rasterio_reads_them(tmp_path, driver, name, options):
    path = write(tmp_path / name, driver, **options)
    with rasterio.open(path) as file:
        expected, transform, crs = file.read(), file.transform, file.crs.to_wkt()
    with open_scene(path) as scene:
        for window in (
            scene.grid.window,
            Window(row=15, col=25, height=5, width=5),
            Window(row=7, col=3, height=1, width=1),
        ):
            rows, cols = window.slices
            np.testing.assert_array_equal(scene.read(window)[0], expected[:, rows, cols])
        assert scene.grid.transform == transform
        assert scene.grid.crs == crs

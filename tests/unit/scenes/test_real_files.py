"""Every real file opens with its place, wavelengths and missing value; every window is right."""

import json
import re

import numpy as np
import pytest
import rasterio
import spectral
from affine import Affine
from rasterio.crs import CRS

from hsimap.geometry import Window
from hsimap.scenes import open_scene

pytestmark = pytest.mark.data

FILES = [
    "reader_formats/enmap_berlin_gz.bsq", "reader_formats/hires_berlin_gz.bsq",
    "reader_formats/hymap_berlin_float.bsq", "reader_formats/hymap_berlin_int16.bil",
    "reader_formats/hymap_berlin_int16.bip", "reader_formats/hymap_rotated.img",
    "avirisng_envi/ang20160910t185702_2rdn_img", "avirisng_envi/ang20160910t185702_obs_ortdem_mod",
    "avirisng_envi/ang20170323t202244_rdn_7000-7010",
    "avirisng_envi/ang20170323t202244_loc_7000-7010",
    "avirisng_envi/ang20170323t202244_obs_7000-7010",
    "aviris_sandiego_envi/SDData", "aviris_sandiego_envi/LHData",
    "toolkit_cutouts/aviris_90x90x224.tif", "toolkit_cutouts/muufl_51x88x72.tif",
    "neon_unlabelled/harv_plot.tif", "neon_unlabelled/osbs_plot.tif",
]  # fmt: skip


def wavelengths(path):
    """Return the wavelengths in nm as Spectral Python or rasterio find them, None without any."""
    if path.suffix == ".tif":
        with rasterio.open(path) as file:
            return [float(file.tags(i)["wavelength"]) for i in file.indexes]
    headers = (path.with_name(path.name + ".hdr"), path.with_suffix(".hdr"))
    fields = spectral.envi.read_envi_header(next(str(name) for name in headers if name.exists()))
    stated = [float(value) for value in fields.get("wavelength", [])]
    if not stated:
        found = [re.search(r"([0-9.]+) (Micro|Nano)meters", name) for name in fields["band names"]]
        stated = [float(m[1]) * (1000 if m[2] == "Micro" else 1) for m in found if m]
    elif max(stated) < 30:
        stated = [1000 * value for value in stated]
    return stated or None


def oracle(path):
    """Return GDAL's values, transform and CRS; GDAL unpacks the gzip files too."""
    driver = "GTiff" if path.suffix == ".tif" else "ENVI"
    with rasterio.open(path, driver=driver) as file:
        return file.read(), file.transform, file.crs, file.nodata


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_file_opens_rightly_and_every_window_is_that_of_gdal(data_folder, name):
    path = data_folder / name
    stated = json.loads((path.parent / "metadata.json").read_text())
    stated = stated.get("files", {}).get(path.name) or stated.get(path.stem) or {}
    values, transform, crs, nodata = oracle(path)
    scene = open_scene(path)
    height, width = values.shape[1:]
    assert (scene.bands.n, scene.grid.height, scene.grid.width) == values.shape
    if "shape" in stated:
        assert list(values.shape) == stated["shape"]
    assert scene.grid.transform.almost_equals(transform)
    if "transform" in stated:
        expected = Affine(*stated["transform"][:6])
        assert scene.grid.transform.almost_equals(expected, precision=1e-4)
    assert (scene.grid.crs and CRS.from_wkt(scene.grid.crs)) == crs
    assert scene.nodata == nodata == stated.get("nodata")
    expected = wavelengths(path)
    assert scene.bands.wavelength_nm == (expected and pytest.approx(tuple(expected), abs=1e-3))
    corners = [(row, col) for row in (-2, height - 3) for col in (-2, width - 3)]
    windows = [(*corner, 5, 5) for corner in corners]
    windows += [(height // 2, width // 3, 1, 1), (height, width, 4, 4), (0, 0, height, width)]
    padded = np.pad(values, ((0, 0), (5, 5), (5, 5)))
    for row, col, high, wide in windows:
        found, valid = scene.read(Window(row=row, col=col, height=high, width=wide))
        expected = padded[:, row + 5 : row + 5 + high, col + 5 : col + 5 + wide]
        np.testing.assert_array_equal(found, np.nan_to_num(expected))
        assert not valid[: max(-row, 0)].any()


def test_a_real_line_of_aviris_ng_has_the_angles_that_lie_beside_it(data_folder):
    folder = data_folder / "avirisng_envi"
    scene = open_scene(folder / "ang20160910t185702_2rdn_img")
    assert list(scene.layers) == ["view_azimuth", "view_zenith", "sun_azimuth", "sun_zenith"]
    with rasterio.open(folder / "ang20160910t185702_obs_ortdem_mod") as file:
        zenith = file.read(3)
    window = Window(row=20, col=25, height=9, width=9)
    expected = np.full((9, 9), np.nan, np.float32)
    expected[:5, :5] = np.where(zenith == -9999, np.nan, zenith)[20:, 25:]
    np.testing.assert_array_equal(scene.read_layer("view_zenith", window), expected)
    line = open_scene(folder / "ang20170323t202244_rdn_7000-7010")
    assert "loc_7000-7010 tells where each pixel lies" in line.notes[-1]
    assert len(line.layers) == 4

"""EMIT, AVIRIS, EnMAP and PRISMA: miniatures with the trees of the products' specifications."""

import pickle

import h5py
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from hsimap.errors import InputError
from hsimap.geometry import Window
from hsimap.scenes import open_scene

RNG = np.random.default_rng(0)
WINDOWS = [
    (0, 0, 99, 99), (-3, -3, 9, 9), (14, 12, 9, 9), (-2, 14, 6, 9), (15, -4, 7, 6), (11, 7, 1, 1),
    (60, 60, 3, 3), (5, 2, 9, 11),
]  # fmt: skip


def lookup(lines, samples, shape=(19, 17)):
    """Return a table as of a turned line: sample and line from 1, 0 outside, some negative."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    line = np.round(row * 0.9 + col * 0.3 - 2).astype(np.int32)
    sample = np.round(col * 0.8 - row * 0.2 + 1).astype(np.int32)
    inside = (line >= 0) & (line < lines) & (sample >= 0) & (sample < samples)
    sign = np.where(RNG.random(shape) < 0.2, -1, 1)
    return (np.where(inside, (plane + 1) * sign, 0) for plane in (sample, line))


def ortho(values, glt_x, glt_y):
    """Return what the tables say, pixel by pixel."""
    out = np.zeros((len(values), *glt_x.shape), values.dtype)
    valid = np.zeros(glt_x.shape, bool)
    for row, col in np.ndindex(glt_x.shape):
        if glt_x[row, col]:
            out[:, row, col] = values[:, abs(glt_y[row, col]) - 1, abs(glt_x[row, col]) - 1]
            valid[row, col] = True
    return out, valid


def assert_every_window(scene, values, valid):
    scene = pickle.loads(pickle.dumps(scene))  # noqa: S301  # our own bytes
    n = len(values)
    padded = np.pad(values, ((0, 0), (99, 99), (99, 99)))
    inside = np.pad(valid, 99)
    for bands in (list(range(n)), [n - 1], [2, 0]):
        for row, col, height, width in WINDOWS:
            window = Window(row=row, col=col, height=height, width=width)
            found, mask = scene.read(window, bands)
            rows, cols = window.shift(rows=99, cols=99).slices
            np.testing.assert_array_equal(mask, inside[rows, cols])
            np.testing.assert_array_equal(
                np.where(mask, found, 0), np.where(mask, padded[bands][:, rows, cols], 0)
            )


TURNED = Affine.translation(-117.5, 34.5) @ Affine.rotation(-20) @ Affine.scale(5e-4, -5e-4)


def write_emit(path, values, glt, name="reflectance"):
    with h5py.File(path, "w") as file:
        cube = file.create_dataset(name, data=values.transpose(1, 2, 0), chunks=(4, 5, 3))
        cube.attrs["_FillValue"] = np.array([-9999.0], np.float32)
        file.attrs["geotransform"] = np.array(TURNED.to_gdal())
        file.attrs["spatial_ref"] = CRS.from_epsg(4326).to_wkt()
        for plane, data in zip(("glt_x", "glt_y"), glt, strict=True):
            file[f"location/{plane}"] = data
        bands = file.create_group("sensor_band_parameters")
        bands["wavelengths"] = np.linspace(381, 2493, len(values), dtype=np.float32)
        bands["wavelengths"].attrs["units"] = "nm"
        bands["fwhm"] = np.full(len(values), 8.5, np.float32)
        bands["good_wavelengths"] = np.array([1, 0, 1, 1, 1], np.float32)[: len(values)]
    return path


def test_emit_is_orthorectified_by_its_table(tmp_path, monkeypatch):
    values = RNG.random((5, 14, 12)).astype(np.float32)
    glt = tuple(lookup(14, 12))
    monkeypatch.setattr("hsimap.scenes._ortho._SLAB", 5 * 12 * 4 * 4)
    scene = open_scene(write_emit(tmp_path / "EMIT_L2A_RFL.nc", values, glt))
    expected, valid = ortho(values, *glt)
    assert 0 < valid.sum() < valid.size
    assert_every_window(scene, expected, valid)
    assert scene.grid.transform.almost_equals(TURNED)
    assert CRS.from_wkt(scene.grid.crs) == CRS.from_epsg(4326)
    assert scene.bands.good == (True, False, True, True, True)
    np.testing.assert_allclose(scene.bands.wavelength_nm, np.linspace(381, 2493, 5), atol=1e-3)
    assert (scene.scale, scene.nodata) == (1.0, -9999)
    assert scene.notes == ("orthorectified on read by its lookup table, 19 x 17 pixels",)


def test_a_table_of_another_image_is_refused(tmp_path):
    glt = [np.full((19, 17), 99, np.int32)] * 2
    scene = open_scene(write_emit(tmp_path / "a.nc", np.zeros((5, 14, 12), np.float32), glt))
    with pytest.raises(InputError, match="points to line 99, sample 99 of an image of 14 lines"):
        scene.read(scene.grid.window)


def write_envi(path, values, extra=""):
    code = {"float32": 4, "float64": 5, "int32": 3}[str(values.dtype)]
    path.write_bytes(values.transpose(1, 0, 2).tobytes())
    bands, lines, samples = values.shape
    path.with_name(path.name + ".hdr").write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\ndata type = {code}\n"
        f"interleave = bil\nbyte order = 0\n{extra}"
    )
    return path


BANDS = "wavelength units = nm\nwavelength = {500, 600, 700, 800}\ndata ignore value = -9999\n"
PLACE = "map info = {UTM, 1, 1, 5e5, 3e6, 4, 4, 11, North, WGS-84, units=Meters, rotation=25}\n"
ANGLES = (
    "band names = {Path length (m), To-sensor azimuth (0 to 360 degrees cw from N),"
    " To-sensor zenith (0 to 90 degrees from zenith), To-sun azimuth (0 to 360),"
    " To-sun zenith (0 to 90)}\n"
)


def test_an_aviris_line_is_orthorectified_by_the_table_beside_it_and_has_its_angles(tmp_path):
    values = RNG.random((4, 14, 12)).astype(np.float32)
    values[2, 5, 5] = -9999
    angles = RNG.random((5, 14, 12)) * 30
    glt = np.array(list(lookup(14, 12)), np.int32)
    glt[:, 0, :2] = -9999
    path = write_envi(tmp_path / "ang20170323t202244_rfl_v2_img", values, BANDS)
    table = PLACE + "data ignore value = -9999\n"
    write_envi(tmp_path / "ang20170323t202244_rdn_glt", glt, table)
    write_envi(tmp_path / "ang20170323t202244_rdn_obs", angles, ANGLES)
    write_envi(tmp_path / "ang20990101t000000_rdn_glt", glt[:, :3], table)
    scene = open_scene(path)
    glt[:, 0, :2] = 0
    expected, valid = ortho(values, *glt)
    valid &= (expected != -9999).all(axis=0)
    found, mask = scene.read(scene.grid.window)
    np.testing.assert_array_equal(mask, valid)
    np.testing.assert_array_equal(found[:, mask], expected[:, mask])
    with rasterio.open(tmp_path / "ang20170323t202244_rdn_glt") as file:
        assert scene.grid.transform == file.transform
    assert [p.name for p in scene.files][::2] == [path.name, "ang20170323t202244_rdn_glt"]
    assert list(scene.layers) == ["view_azimuth", "view_zenith", "sun_azimuth", "sun_zenith"]
    zenith, there = ortho(angles, *glt)
    np.testing.assert_allclose(
        scene.read_layer("view_zenith", scene.grid.window),
        np.where(there, zenith[2], np.nan).astype(np.float32),
    )
    assert "orthorectified on read by ang20170323t202244_rdn_glt" in scene.notes[-1]


def test_an_orthorectified_line_and_the_table_itself_are_read_as_they_are(tmp_path):
    values = RNG.random((4, 14, 12)).astype(np.float32)
    path = write_envi(tmp_path / "ang1_rfl", values, BANDS + PLACE)
    glt = np.array(list(lookup(14, 12)), np.int32)
    table = write_envi(tmp_path / "ang1_glt", glt, PLACE)
    np.testing.assert_array_equal(open_scene(path).read(open_scene(path).grid.window)[0], values)
    np.testing.assert_array_equal(open_scene(table).raw(open_scene(table).grid.window)[0], glt)


def test_a_line_without_a_table_is_read_in_sensor_geometry_and_that_is_said(tmp_path):
    path = write_envi(tmp_path / "ang1_rfl", RNG.random((4, 14, 12)).astype(np.float32), BANDS)
    write_envi(tmp_path / "ang1_igm", RNG.random((3, 14, 12)))
    scene = open_scene(path)
    assert scene.grid.transform.is_identity
    assert "ang1_igm tells where each pixel lies, but there is no lookup" in scene.notes[-1]


XML = """<?xml version="1.0" encoding="UTF-8"?>
<level_X xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><base/>
<specific><sunElevationAngle unit="DEG"><center>55.5</center></sunElevationAngle>
<sunAzimuthAngle unit="DEG"><center>160.25</center></sunAzimuthAngle>
<bandCharacterisation>{bands}</bandCharacterisation>
<backgroundValue>-32768</backgroundValue>
<vnirProductQuality><expectedChannelsList>1,2</expectedChannelsList></vnirProductQuality>
<swirProductQuality><expectedChannelsList>4</expectedChannelsList></swirProductQuality>
</specific></level_X>
"""
BAND = (
    '<bandID number="{i}"><wavelengthCenterOfBand>{nm}</wavelengthCenterOfBand>'
    "<FWHMOfBand>7.5</FWHMOfBand><GainOfBand>{gain}</GainOfBand>"
    "<OffsetOfBand>0</OffsetOfBand></bandID>"
)
NAME = "ENMAP01-____L2A-DT0000001867_20220724T104526Z_008_V010302_20230628T165614Z-"


def write_enmap(folder, values, gains=(0.0001,) * 4, n=4):
    folder.mkdir()
    nm = (418.24, 993.083, 902.257, 2445.53)
    bands = "".join(BAND.format(i=i + 1, nm=nm[i], gain=gains[i]) for i in range(n))
    (folder / f"{NAME}METADATA.XML").write_text(XML.format(bands=bands))
    profile = {"driver": "GTiff", "dtype": "int16", "count": 4, "height": 19, "width": 17}
    profile |= {"crs": "EPSG:32633", "transform": Affine(30, 0, 3e5, 0, -30, 5e6)}
    with rasterio.open(folder / f"{NAME}SPECTRAL_IMAGE.TIF", "w", **profile) as file:
        file.write(values)
    return folder


def test_enmap_is_read_from_its_folder_its_image_and_its_metadata(tmp_path):
    values = RNG.integers(0, 9000, (4, 19, 17)).astype(np.int16)
    values[:, :3] = -32768
    folder = write_enmap(tmp_path / "product", values)
    for path in (folder, *folder.iterdir()):
        scene = open_scene(path)
        assert_every_window(scene, values, (values != -32768).all(axis=0))
        assert scene.bands.wavelength_nm == (418.24, 993.083, 902.257, 2445.53)
        assert scene.bands.fwhm_nm == (7.5,) * 4
        assert scene.bands.good == (True, True, False, True)
        assert (scene.scale, scene.nodata) == (1e-4, -32768)
        assert len(scene.files) == 2
        sun = scene.read_layer("sun_zenith", Window(row=0, col=0, height=1, width=1))
        assert sun.tolist() == [[34.5]]


@pytest.mark.parametrize(
    ("options", "change", "message"),
    [
        ({"gains": (1e-4, 2e-4, 1e-4, 1e-4)}, None, "gains are 0.0001 to 0.0002"),
        ({"n": 3}, None, "describes 3 bands and the image has 4"),
        ({}, ("7.5", "wide"), "a band has no number 'FWHMOfBand'"),
        ({}, ("<base/>", "<base>"), "is no sound XML"),
        ({}, ("<level_X", '<!DOCTYPE x [<!ENTITY a "b">]><level_X'), "declares entities"),
    ],
)
def test_metadata_of_enmap_that_do_not_fit_are_refused(tmp_path, options, change, message):
    folder = write_enmap(tmp_path / "product", np.zeros((4, 19, 17), np.int16), **options)
    metadata = folder / f"{NAME}METADATA.XML"
    if change:
        metadata.write_text(metadata.read_text().replace(*change))
    with pytest.raises(InputError, match=message):
        open_scene(folder)


def write_prisma(path, vnir, swir):
    swath = "HDFEOS/SWATHS/PRS_L2D_HCO"
    with h5py.File(path, "w") as file:
        for region, cube, nm in (("Vnir", vnir, (974, 500, 0)), ("Swir", swir, (2497, 943))):
            file[f"{swath}/Data Fields/{region.upper()}_Cube"] = cube.transpose(1, 0, 2)
            file.attrs[f"List_Cw_{region}"] = np.array(nm, np.float32)
            file.attrs[f"List_Fwhm_{region}"] = np.full(len(nm), 11.5, np.float32)
        ends = {"VnirMin": 0.0, "VnirMax": 1.2, "SwirMin": -0.1, "SwirMax": 0.9}
        for name, value in ends.items():
            file.attrs[f"L2Scale{name}"] = np.float32(value)
        corners = {"ULcorner_easting": 3e5, "ULcorner_northing": 5e6}
        corners |= {"LRcorner_easting": 3e5 + 17 * 30, "LRcorner_northing": 5e6 - 19 * 30}
        for name, value in corners.items():
            file.attrs[f"Product_{name}"] = np.float64(value)
        file.attrs["Epsg_Code"] = np.uint32(32633)
        file.attrs["Sun_zenith_angle"] = np.float32(40)
        file[f"{swath}/Geometric Fields/Observing_Angle"] = np.full((19, 17), 3.5, np.float32)
    return path


def test_prisma_is_two_cubes_of_counts_read_as_reflectance(tmp_path):
    vnir = RNG.integers(1, 65536, (3, 19, 17)).astype(np.uint16)
    swir = RNG.integers(1, 65536, (2, 19, 17)).astype(np.uint16)
    vnir[:, :2], swir[:, :2] = 0, 0
    vnir[0, 5, 5] = 0
    scene = open_scene(write_prisma(tmp_path / "PRS_L2D_STD.he5", vnir, swir))
    assert scene.bands.wavelength_nm == (974, 500, 2497, 943)
    expected = np.concatenate([vnir[:2] / 65535 * 1.2, -0.1 + swir / 65535 * 1.0])
    found, valid = scene.read(scene.grid.window)
    np.testing.assert_allclose(found[:, valid], expected[:, valid], atol=1e-6)
    assert valid[2:].all()
    assert not valid[:2].any()
    part, _ = scene.read(Window(row=15, col=14, height=9, width=9), [3, 0])
    np.testing.assert_allclose(part[:, :4, :3], expected[[3, 0], 15:, 14:], atol=1e-6)
    assert (scene.scale, scene.dtype) == (1.0, np.float32)
    assert scene.grid.transform.almost_equals(Affine(30, 0, 3e5, 0, -30, 5e6))
    assert CRS.from_wkt(scene.grid.crs) == CRS.from_epsg(32633)
    view = scene.read_layer("view_zenith", Window(row=18, col=16, height=2, width=1))
    np.testing.assert_array_equal(view, [[3.5], [np.nan]])


@pytest.mark.parametrize("name", ["L2ScaleSwirMax", "List_Cw_Vnir", "Product_ULcorner_easting"])
def test_a_missing_attribute_of_prisma_is_named(tmp_path, name):
    path = write_prisma(
        tmp_path / "a.he5", np.ones((3, 19, 17), np.uint16), np.ones((2, 19, 17), np.uint16)
    )
    with h5py.File(path, "r+") as file:
        del file.attrs[name]
    with pytest.raises(InputError, match=name):
        open_scene(path)

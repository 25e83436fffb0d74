"""Readers against independent ones: numpy's own layout, rasterio and Spectral Python."""

import gzip
import os
import pickle

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Window
from hsimap.scenes import (
    Quality,
    _envi,
    _speed,
    measure_read,
    open_scene,
    scene_from_array,
    stored_value,
)

CODES = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12, "u4": 13, "i8": 14, "u8": 15}
AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}
MAP = "map info = {UTM, 1, 1, 383851.349, 5819308.225, 9, 9, 33, North, WGS-84, units=Meters%s}\n"


def write_envi(path, values, *, interleave="bsq", order="<", offset=0, extra="", packed=False):
    bands, height, width = values.shape
    raw = b"\x7f" * offset
    raw += values.transpose(AXES[interleave]).astype(values.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(raw) if packed else raw)
    header = (
        f"ENVI\nsamples = {width}\nlines = {height}\nbands = {bands}\nheader offset = {offset}\n"
        f"data type = {CODES[values.dtype.str[1:]]}\ninterleave = {interleave.upper()}\n"
        f"byte order = {int(order == '>')}\nfile compression = {int(packed)}\n{extra}"
    )
    path.with_suffix(".hdr").write_text(header)
    return path


def cut_short(most):
    """Return a preadv that gives at most so many bytes a call, as a system may."""
    preadv = os.preadv

    def short(handle, buffers, place):
        left = bytearray(most)
        left = left[: preadv(handle, [left], place)]
        n = len(left)
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            part = left[: len(view)]
            view[: len(part)] = part
            left = left[len(part) :]
        return n - len(left)

    return short


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    interleave=st.sampled_from(list(AXES)),
    order=st.sampled_from("<>"),
    dtype=st.sampled_from(list(CODES)),
    offset=st.integers(0, 9),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    corner=st.tuples(st.integers(-4, 9), st.integers(-4, 9)),
    side=st.integers(1, 9),
    packed=st.booleans(),
    gap=st.sampled_from([0, 8, 8192]),
    most=st.sampled_from([2, 3, 1024]),
    cut=st.sampled_from([1, 7, 1 << 20]),
    data=st.data(),
)
def test_every_legal_layout_gives_every_window(
    folder, interleave, order, dtype, offset, shape, corner, side, packed, gap, most, cut, data
):
    rng = np.random.default_rng(abs(hash((shape, corner))) % 1000)
    values = rng.integers(0, 200, shape).astype(dtype)
    path = write_envi(
        folder / "x.img", values, interleave=interleave, order=order, offset=offset, packed=packed
    )
    bands = data.draw(st.lists(st.integers(0, shape[0] - 1), min_size=1, unique=True))
    window = Window(row=corner[0], col=corner[1], height=side, width=side)
    room = np.full((len(bands), side, side), 77, dtype)
    with open_scene(path) as scene, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_envi, "_GAP", gap)
        patch.setattr(_envi, "_MOST_BUFFERS", most)
        patch.setattr(os, "preadv", cut_short(cut))
        found, valid = scene.read(window, bands)
        again, _ = scene.read(window, bands, out=room)
        assert again is room
        assert scene.dtype == np.dtype(dtype)
        assert found.dtype.isnative
    np.testing.assert_array_equal(room, found)
    padded = np.pad(values, ((0, 0), (20, 20), (20, 20)))
    inside = np.pad(np.ones(shape[1:], bool), 20)
    rows, cols = window.shift(rows=20, cols=20).slices
    np.testing.assert_array_equal(found, padded[bands][:, rows, cols])
    np.testing.assert_array_equal(valid, inside[rows, cols])


@pytest.mark.parametrize("change", [-1, 1, -100])
def test_a_raw_file_of_the_wrong_size_is_refused_where_gdal_reads_zeros(tmp_path, change):
    values = np.full((3, 20, 30), 7, np.int16)
    path = write_envi(tmp_path / "x.img", values)
    raw = path.read_bytes()
    path.write_bytes(raw[:change] if change < 0 else raw + b"\0")
    with pytest.raises(InputError, match=f"has {3600 + change} bytes and its header states 3600"):
        open_scene(path)
    if change == -100:
        with rasterio.open(path, driver="ENVI") as file:
            assert (file.read() == 0).sum() == 50


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data type = 99", "data type must be one of"),
        ("lines = 0", "lines must be in 1 to"),
        ("samples = x", "'samples' must be a whole number, is 'x'"),
        ("interleave = bqs", "interleave must be"),
        ("wavelength = {1, 2}", "'wavelength' has 2 numbers for 3 bands"),
        ("data ignore value = none", "'data ignore value' must be a number"),
    ],
)
def test_a_header_that_lies_is_refused_by_the_field(tmp_path, line, message):
    path = write_envi(tmp_path / "x.img", np.zeros((3, 4, 5), np.int16))
    header = path.with_suffix(".hdr")
    key = line.split("=")[0].strip()
    kept = [x for x in header.read_text().splitlines() if not x.startswith(f"{key} =")]
    header.write_text("\n".join([*kept, line, ""]))
    with pytest.raises(InputError, match=message):
        open_scene(path)


def test_a_header_is_read_in_any_casing_with_bom_and_crlf(tmp_path):
    extra = (
        "Wavelength Units = Micrometers\nWAVELENGTH = {\n 0.45,\n 0.55, 0.65}\n"
        "fwhm = {.01,.01,.02}\n"
        "bbl = {1, 0, 1}\nData Ignore Value = -9999\nreflectance scale factor = 10000\n"
    )
    path = write_envi(tmp_path / "x.img", np.zeros((3, 4, 5), np.int16), extra=extra)
    header = path.with_suffix(".hdr")
    header.write_bytes(b"\xef\xbb\xbf" + header.read_bytes().replace(b"\n", b"\r\n"))
    scene = open_scene(header)
    assert scene.path == path
    assert scene.bands.wavelength_nm == (450.0, 550.0, 650.0)
    assert scene.bands.fwhm_nm == (10.0, 10.0, 20.0)
    assert scene.bands.good == (True, False, True)
    assert (scene.nodata, scene.scale) == (-9999, 1e-4)


def test_rotation_and_crs_are_those_that_gdal_finds(tmp_path):
    path = write_envi(
        tmp_path / "x.img", np.zeros((2, 40, 30), np.int16), extra=MAP % ", rotation=30.0"
    )
    scene = open_scene(path)
    with rasterio.open(path, driver="ENVI") as file:
        assert scene.grid.transform == file.transform
        assert scene.grid.crs == file.crs.to_wkt()
    assert scene.grid.transform.b != 0


@given(
    dtype=st.sampled_from(list(CODES)),
    value=st.sampled_from([0.0, -1.0, 0.5, 255.0, 256.0, -9999.0, 65535.0, 1e30, np.inf, np.nan]),
)
def test_a_nodata_value_in_the_storage_type_meets_the_samples_that_the_number_meets(dtype, value):
    limits = [0, 1, 255] if np.dtype(dtype).kind != "f" else [0.5, 1e30]
    samples = np.array([*limits, 0, *([] if dtype[0] == "u" else [-1])], dtype)
    if np.dtype(dtype).itemsize > 1:
        samples = np.append(samples, samples.dtype.type(-9999 if dtype[0] != "u" else 65535))
    stored = stored_value(value, samples.dtype)
    found = np.zeros(len(samples), bool) if stored is None else samples == stored
    expected = samples.astype(np.float64) == np.float64(np.float32(value))
    np.testing.assert_array_equal(found, expected if dtype == "f4" else samples == value)


def test_a_pixel_is_invalid_if_any_requested_band_is(tmp_path):
    values = np.ones((3, 2, 4), np.float32)
    values[0, 0, 0], values[1, 0, 1], values[2, 1, 2] = np.nan, -9999, np.inf
    path = write_envi(tmp_path / "x.img", values, extra="data ignore value = -9999\n")
    scene = open_scene(path)
    found, valid = scene.read(scene.grid.window)
    assert valid.tolist() == [[False, False, True, True], [True, True, False, True]]
    assert np.isfinite(found).all()
    assert scene.read(scene.grid.window, [1])[1].sum() == 7


def write_tif(path, values, **options):
    count, height, width = values.shape
    profile = {
        "driver": "GTiff", "dtype": values.dtype, "count": count, "height": height, "width": width,
        "crs": "EPSG:32633", "transform": Affine(2, 0.5, 1e5, 0.5, -2, 2e5),
    } | options  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
    return path


def test_a_geotiff_reads_like_rasterio_and_keeps_tags(tmp_path):
    values = np.random.default_rng(0).integers(0, 9, (3, 50, 40)).astype(np.int16)
    path = write_tif(tmp_path / "x.tif", values, nodata=3, tiled=True, blockxsize=16, blockysize=16)
    with rasterio.open(path, "r+") as file:
        file.update_tags(scale_factor=0.0001)
        for band, nm in enumerate((450.1234, 550.0, 650.0), 1):
            file.update_tags(band, wavelength=nm, wavelength_units="nanometers", bbl=int(band != 2))
    scene = open_scene(path)
    found, valid = scene.read(Window(row=-2, col=30, height=20, width=20))
    np.testing.assert_array_equal(found[:, 2:, :10], values[:, :18, 30:])
    np.testing.assert_array_equal(valid[2:, :10], (values[:, :18, 30:] != 3).all(axis=0))
    room = np.full((3, 20, 20), 77, np.int16)
    again, _ = scene.read(Window(row=-2, col=30, height=20, width=20), out=room)
    assert again is room
    np.testing.assert_array_equal(room, found)
    assert not valid[:2].any()
    assert not valid[:, 10:].any()
    assert not found[:, :2].any()
    assert scene.bands.wavelength_nm == (450.1234, 550.0, 650.0)
    assert scene.bands.good == (True, False, True)
    assert (scene.scale, scene.nodata) == (1e-4, 3)
    assert tuple(scene.grid.transform)[:6] == (2, 0.5, 1e5, 0.5, -2, 2e5)


def test_an_alpha_band_is_a_mask_and_not_a_band(tmp_path):
    values = np.full((4, 8, 8), 9, np.uint8)
    values[3] = 255
    values[3, :3] = 0
    path = write_tif(tmp_path / "x.tif", values, photometric="RGB", alpha="YES")
    scene = open_scene(path)
    assert scene.bands.n == 3
    assert scene.read(scene.grid.window)[1].sum() == 40


def write_band_masks(path, shown):
    """Write a mask for each band beside a file, as GDAL does where masks are not internal."""
    write_tif(path.with_name(f"{path.name}.msk"), np.where(shown, 255, 0).astype(np.uint8))
    tags = {f"INTERNAL_MASK_FLAGS_{i + 1}": "0" for i in range(len(shown))}
    with rasterio.open(path.with_name(f"{path.name}.msk"), "r+") as file:
        file.update_tags(**tags)


@given(st.integers(0, 999), st.sampled_from(["int16", "float32"]), st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mask_for_each_band_says_what_is_partly_missing(tmp_path, seed, dtype, holes):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 90, (3, 7, 9)).astype(dtype)
    shown = rng.random(values.shape) < rng.choice([0.3, 0.9, 1.0])
    if holes:
        values[rng.random(values.shape) < 0.2] = -9
        if dtype == "float32":
            values[rng.random(values.shape) < 0.1] = np.nan
    path = write_tif(tmp_path / f"{seed}{dtype}{holes}.tif", values, nodata=-9)
    write_band_masks(path, shown)
    with rasterio.open(path) as file:
        seen = file.read_masks() > 0
    np.testing.assert_array_equal(seen, shown)
    known = seen & (values != -9) & np.isfinite(values)
    with open_scene(path) as scene:
        for bands in ([0, 1, 2], [2, 0], [1]):
            window = Window(row=-1, col=2, height=9, width=6)
            _, flags = scene.read_flagged(window, bands)
            expected = np.full((9, 6), Quality.NO_DATA, np.uint8)
            part = known[bands][:, :, 2:8]
            expected[1:8] = np.where(part.any(axis=0), 2, 1) * ~part.all(axis=0)
            np.testing.assert_array_equal(flags, expected)
            np.testing.assert_array_equal(scene.read(window, bands)[1], expected == 0)
        whole = seen.all(axis=0)
        np.testing.assert_array_equal(scene.array.coords["mask"].to_numpy(), whole)
        np.testing.assert_array_equal(scene.raw(scene.grid.window)[1], whole)
        assert set(scene.fingerprint()) == {path.name, f"{path.name}.msk"}


def test_a_mask_of_the_whole_file_beside_it_is_no_mask_of_a_band(tmp_path):
    path = write_tif(tmp_path / "x.tif", np.full((2, 4, 5), 7, np.int16))
    side = write_tif(tmp_path / "x.tif.msk", np.eye(4, 5, dtype=np.uint8)[None] * 255)
    with rasterio.open(side, "r+") as file:
        file.update_tags(INTERNAL_MASK_FLAGS_1="2", INTERNAL_MASK_FLAGS_2="2")
    with open_scene(path) as scene:
        flags = scene.read_flagged(scene.grid.window)[1]
    np.testing.assert_array_equal(flags, np.where(np.eye(4, 5) > 0, 0, Quality.NO_DATA))


def test_sidecars_do_not_override_the_nodata_of_the_file(tmp_path):
    path = write_tif(tmp_path / "x.tif", np.zeros((1, 4, 4), np.int16), nodata=0)
    (tmp_path / "x.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>5</NoDataValue></PAMRasterBand>'
        "</PAMDataset>"
    )
    assert open_scene(path).nodata == 0


def test_a_vrt_in_disguise_and_other_files_are_refused(tmp_path):
    (tmp_path / "x.tif").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>")
    with pytest.raises(InputError, match="neither a GeoTIFF nor an ENVI raster"):
        open_scene(tmp_path / "x.tif")
    with pytest.raises(UsageError, match="there is no file"):
        open_scene("/vsicurl/http://localhost/x.tif")


@pytest.mark.parametrize("kind", ["envi", "tif"])
def test_the_array_is_a_lazy_view_and_a_way_back(tmp_path, kind):
    values = np.random.default_rng(1).normal(size=(3, 30, 20)).astype(np.float32)
    values[1, 4, 5] = np.nan
    extra = "wavelength = {500,600,700}\nwavelength units = nm\n" + MAP % ""
    if kind == "envi":
        path = write_envi(tmp_path / "x.img", values, extra=extra)
    else:
        path = write_tif(tmp_path / "x.tif", values, nodata=-1)
    scene = pickle.loads(pickle.dumps(open_scene(path)))  # noqa: S301  # our own bytes
    array = scene.array
    np.testing.assert_array_equal(array.values, values)
    again = scene_from_array(array)
    assert again.bands == scene.bands
    assert again.grid.transform == scene.grid.transform
    assert again.grid.crs == scene.grid.crs
    window = Window(row=-3, col=2, height=20, width=30)
    for mine, theirs in zip(again.read(window), scene.read(window), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_dead_band_is_found_and_a_dead_scene_has_none(tmp_path):
    values = np.ones((4, 90, 90), np.int16)
    values[2] = -9999
    values[:, :50] = -9999
    path = write_envi(tmp_path / "x.img", values, extra="data ignore value = -9999\n")
    assert open_scene(path).dead_bands() == {2}
    values[:] = -9999
    write_envi(tmp_path / "x.img", values, extra="data ignore value = -9999\n")
    assert open_scene(path).dead_bands() == frozenset()


def test_the_fingerprint_follows_the_bytes(tmp_path):
    path = write_envi(tmp_path / "x.img", np.zeros((1, 4, 4), np.int16))
    before = open_scene(path).fingerprint()
    assert set(before) == {"x.img", "x.hdr"}
    write_envi(tmp_path / "x.img", np.ones((1, 4, 4), np.int16))
    assert open_scene(path).fingerprint() != before


@pytest.mark.data
def test_the_rotated_big_endian_scene_has_the_pixels_of_its_north_up_twin(data_folder):
    folder = data_folder / "reader_formats"
    scenes = [
        open_scene(folder / name)
        for name in ("hymap_rotated.img", "hymap_berlin_int16.bil", "hymap_berlin_int16.bip")
    ]
    pixels = [scene.read(scene.grid.window)[0] for scene in scenes]
    np.testing.assert_array_equal(pixels[0], pixels[1])
    np.testing.assert_array_equal(pixels[1], pixels[2])
    turned = scenes[0].grid.transform
    expected = (
        Affine.translation(383851.349, 5819308.225) @ Affine.rotation(30) @ Affine.scale(9, -9)
    )
    assert turned.almost_equals(expected, precision=1e-6)


@pytest.mark.data
def test_real_envi_files_agree_with_rasterio_and_spectral_python(data_folder):
    import spectral

    paths = sorted(data_folder.glob("*/*.hdr"))
    assert len(paths) >= 13
    for path in paths:
        scene = open_scene(path)
        values, _ = scene.read(scene.grid.window)
        with rasterio.open(scene.path, driver="ENVI") as file:
            np.testing.assert_array_equal(values, np.nan_to_num(file.read()))
            assert scene.grid.transform.almost_equals(file.transform)
        if "gz" not in path.name:
            image = spectral.envi.open(path, image=scene.path)
            assert image.shape == (scene.grid.height, scene.grid.width, scene.bands.n)


@pytest.mark.data
def test_the_dead_bands_of_enmap_are_declared_bad_or_found(data_folder):
    scene = open_scene(data_folder / "enmap_potsdam" / "scene.tif")
    assert scene.dead_bands() == {129, 130, 131, 132, 133, 134}


@pytest.mark.parametrize("interleave", list(AXES))
def test_the_layout_of_a_raw_file_is_told_and_a_packed_one_warned_of(tmp_path, interleave):
    values = np.zeros((3, 20, 30), np.int16)
    for packed in (False, True):
        path = write_envi(tmp_path / "x.img", values, interleave=interleave, packed=packed)
        with open_scene(path) as scene:
            storage = scene.storage
        assert (storage.driver, storage.interleave) == ("ENVI", interleave)
        assert storage.block == (1, 30)
        assert ("gunzip" in str(storage.advice(30))) == packed


@pytest.mark.parametrize(
    ("width", "options", "warning"),
    [
        (2000, {"tiled": True, "blockxsize": 256, "blockysize": 256}, None),
        (2000, {"compress": "deflate", "blockysize": 1}, "strips of 1 rows"),
        (900, {"compress": "deflate", "blockysize": 1}, None),
        (2100, {"tiled": True, "blockxsize": 2048, "blockysize": 2048}, "blocks of 2048 x 2048"),
        (2000, {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "lzma"}, "lzma"),
    ],
)
def test_a_bad_layout_of_a_geotiff_is_warned_of_with_the_remedy(tmp_path, width, options, warning):
    path = write_tif(tmp_path / "x.tif", np.zeros((2, 40, width), np.int16), **options)
    with open_scene(path) as scene:
        assert scene.storage.driver == "GeoTIFF"
        assert scene.storage.compression == options.get("compress", "none")
        advice = scene.storage.advice(width)
    if warning is None:
        assert advice is None
    else:
        assert warning in advice
        assert "gdal_translate -co TILED=YES" in advice


def test_the_probe_reads_the_middle_and_no_more_than_its_share(tmp_path, monkeypatch):
    values = np.zeros((4, 600, 700), np.int16)
    with open_scene(write_envi(tmp_path / "x.img", values)) as scene:
        speed = measure_read(scene)
        assert speed.window == Window(row=172, col=0, height=256, width=700)
        assert speed.megabytes == 4 * 2 * 256 * 700 / 1e6
        assert speed.mb_per_s > 0
        monkeypatch.setattr(_speed, "_PROBE_BYTES", 256 * 8 * 100)
        assert measure_read(scene).window == Window(row=172, col=300, height=256, width=100)

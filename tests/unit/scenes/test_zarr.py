"""Zarr stores in both versions, every order of the axes and every georeference, against zarr."""

import json
import pickle

import numpy as np
import pytest
import xarray as xr
import zarr
from affine import Affine
from rasterio.crs import CRS

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Window
from hsimap.scenes import open_scene

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata")
UTM = CRS.from_epsg(32633)
ORDERS = {"band y x": (0, 1, 2), "y x band": (1, 2, 0), "y band x": (1, 0, 2)}


def cube(shape=(5, 23, 17), dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(1, 200, shape).astype(dtype)


def write_zarr(path, values, *, version=2, order="band y x", chunks=(2, 8, 8), **options):
    """Write ``(band, y, x)`` values as xarray does, in any order of the axes."""
    bands, height, width = values.shape
    dims, turned = order.split(), ORDERS[order]
    data = xr.Dataset(
        {"reflectance": (dims, values.transpose(turned), options.pop("attrs", {}))},
        {
            "wavelength": ("band", 500 + 10.0 * np.arange(bands), {"units": "nm"}),
            "fwhm": ("band", np.full(bands, 9.5), {"units": "nm"}),
            "good": ("band", np.arange(bands) != 1),
            "x": 1e5 + 2 * (np.arange(width) + 0.5),
            "y": 2e5 - 2 * (np.arange(height) + 0.5),
            "spatial_ref": ((), 0, {"crs_wkt": UTM.to_wkt()} | options.pop("reference", {})),
        },
    )
    encoding = {"chunks": tuple(chunks[i] for i in turned), "grid_mapping": "spatial_ref"}
    encoding |= {"_FillValue": options["fill"]} if "fill" in options else {}
    data.to_zarr(path, zarr_format=version, encoding={"reflectance": encoding})
    return path


@pytest.mark.parametrize(
    ("version", "order", "chunks"),
    [
        (2, "band y x", (1, 8, 8)),
        (3, "y x band", (2, 5, 17)),
        (2, "y band x", (5, 23, 17)),
        (3, "band y x", (3, 7, 4)),
        (2, "y x band", (1, 23, 17)),
    ],
)
def test_every_window_and_choice_of_bands_is_that_of_the_array(tmp_path, version, order, chunks):
    values = cube()
    path = write_zarr(tmp_path / "a.zarr", values, version=version, order=order, chunks=chunks)
    padded = np.pad(values, ((0, 0), (30, 30), (30, 30)))
    inside = np.pad(np.ones(values.shape[1:], bool), 30)
    with open_scene(path) as scene:
        assert scene.storage.block == chunks[1:]
        for bands in ([0, 1, 2, 3, 4], [4], [3, 0], [0, 4, 2], [1, 2]):
            for row, col, height, width in [
                (0, 0, 23, 17), (-3, -3, 9, 9), (18, 12, 9, 9), (-2, 12, 6, 9), (20, -4, 7, 6),
                (11, 7, 1, 1), (40, 40, 3, 3), (5, 2, 9, 11), (3, 3, 0, 4),
            ]:  # fmt: skip
                window = Window(row=row, col=col, height=height, width=width)
                found, valid = scene.read(window, bands)
                rows, cols = window.shift(rows=30, cols=30).slices
                np.testing.assert_array_equal(found, padded[bands][:, rows, cols])
                np.testing.assert_array_equal(valid, inside[rows, cols])


@pytest.mark.parametrize("version", [2, 3])
def test_what_xarray_writes_beside_the_cube_is_read(tmp_path, version):
    path = write_zarr(
        tmp_path / "line1.zarr",
        cube(),
        version=version,
        fill=-9999,
        attrs={"scale": 1e-4},
    )
    scene = open_scene(path)
    assert scene.name == "line1"
    assert scene.path == path
    assert scene.bands.wavelength_nm == (500, 510, 520, 530, 540)
    assert scene.bands.fwhm_nm == (9.5,) * 5
    assert scene.bands.good == (True, False, True, True, True)
    assert scene.grid.transform.almost_equals(Affine(2, 0, 1e5, 0, -2, 2e5))
    assert CRS.from_wkt(scene.grid.crs) == UTM
    assert (scene.nodata, scene.scale, scene.notes) == (-9999, 1e-4, ())
    assert scene.storage.driver == "Zarr"
    again = pickle.loads(pickle.dumps(scene))  # noqa: S301  # our own bytes
    np.testing.assert_array_equal(again.array.values, cube())


@pytest.mark.parametrize("version", [2, 3])
def test_a_missing_value_of_floats_comes_back_from_the_text_that_xarray_writes(tmp_path, version):
    values = cube(dtype=np.float32)
    values[1, 2, 3] = -9999
    path = write_zarr(tmp_path / "a.zarr", values, version=version, fill=np.float32(-9999))
    scene = open_scene(path)
    assert scene.nodata == -9999
    assert (~scene.read(scene.grid.window)[1]).sum() == 1


ROTATED = Affine.translation(1e5, 2e5) @ Affine.rotation(30) @ Affine.scale(2, -2)


@pytest.mark.parametrize(
    ("attrs", "crs"),
    [
        ({"proj:code": "EPSG:32633", "spatial:transform": list(ROTATED)[:6]}, UTM),
        ({"proj:wkt2": UTM.to_wkt(), "proj:transform": list(ROTATED)[:6]}, UTM),
        ({"proj:projjson": UTM.to_dict(projjson=True), "transform": list(ROTATED)[:6]}, UTM),
        ({"proj": {"code": "EPSG:32633"}, "transform": list(ROTATED)[:6]}, UTM),
        ({"_CRS": {"wkt": UTM.to_wkt()}, "transform": list(ROTATED)[:6]}, UTM),
        ({"epsg": 32633, "GeoTransform": " ".join(map(str, ROTATED.to_gdal()))}, UTM),
        ({"crs": "no such thing", "transform": list(ROTATED)[:6]}, None),
    ],
)
@pytest.mark.parametrize("on_the_group", [False, True])
def test_a_rotated_array_is_placed_by_attributes_in_any_convention(
    tmp_path, attrs, crs, on_the_group
):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    array = root.create_array("r", data=cube(), dimension_names=("band", "y", "x"))
    (root if on_the_group else array).attrs.update(attrs)
    scene = open_scene(tmp_path / "a.zarr")
    assert scene.grid.transform.almost_equals(ROTATED)
    assert (scene.grid.crs and CRS.from_wkt(scene.grid.crs)) == crs
    assert any("no CRS" in note for note in scene.notes) == (crs is None)


def test_a_cut_array_is_placed_by_its_coordinates_and_not_by_the_stale_transform(tmp_path):
    stale = {"GeoTransform": "100000 2 0 200000 0 -2"}
    whole = write_zarr(tmp_path / "whole.zarr", cube(), reference=stale)
    part = xr.open_zarr(whole, mask_and_scale=False, chunks=None).isel(
        x=slice(4, None), y=slice(5, None)
    )
    for variable in part.variables.values():
        variable.encoding.pop("chunks", None)
        variable.encoding.pop("preferred_chunks", None)
    part.to_zarr(tmp_path / "part.zarr", zarr_format=2)
    assert open_scene(whole).notes == ()
    scene = open_scene(tmp_path / "part.zarr")
    assert scene.grid.transform.almost_equals(Affine(2, 0, 1e5 + 8, 0, -2, 2e5 - 10))
    assert "the array was cut" in scene.notes[0]


def test_an_array_inside_a_store_can_be_named_and_has_to_be_where_there_are_two(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", cube())
    root = zarr.open_group(path, mode="r+")
    root.create_array("other", data=cube(seed=1))
    with pytest.raises(InputError, match=r"holds 2 arrays .*a.zarr/other"):
        open_scene(path)
    scene = open_scene(path / "reflectance")
    np.testing.assert_array_equal(scene.read(scene.grid.window)[0], cube())
    assert scene.bands.wavelength_nm is not None


def test_a_bare_array_is_taken_by_the_length_of_its_wavelengths(tmp_path):
    values = cube()
    for order, turned in (("band y x", (0, 1, 2)), ("y x band", (1, 2, 0))):
        path = tmp_path / f"{order}.zarr"
        array = zarr.create_array(
            path, data=values.transpose(turned), zarr_format=2, chunks=(4,) * 3
        )
        array.attrs.update(wavelength=[0.5, 0.51, 0.52, 0.53, 0.54])
        scene = open_scene(path)
        np.testing.assert_array_equal(scene.read(scene.grid.window)[0], values)
        assert scene.bands.wavelength_nm == (500, 510, 520, 530, 540)
        assert scene.nodata is None
        assert any("micrometres inferred" in note for note in scene.notes)
        assert any("taken as" in note for note in scene.notes)


def test_chunks_that_were_never_written_are_told(tmp_path):
    root = zarr.open_group(tmp_path / "a.zarr", mode="w")
    array = root.create_array(
        "r", shape=(2, 8, 8), chunks=(2, 4, 4), dtype="i2", dimension_names=("band", "y", "x")
    )
    array[:, :4] = 7
    assert "2 of 4 chunks were never written and read as 0" in open_scene(tmp_path / "a.zarr").notes


def test_big_endian_samples_come_out_native(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=cube(dtype=">i2"), zarr_format=2)
    scene = open_scene(tmp_path / "a.zarr")
    found, _ = scene.read(scene.grid.window)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, cube())


def test_a_damaged_chunk_names_the_rows(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", cube())
    (path / "reflectance" / "1.1.0").write_bytes(b"nonsense")
    with open_scene(path) as scene:
        scene.read(Window(row=0, col=0, height=8, width=8))
        with pytest.raises(InputError, match=r"reflectance cannot be read at rows 8 to 16"):
            scene.read(Window(row=8, col=0, height=8, width=8))


def test_a_codec_that_runs_code_is_refused_before_a_chunk_is_read(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", cube())
    (path / ".zmetadata").unlink()
    meta = json.loads((path / "reflectance" / ".zarray").read_text())
    meta["filters"] = [{"id": "pickle", "protocol": 5}]
    (path / "reflectance" / ".zarray").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"is no readable Zarr store|runs code"):
        open_scene(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.cumsum(np.arange(1, 18.0))}, "'x' is not evenly spaced"),
        ({"reflectance": (("band", "y", "x"), cube(), {"add_offset": 3})}, "add_offset is 3"),
        ({"reflectance": (("y", "x"), cube()[0])}, "holds 0 arrays of three axes"),
    ],
)
def test_what_would_be_read_wrongly_is_refused(tmp_path, change, message):
    data = xr.Dataset({"reflectance": (("band", "y", "x"), cube())}, {"y": np.arange(23.0)})
    data.assign(change).to_zarr(tmp_path / "a.zarr", zarr_format=2)
    with pytest.raises(InputError, match=message):
        open_scene(tmp_path / "a.zarr")


def test_a_folder_that_is_no_store_and_a_broken_store_are_refused(tmp_path):
    with pytest.raises(UsageError, match="neither a Zarr store"):
        open_scene(tmp_path)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="is no readable Zarr store"):
        open_scene(tmp_path)


def test_the_fingerprint_of_a_store_follows_any_chunk(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", cube())
    before = open_scene(path).fingerprint()
    assert before["a.zarr"]["files"] > 10
    zarr.open_group(path, mode="r+")["reflectance"][0, 0, 0] = 0
    after = open_scene(path).fingerprint()
    assert after != before
    one, two = (path / "reflectance" / name for name in ("0.0.0", "0.0.1"))
    one.rename(path / "aside")
    two.rename(one)
    (path / "aside").rename(two)
    swapped = open_scene(path).fingerprint()
    assert swapped["a.zarr"]["size"] == after["a.zarr"]["size"]
    assert swapped != after


@pytest.mark.parametrize(
    ("chunks", "warning"),
    [
        ((1, 8, 8), "each band is a chunk of its own"),
        ((5, 1, 2000), "strips of 1 rows"),
        ((5, 1100, 1100), "blocks of 1100 x 1100"),
        ((5, 256, 256), None),
    ],
)
def test_a_bad_layout_is_warned_of_with_the_remedy(tmp_path, chunks, warning):
    shape = (5, 1200, 2000)
    zarr.create_array(tmp_path / "a.zarr", shape=shape, chunks=chunks, dtype="i2")
    advice = open_scene(tmp_path / "a.zarr").storage.advice(2000)
    assert (advice is None) if warning is None else (warning in advice and "to_zarr" in advice)

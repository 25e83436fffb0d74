"""NEON's HDF5: the real file, and miniatures with the tree of its flight lines, against h5py."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from hsimap.errors import InputError
from hsimap.geometry import Window
from hsimap.scenes import open_scene

MAP = "UTM,  1.000,  1.000,       257000.00,       4112000.0,  1.0000000,  1.0000000,  11,  North,"
MAP += "  WGS-84,  units=Meters, 0"
NM = np.linspace(1300, 2000, 15)


def write_neon(path, values, *, chunks=(4, 6, 5), compression="gzip", map_info=MAP, site="SJER"):
    """Write ``(band, y, x)`` values with the groups and attributes of NEON's flight lines."""
    with h5py.File(path, "w") as file:
        group = file.create_group(f"{site}/Reflectance")
        group.attrs["Band_Window_1_Nanometers"] = np.array([1340, 1445], np.int32)
        group.attrs["Band_Window_2_Nanometers"] = np.array([1790, 1955], np.int32)
        data = group.create_dataset(
            "Reflectance_Data",
            data=values.transpose(1, 2, 0),
            chunks=chunks,
            compression=compression,
        )
        data.attrs["Scale_Factor"] = np.array([10000.0])
        data.attrs["Data_Ignore_Value"] = np.array([-9999.0])
        meta = group.create_group("Metadata")
        place = meta.create_group("Coordinate_System")
        place["Map_Info"] = map_info
        place["EPSG Code"] = "32611"
        spectral = meta.create_group("Spectral_Data")
        spectral["Wavelength"] = NM[: len(values)]
        spectral["Wavelength"].attrs["Units"] = "nanometers"
        spectral["FWHM"] = np.full(len(values), 5.5)
        meta["Logs/Solar_Zenith_Angle"] = np.float32(31.5)
        meta["Logs/Solar_Azimuth_Angle"] = np.float32(140.25)
        for name in ("Zenith", "Azimuth"):
            angle = np.linspace(0, 18, values[0].size, dtype=np.float32).reshape(values[0].shape)
            angle[0, 0] = -9999
            meta[f"to-sensor_{name}_Angle"] = angle
            meta[f"to-sensor_{name}_Angle"].attrs["Data_Ignore_Value"] = -9999.0
    return path


def cube(shape=(15, 21, 17), seed=0):
    return np.random.default_rng(seed).integers(0, 9000, shape).astype(np.int16)


@pytest.mark.parametrize("chunks", [None, (4, 6, 5), (1, 17, 15), (21, 17, 1)])
def test_every_window_and_choice_of_bands_is_that_of_the_array(tmp_path, chunks):
    values = cube()
    compression = None if chunks is None else "gzip"
    path = write_neon(tmp_path / "a.h5", values, chunks=chunks, compression=compression)
    padded = np.pad(values, ((0, 0), (30, 30), (30, 30)))
    with open_scene(path) as scene:
        for bands in (list(range(15)), [14], [3, 0, 9], [5, 6, 7]):
            for row, col, height, width in [
                (0, 0, 21, 17), (-3, -3, 9, 9), (17, 12, 9, 9), (-2, 12, 6, 9), (18, -4, 7, 6),
                (11, 7, 1, 1), (40, 40, 3, 3), (5, 2, 9, 11),
            ]:  # fmt: skip
                window = Window(row=row, col=col, height=height, width=width)
                room = np.full((len(bands), height, width), 77, np.int16)
                found, _ = scene.read(window, bands, out=room)
                rows, cols = window.shift(rows=30, cols=30).slices
                assert found is room
                np.testing.assert_array_equal(found, padded[bands][:, rows, cols])


def test_what_the_product_states_is_read(tmp_path):
    values = cube()
    values[3, 4, 5] = -9999
    scene = open_scene(write_neon(tmp_path / "NEON_line.h5", values))
    assert scene.name == "NEON_line"
    assert (scene.scale, scene.nodata, scene.notes) == (1e-4, -9999, ())
    np.testing.assert_allclose(scene.bands.wavelength_nm, NM)
    assert scene.bands.fwhm_nm == (5.5,) * 15
    windows = ((NM >= 1340) & (NM <= 1445)) | ((NM >= 1790) & (NM <= 1955))
    assert scene.bands.good == tuple((~windows).tolist())
    assert CRS.from_wkt(scene.grid.crs) == CRS.from_epsg(32611)
    assert scene.grid.transform == Affine(1, 0, 257000, 0, -1, 4112000)
    assert scene.storage.driver == "HDF5"
    assert (scene.storage.block, scene.storage.compression) == ((4, 6), "deflate")
    valid = scene.read(scene.grid.window)[1]
    assert (~valid).sum() == 1
    assert not valid[4, 5]


def test_a_rotation_at_the_end_of_the_map_info_is_kept(tmp_path):
    path = write_neon(tmp_path / "a.h5", cube(), map_info=MAP[:-1] + "30")
    expected = Affine.translation(257000, 4112000) @ Affine.rotation(30) @ Affine.scale(1, -1)
    assert open_scene(path).grid.transform.almost_equals(expected, precision=1e-9)


def test_angles_are_layers_that_are_read_by_window(tmp_path):
    scene = pickle.loads(pickle.dumps(open_scene(write_neon(tmp_path / "a.h5", cube()))))  # noqa: S301
    assert list(scene.layers) == ["view_zenith", "view_azimuth", "sun_zenith", "sun_azimuth"]
    angle = np.linspace(0, 18, 21 * 17, dtype=np.float32).reshape(21, 17)
    angle[0, 0] = np.nan
    window = Window(row=-2, col=0, height=9, width=20)
    expected = np.full((9, 20), np.nan, np.float32)
    expected[2:, :17] = angle[:7]
    np.testing.assert_array_equal(scene.read_layer("view_zenith", window), expected)
    sun = scene.read_layer("sun_zenith", window)
    assert (sun[2:, :17] == 31.5).all()
    assert np.isnan(sun[:2]).all()
    with pytest.raises(InputError, match="without a layer 'slope'; it has: view_zenith"):
        scene.read_layer("slope", window)


def test_threads_and_processes_read_the_same(tmp_path):
    values = cube()
    scene = pickle.loads(pickle.dumps(open_scene(write_neon(tmp_path / "a.h5", values))))  # noqa: S301
    windows = [Window(row=row, col=0, height=3, width=17) for row in range(18)]
    with ThreadPoolExecutor(4) as pool:
        for window, (found, _) in zip(windows, pool.map(scene.read, windows), strict=True):
            np.testing.assert_array_equal(found, values[:, window.row : window.row + 3])
    np.testing.assert_array_equal(scene.array[:, 2:5, 3:9].values, values[:, 2:5, 3:9])


def test_a_truncated_file_is_refused(tmp_path):
    path = write_neon(tmp_path / "a.h5", cube())
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match=r"is no readable HDF5 file: .*truncated"):
        open_scene(path)


@pytest.mark.parametrize("kind", ["external link", "external samples", "virtual"])
def test_samples_in_other_files_are_refused(tmp_path, kind):
    write_neon(tmp_path / "other.h5", cube())
    path = write_neon(tmp_path / "a.h5", cube())
    with h5py.File(path, "r+") as file:
        group, name = file["SJER/Reflectance"], "Reflectance_Data"
        del group[name]
        if kind == "external link":
            group[name] = h5py.ExternalLink("other.h5", f"/SJER/Reflectance/{name}")
        elif kind == "external samples":
            outside = [(str(tmp_path / "other.h5"), 0, 21 * 17 * 15 * 2)]
            group.create_dataset(name, (21, 17, 15), "i2", external=outside)
        else:
            layout = h5py.VirtualLayout((21, 17, 15), "i2")
            layout[:] = h5py.VirtualSource(
                str(tmp_path / "other.h5"), f"/SJER/Reflectance/{name}", (21, 17, 15)
            )
            group.create_virtual_dataset(name, layout)
    with pytest.raises(InputError, match=r"lies in (another|other) files?; copy it in"):
        open_scene(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("Metadata/Spectral_Data/Wavelength", "Wavelength has 0 numbers for 15 bands"),
        ("Metadata/Coordinate_System", None),
        ("Reflectance_Data", "is an HDF5 file of no known product"),
    ],
)
def test_a_missing_piece_is_named(tmp_path, change, message):
    path = write_neon(tmp_path / "a.h5", cube())
    with h5py.File(path, "r+") as file:
        del file["SJER/Reflectance"][change]
    if message is None:
        assert open_scene(path).notes == ("a.h5 has no CRS",)
        return
    with pytest.raises(InputError, match=message):
        open_scene(path)


@pytest.mark.parametrize(
    ("chunks", "compression", "warning"),
    [
        ((1, 1100, 15), "gzip", "strips of 1 rows are decoded over the whole width"),
        ((4, 64, 1), "gzip", "each band is a chunk of its own"),
        ((4, 64, 15), "gzip", None),
        (None, None, None),
    ],
)
def test_a_bad_layout_is_warned_of_with_the_remedy(tmp_path, chunks, compression, warning):
    values = np.zeros((15, 4, 1100), np.int16)
    path = write_neon(tmp_path / "a.h5", values, chunks=chunks, compression=compression)
    advice = open_scene(path).storage.advice(1100)
    assert (advice is None) if warning is None else (warning in advice and "h5repack" in advice)


@pytest.mark.data
def test_the_real_file_is_read_as_h5py_reads_it(data_folder):
    path = data_folder / "neon_unlabelled" / "neon_sjer_30x30.h5"
    scene = open_scene(path)
    with h5py.File(path) as file:
        group = file["SJER/Reflectance"]
        values = group["Reflectance_Data"][()].transpose(2, 0, 1)
        wavelength = group["Metadata/Spectral_Data/Wavelength"][()]
    found, valid = scene.read(scene.grid.window)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(valid, (values != -9999).all(axis=0))
    np.testing.assert_allclose(scene.bands.wavelength_nm, wavelength)
    assert scene.grid.transform == Affine(1, 0, 257000, 0, -1, 4112000)
    assert CRS.from_wkt(scene.grid.crs) == CRS.from_epsg(32611)
    assert (scene.scale, scene.nodata, scene.layers) == (1e-4, -9999, {})
    part = scene.read(Window(row=25, col=-2, height=9, width=8), [425, 3])[0]
    np.testing.assert_array_equal(part[:, :5, 2:], values[[425, 3], 25:, :6])

"""One scene in several formats gives the same maps."""

import h5py
import numpy as np
import pytest
import rasterio
import zarr

from hsimap.cli._main import run
from hsimap.scenes import open_scene


def as_envi(scene, values, path):
    path.with_suffix(".img").write_bytes(values.transpose(1, 0, 2).astype(">i2").tobytes())
    bands, lines, samples = values.shape
    t = scene.grid.transform
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {samples}\nlines = {lines}\nbands = {bands}\ndata type = 2\n"
        f"interleave = bil\nbyte order = 1\ndata ignore value = {scene.nodata}\n"
        f"reflectance scale factor = 10000\nwavelength units = Micrometers\n"
        f"wavelength = {{{', '.join(str(nm / 1000) for nm in scene.bands.wavelength_nm)}}}\n"
        f"map info = {{UTM, 1, 1, {t.c}, {t.f}, {t.a}, {-t.e}, 33, North, WGS-84}}\n"
    )
    return path.with_suffix(".hdr")


def as_zarr(scene, values, path):
    root = zarr.open_group(path.with_suffix(".zarr"), mode="w")
    cube = root.create_array(
        "r", data=values.transpose(1, 2, 0), chunks=(16, 20, 3), dimension_names=("y", "x", "band")
    )
    cube.attrs.update(
        {
            "_FillValue": scene.nodata,
            "scale_factor": 1e-4,
            "proj:wkt2": scene.grid.crs,
            "spatial:transform": list(scene.grid.transform)[:6],
            "wavelength": list(scene.bands.wavelength_nm),
        }
    )
    return path.with_suffix(".zarr")


def as_neon(scene, values, path):
    t = scene.grid.transform
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        group = file.create_group("SITE/Reflectance")
        cube = group.create_dataset(
            "Reflectance_Data", data=values.transpose(1, 2, 0), chunks=(16, 20, 4), compression=1
        )
        cube.attrs["Scale_Factor"], cube.attrs["Data_Ignore_Value"] = 1e4, scene.nodata
        place = group.create_group("Metadata/Coordinate_System")
        place["Map_Info"] = f"UTM, 1, 1, {t.c}, {t.f}, {t.a}, {-t.e}, 33, North, WGS-84, 0"
        place["EPSG Code"] = "32633"
        group["Metadata/Spectral_Data/Wavelength"] = scene.bands.wavelength_nm
    return path.with_suffix(".h5")


@pytest.mark.parametrize("write", [as_envi, as_zarr, as_neon])
def test_the_maps_are_those_of_the_geotiff(write, write_scene, toy_bundle, tmp_path, capsys):
    values = write_scene(tmp_path / "line.tif")
    scenes = [
        tmp_path / "line.tif",
        write(open_scene(tmp_path / "line.tif"), values, tmp_path / "x"),
    ]
    for place, scene in zip(("a", "b"), scenes, strict=True):
        out = tmp_path / place
        assert run(["predict", str(scene), "--model", str(toy_bundle.path), "--out", str(out)]) == 0
    maps = sorted((tmp_path / "a" / "line").glob("*.tif"))
    assert len(maps) >= 4
    for path in maps:
        with rasterio.open(path) as one, rasterio.open(tmp_path / "b" / "x" / path.name) as two:
            np.testing.assert_array_equal(one.read(), two.read())
            assert one.transform.almost_equals(two.transform)
            assert one.crs == two.crs
    capsys.readouterr()
    assert run(["inspect", str(scenes[1])]) == 0
    told = capsys.readouterr().out
    assert "450 to 850 nm" in told
    assert {"as_envi": "ENVI", "as_zarr": "Zarr", "as_neon": "HDF5"}[write.__name__] in told

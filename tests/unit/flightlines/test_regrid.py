"""One line on another grid against GDAL's warper, and the flags of mosaics."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.warp import Resampling, reproject

from hsimap.errors import MismatchError, UsageError
from hsimap.flightlines import MosaicSettings, mosaic, regrid
from hsimap.products import (
    describe_layers,
    flag_layer,
    open_maps,
    read_manifest,
    verify_folder,
    write_layer,
    write_manifest,
)

spec = importlib.util.spec_from_file_location("folders", Path(__file__).with_name("conftest.py"))
folders = importlib.util.module_from_spec(spec)
spec.loader.exec_module(folders)

write_line, grid_of, flat = folders.write_line, folders.grid_of, folders.flat
COVER, ground = folders.COVER, folders.ground


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def add_flags(folder, values):
    """Give a folder of maps a layer of flags."""
    maps = open_maps(folder)
    grid = maps.layers[0].grid
    layer = flag_layer(grid, ["gone", "odd", "", "edge"])
    files = write_layer(folder, layer, lambda window: values[None][(..., *window.slices)])
    content = dict(maps.manifest)
    known = [folder / name for name in content.pop("files")]
    content |= describe_layers([*maps.layers, layer])
    content.pop("schema")
    write_manifest(folder, content, files=[*known, *files])


def shares(x, y):
    raw = np.exp(np.stack([np.sin(x / 17), np.cos(y / 13), np.sin((x + y) / 23)]))
    return raw / raw.sum(axis=0)


def height(x, y):
    return 15 + 5 * np.sin(x / 20) + 5 * np.cos(y / 20)


@pytest.fixture
def line(tmp_path):
    """A turned line with a corner missing, and flags that tell a pixel's number."""
    grid = grid_of(50, 60, angle=28.0)
    valid = np.ones((50, 60), dtype=bool)
    valid[:12, :20] = False
    folder = write_line(tmp_path / "line", grid, shares=shares, height=height, valid=valid)
    rows, cols = np.indices(valid.shape)
    flags = np.where(valid, (rows * 7 + cols) % 3 * 2 % 5, 1).astype(np.uint8)
    add_flags(folder, flags)
    return folder, grid, valid, flags


def warped(source, grid, on, *, how, nodata):
    """Resample ``(band, y, x)`` float32 by GDAL."""
    out = np.full((len(source), on.height, on.width), nodata, source.dtype)
    for plane, target in zip(source, out, strict=True):
        reproject(
            plane, target, src_transform=grid.transform, src_crs=grid.crs, src_nodata=nodata,
            dst_transform=on.transform, dst_crs=on.crs, dst_nodata=nodata, resampling=how,
        )  # fmt: skip
    return out


def write_template(path, crs):
    """Write a raster in another CRS that holds most of the line."""
    x, y = rasterio.warp.transform("EPSG:32635", crs, [4e5], [6.9e6])
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "height": 60, "width": 50}
    place = Affine(2.5, 0, x[0] - 20, 0, -2.5, y[0] + 70)
    with rasterio.open(path, "w", crs=crs, transform=place, **profile):
        pass
    return path


@pytest.mark.parametrize("other", [None, "EPSG:32634"])
def test_values_are_bilinear_and_classes_those_of_the_resampled_shares(line, tmp_path, other):
    folder, grid, valid, flags = line
    template = None if other is None else write_template(tmp_path / "template.tif", other)
    report = regrid(folder, tmp_path / "out", template=template)
    on = report.grid
    assert on.transform.b == on.transform.d == 0
    stored = np.where(valid, height(*ground(grid)), -1).astype(np.float32)[None]
    expected = warped(stored, grid, on, how=Resampling.bilinear, nodata=-1)[0]
    found = read(tmp_path / "out" / "height.tif")[0]
    both = np.isfinite(found) & (expected != -1)
    assert both.sum() > 500
    assert (np.isfinite(found) != (expected != -1)).mean() < 0.1  # the rim: GDAL needs no nearest
    assert np.abs(found - expected)[both].max() < (0.1 if other else 1e-3)  # 1/8 px off elsewhere
    places = rasterio.warp.transform(on.crs, grid.crs, *(p.ravel() for p in ground(on)))
    truth = height(*(np.array(p).reshape(found.shape) for p in places))
    inside = both & np.roll(both, 1, 0) & np.roll(both, -1, 0) & np.roll(both, 1, 1)
    inside &= np.roll(both, -1, 1)
    assert np.abs(found - truth)[inside].max() < 0.03  # a chord of 2 m under the sines
    codes, kept = read(tmp_path / "out" / "cover.tif")[0], read(folder / "cover_probability.tif")
    raw = warped(kept.astype(np.float32), grid, on, how=Resampling.bilinear, nodata=65535)
    classes = COVER.codes[raw.argmax(axis=0)]
    sure = both & (np.sort(raw, axis=0)[-1] - np.sort(raw, axis=0)[-2] > 200)
    assert (codes[sure] == classes[sure]).mean() > 0.99
    assert (codes == 255).sum() == (~np.isfinite(found)).sum()
    nearest = warped(flags[None], grid, on, how=Resampling.nearest, nodata=255)[0]
    qa = read(tmp_path / "out" / "qa.tif")[0]
    assert ((qa == 255) == (codes == 255)).all()
    assert (qa == nearest)[both].mean() > 0.97


def test_a_grid_of_its_own_leaves_the_maps_as_they_are(tmp_path):
    grid = grid_of(20, 30)
    folder = write_line(tmp_path / "line", grid, shares=shares, height=height)
    add_flags(folder, np.zeros((20, 30), np.uint8))
    regrid(folder, tmp_path / "out", template=folder / "cover.tif")
    for name in ("cover", "cover_probability", "height", "qa", "density"):
        one, two = read(tmp_path / "out" / f"{name}.tif"), read(folder / f"{name}.tif")
        assert one.tobytes() == two.tobytes()


def test_the_folder_is_one_of_a_scene(line, tmp_path):
    folder = line[0]
    out = tmp_path / "out"
    report = regrid(folder, out, template=None, shares=False)
    maps = open_maps(out)
    assert [layer.name for layer in maps.layers] == ["cover", "height", "density", "qa"]
    assert maps.name == "line"
    assert maps.layers[0].tags["HSIMAP_SCENE"] == "line"
    assert [layer.grid.transform.b for layer in maps.layers] == [0, 0, 0, 0]
    assert not (out / "agreement.csv").exists()
    assert not verify_folder(out)
    assert "resampled_from" in read_manifest(out)
    assert {"cover.qml", "maps.qgs", "preview.png"} <= set(report.files)
    before = (out / "manifest.json").read_bytes()
    assert regrid(folder, out, template=None, shares=False).already_complete
    assert (out / "manifest.json").read_bytes() == before


def test_what_cannot_be_put_on_a_grid_is_refused(tmp_path):
    folder = write_line(tmp_path / "line", grid_of(10, 12), probabilities=False)
    with pytest.raises(UsageError, match="--probabilities all"):
        regrid(folder, tmp_path / "out", template=None)
    whole = write_line(tmp_path / "whole", grid_of(10, 12))
    far = write_line(tmp_path / "far", grid_of(10, 12, origin=(5e5, 6.9e6)))
    with pytest.raises(MismatchError, match="no part of"):
        regrid(whole, tmp_path / "out", template=far / "cover.tif")


def test_a_mosaic_has_the_flags_of_the_line_that_a_pixel_is_taken_from(tmp_path):
    folders = []
    for n, origin in enumerate(((4e5, 6.9e6), (400030.0, 6.9e6))):
        grid = grid_of(24, 30, origin=origin)
        valid = np.ones((24, 30), dtype=bool)
        valid[5:9, 10:20] = False
        folder = write_line(tmp_path / f"line{n}", grid, height=flat(n), valid=valid)
        add_flags(folder, np.where(valid, 2 << (2 * n), 1).astype(np.uint8))
        folders.append(folder)
    mosaic(folders, tmp_path / "m", settings=MosaicSettings(block=8))
    qa, source = (read(tmp_path / "m" / f"{name}.tif")[0] for name in ("qa", "source_line"))
    expected = np.where(source == 255, 255, np.where(source == 1, 2, 8))
    np.testing.assert_array_equal(qa, expected)
    assert {2, 8, 255} == set(np.unique(qa))
    layer = next(layer for layer in open_maps(tmp_path / "m").layers if layer.kind == "flags")
    assert layer.shelf == "QA"
    plain = write_line(tmp_path / "plain", grid_of(24, 30, origin=(400060.0, 6.9e6)))
    mosaic([*folders, plain], tmp_path / "some", settings=MosaicSettings())
    assert not (tmp_path / "some" / "qa.tif").exists()

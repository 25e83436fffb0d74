"""Map files, read back by rasterio and by an XML parser."""

import errno
import logging
import os
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from affine import Affine
from clean import assert_clean
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import StorageError, UsageError, VerificationError
from hsimap.geometry import Grid
from hsimap.products import (
    Layer,
    Preview,
    flag_layer,
    is_map_folder,
    read_manifest,
    verify_folder,
    write_layer,
    write_manifest,
)
from hsimap.products._cog import encode_tiles, loud_gdal
from hsimap.tasks import ClassLabel, Kind, Task

TREES = Task(
    name="species",
    kind=Kind.CATEGORICAL,
    title="Main species",
    classes=(
        ClassLabel(code=1, name='pine & "fir" <1>', color="#1b7837"),
        ClassLabel(code=5, name="spruce", color="#762a83"),
        ClassLabel(code=9, name="birch", color="#f28e2b"),
    ),
)
HEIGHT = Task(name="mean_height", kind=Kind.CONTINUOUS, unit="m", range=(0, 30))
FREE = Task(name="index", kind=Kind.CONTINUOUS)
TURNED = Affine.translation(3e5, 6.8e6) @ Affine.rotation(17) @ Affine.scale(0.7, -0.7)


def grid(height, width, crs="EPSG:3067", transform=TURNED):
    wkt = rasterio.CRS.from_string(crs).to_wkt() if crs else None
    return Grid(height=height, width=width, transform=transform, crs=wkt)


def layer(kind, task, where, bands=None):
    dtype, nodata, scale = {
        "classes": ("uint8", 255, 1.0),
        "values": ("float32", float("nan"), 1.0),
        "probabilities": ("uint16", 65535, 1 / 65534),
    }[kind]
    name = task.name + ("_probability" if kind == "probabilities" else "")
    return Layer(
        name=name, kind=kind, grid=where, task=task, bands=bands or (name,), dtype=dtype,
        nodata=nodata, scale=scale, tags={"HSIMAP_SCENE": "line"},
    )  # fmt: skip


def reader(values):
    return lambda window: values[(..., *window.slices)]


def class_map(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.choice(np.uint8([1, 5, 9, 255]), (1, height, width))


@given(height=st.sampled_from([1, 2, 511, 512, 513, 700]), width=st.sampled_from([1, 3, 512, 530]))
def test_any_shape_reads_back_on_its_rotated_grid(tmp_path_factory, height, width):
    folder = tmp_path_factory.mktemp("maps")
    values = np.random.default_rng(1).normal(size=(1, height, width)).astype(np.float32)
    values[0, 0, 0] = np.nan
    path, *_ = write_layer(folder, layer("values", HEIGHT, grid(height, width)), reader(values))
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.transform == TURNED
        assert file.crs.to_epsg() == 3067
        assert np.isnan(file.nodata)
        assert (file.units, file.descriptions) == (("m",), ("mean_height",))
        assert file.tags()["HSIMAP_SCENE"] == "line"
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert not list(folder.glob("*.tiles"))


def test_class_maps_have_a_palette_and_overviews_that_invent_no_code(tmp_path):
    codes = class_map(1500, 1400)
    path, *_ = write_layer(tmp_path, layer("classes", TREES, grid(1500, 1400)), reader(codes))
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), codes)
        assert file.nodata == 255
        assert file.overviews(1)
        assert file.colormap(1)[5] == (0x76, 0x2A, 0x83, 255)
        coarse = file.read(1, out_shape=(375, 350))
    assert set(np.unique(coarse)) <= {1, 5, 9, 255}


@pytest.mark.parametrize("kind", ["classes", "values", "probabilities", "flags"])
def test_other_tools_find_no_fault(tmp_path, kind):
    where, rng = grid(1300, 700), np.random.default_rng(3)
    if kind == "flags":
        made = flag_layer(where, ["gone", "odd"])
        values = rng.choice([0, 1, 3, 255], (1, 1300, 700))
    elif kind == "values":
        made, values = layer(kind, HEIGHT, where), rng.normal(size=(1, 1300, 700))
    else:
        names = tuple(label.name for label in TREES.classes) if kind == "probabilities" else None
        made = layer(kind, TREES, where, names)
        values = rng.choice([1, 5, 9, made.nodata], (len(made.bands), 1300, 700))
    path, *_ = write_layer(tmp_path, made, reader(values.astype(made.dtype)))
    assert_clean(path)


def test_value_overviews_are_averages(tmp_path):
    ramp = np.broadcast_to(np.arange(2048, dtype=np.float32), (1, 2048, 2048))
    path, *_ = write_layer(tmp_path, layer("values", FREE, grid(2048, 2048)), reader(ramp))
    with rasterio.open(path, overview_level=0) as file:
        np.testing.assert_allclose(file.read(1)[0], np.arange(1024) * 2 + 0.5)


def test_probabilities_have_a_named_band_a_class_and_a_scale(tmp_path):
    values = np.random.default_rng(2).integers(0, 65535, (3, 40, 30)).astype(np.uint16)
    names = tuple(label.name for label in TREES.classes)
    made = layer("probabilities", TREES, grid(40, 30), names)
    path, *_ = write_layer(tmp_path, made, reader(values))
    with rasterio.open(path) as file:
        assert file.descriptions == names
        assert file.scales == (1 / 65534,) * 3
        np.testing.assert_array_equal(file.read(), values)


def test_styles_and_tables_hold_names_codes_and_colours(tmp_path):
    made = layer("classes", TREES, grid(20, 20))
    write_layer(tmp_path, made, reader(class_map(20, 20)))
    entries = ET.parse(tmp_path / "species.qml").getroot().iter("paletteEntry")  # noqa: S314
    assert [(e.get("value"), e.get("label"), e.get("color")) for e in entries] == [
        (str(c.code), c.name, c.color) for c in TREES.classes
    ]
    table = ET.parse(tmp_path / "species.tif.aux.xml").getroot()  # noqa: S314
    names = [category.text or "" for category in table.iter("Category")]
    assert [names[code] for code in (1, 5, 9)] == [c.name for c in TREES.classes]
    rows = [[cell.text for cell in row] for row in table.iter("Row")]
    assert rows[1] == ["5", "spruce", "118", "42", "131"]


def test_the_ramp_spans_the_range_of_the_task_and_names_the_unit(tmp_path):
    values = np.full((1, 9, 9), 3, np.float32)
    write_layer(tmp_path, layer("values", HEIGHT, grid(9, 9)), reader(values))
    root = ET.parse(tmp_path / "mean_height.qml").getroot()  # noqa: S314
    items = [(float(e.get("value")), e.get("label")) for e in root.iter("item")]
    assert items[0] == (0.0, "0 m")
    assert items[-1] == (30.0, "30 m")


def test_the_same_map_has_the_same_bytes(tmp_path):
    made, codes = layer("classes", TREES, grid(600, 600)), class_map(600, 600)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_layer(tmp_path / name, made, reader(codes))
    for first in (tmp_path / "a").iterdir():
        assert first.read_bytes() == (tmp_path / "b" / first.name).read_bytes()


def test_a_scene_without_crs_keeps_its_transform(tmp_path):
    made = layer("classes", TREES, grid(10, 10, crs=None))
    path, *_ = write_layer(tmp_path, made, reader(class_map(10, 10)))
    with rasterio.open(path) as file:
        assert file.crs is None
        assert file.transform == TURNED


def test_a_map_that_reads_back_otherwise_is_refused(tmp_path, monkeypatch):
    codes = class_map(20, 20)

    def wrong(layer, values):
        return encode_tiles(layer, values ^ 1)

    monkeypatch.setattr("hsimap.products._cog.encode_tiles", wrong)
    with pytest.raises(VerificationError, match="does not read back as it was written at row 0"):
        write_layer(tmp_path, layer("classes", TREES, grid(20, 20)), reader(codes))


@pytest.mark.parametrize("step", ["pwrite", "sendfile", "fsync"])
def test_a_full_disk_is_told_and_leaves_no_temporary_file(tmp_path, monkeypatch, step):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_layer(tmp_path, layer("classes", TREES, grid(9, 9)), reader(class_map(9, 9)))
    assert not list(tmp_path.iterdir())


def test_what_gdal_only_logs_is_raised(tmp_path):
    with pytest.raises(StorageError, match="TIFFAppendToStrip"), loud_gdal(tmp_path / "x.tif"):
        logging.getLogger("rasterio._err").error("GDAL signalled an error: TIFFAppendToStrip")


def test_the_manifest_finds_altered_and_missing_files_and_warns_of_sidecars(tmp_path):
    paths = write_layer(tmp_path, layer("classes", TREES, grid(9, 9)), reader(class_map(9, 9)))
    assert not is_map_folder(tmp_path)
    write_manifest(tmp_path, {"note": "ü"}, files=paths)
    assert is_map_folder(tmp_path)
    assert verify_folder(tmp_path) == []
    assert read_manifest(tmp_path)["note"] == "ü"
    paths[2].write_bytes(b"<PAMDataset/>")
    (tmp_path / "mine.txt").touch()
    assert len(verify_folder(tmp_path)) == 2
    data = bytearray(paths[0].read_bytes())
    data[-1] ^= 1
    paths[0].write_bytes(data)
    with pytest.raises(VerificationError, match=r"species\.tif was altered"):
        verify_folder(tmp_path)
    paths[0].unlink()
    with pytest.raises(VerificationError, match=r"species\.tif is missing"):
        verify_folder(tmp_path)


def test_a_folder_without_or_with_a_damaged_manifest_is_told(tmp_path):
    with pytest.raises(UsageError, match="holds no finished maps"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(VerificationError, match="is damaged"):
        read_manifest(tmp_path)


def test_the_preview_shows_every_colour_of_a_class_map(tmp_path):
    from matplotlib.image import imread

    where = grid(60, 90)
    classes, values = layer("classes", TREES, where), layer("values", HEIGHT, where)
    maps = class_map(60, 90), np.full((1, 60, 90), 15, np.float32)
    preview = Preview([classes, values])
    for drawn, pixels in zip((classes, values), maps, strict=True):
        preview.add(drawn, write_layer(tmp_path, drawn, reader(pixels))[0])
    preview.save(tmp_path / "preview.png")
    image = (imread(tmp_path / "preview.png")[..., :3] * 255).round().astype(int)
    colors = {tuple(color) for color in image.reshape(-1, 3)}
    assert {(0x1B, 0x78, 0x37), (0x76, 0x2A, 0x83), (0xF2, 0x8E, 0x2B)} <= colors

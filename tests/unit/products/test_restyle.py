"""Styles for rasters that are there already, judged by rasterio and an XML parser."""

import shutil
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from affine import Affine
from test_products import HEIGHT, TREES, class_map, grid, layer, reader

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Grid
from hsimap.products import (
    MapFolder,
    describe_layers,
    flag_layer,
    names_and_colors,
    open_maps,
    restyle,
    task_of_raster,
    verify_folder,
    write_layer,
    write_manifest,
)
from hsimap.products._layer import legend_of
from hsimap.tasks import Kind, Task, task_from_mapping


def raster(path, values, **extra):
    profile = {
        "driver": "GTiff", "count": 1, "height": values.shape[0], "width": values.shape[1],
        "dtype": values.dtype, "transform": Affine(10, 0, 3e5, 0, -10, 6.8e6), "crs": "EPSG:3067",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile | extra) as file:
        file.write(values, 1)
    return path


def style(path):
    return ET.fromstring(path.with_suffix(".qml").read_bytes())  # noqa: S314  # hsimap's own


def entries(path):
    root = style(path)
    return [(e.get("value"), e.get("label"), e.get("color")) for e in root.iter("paletteEntry")]


def test_a_foreign_raster_of_codes_gets_given_names_in_qgis_and_gdal(tmp_path):
    codes = np.random.default_rng(0).choice(np.uint8([0, 3, 7]), (40, 30))
    path = raster(tmp_path / "Site 2020.tif", codes, nodata=0)
    before = path.read_bytes()
    mapping = {3: {"name": "heath & <fell>", "color": "#123456"}, 7: "mire"}
    restyle(path, task_from_mapping("site", names_and_colors(mapping)))
    assert entries(path)[0] == ("3", "heath & <fell>", "#123456")
    assert path.read_bytes() == before
    with rasterio.open(path) as file:
        assert file.colormap(1)[3] == (0x12, 0x34, 0x56, 255)
        assert file.colorinterp[0].name == "palette"
    again, source = task_of_raster(path)
    assert source == "Site 2020.tif.aux.xml"
    assert [(c.code, c.name) for c in again.classes] == [(3, "heath & <fell>"), (7, "mire")]


def test_a_raster_with_a_palette_keeps_its_colours_and_its_codes_are_found(tmp_path):
    codes = np.random.default_rng(0).choice(np.uint8([2, 9, 255]), (40, 30))
    path = raster(tmp_path / "cover.tif", codes, nodata=255)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {2: (1, 2, 3, 255), 9: (255, 0, 16, 255)})
    task, source = task_of_raster(path)
    assert source == "its codes"
    restyle(path, task)
    assert entries(path) == [("2", "class 2", "#010203"), ("9", "class 9", "#ff0010")]


def test_statistics_in_the_sidecar_stay(tmp_path):
    path = raster(tmp_path / "cover.tif", np.full((4, 4), 2, np.uint8))
    sidecar = path.with_name("cover.tif.aux.xml")
    sidecar.write_text(
        "<PAMDataset><PAMRasterBand band='1'><Description>old</Description>"
        "<Metadata><MDI key='STATISTICS_MEAN'>2</MDI></Metadata></PAMRasterBand></PAMDataset>"
    )
    restyle(path, task_from_mapping("cover", {"kind": "categorical", "classes": {2: "field"}}))
    with rasterio.open(path) as file:
        assert file.tags(1)["STATISTICS_MEAN"] == "2"
    assert sidecar.read_text().count("<Description>") == 1


def test_values_get_a_ramp_over_what_was_asked_or_over_the_middle(tmp_path):
    values = np.linspace(0, 100, 40 * 30, dtype=np.float32).reshape(40, 30)
    values[0, 0] = -9999
    path = raster(tmp_path / "height.tif", values, nodata=-9999)
    task, _ = task_of_raster(path)
    assert task.kind is Kind.CONTINUOUS
    restyle(path, task)
    shader = style(path).find(".//colorrampshader")
    assert float(shader.get("minimumValue")) == pytest.approx(2, abs=0.2)
    assert float(shader.get("maximumValue")) == pytest.approx(98, abs=0.2)
    restyle(path, task, limits=(0, 50), ramp=("#000000", "#ffffff"))
    items = list(style(path).iter("item"))
    assert [(i.get("value"), i.get("color")) for i in items] == [
        ("0.0", "#000000"), ("50.0", "#ffffff"),
    ]  # fmt: skip


def test_whole_numbers_of_many_kinds_are_values(tmp_path):
    path = raster(tmp_path / "dem.tif", np.arange(1200, dtype=np.int16).reshape(40, 30))
    assert task_of_raster(path)[0].kind is Kind.CONTINUOUS


def finished(folder, layers, arrays):
    folder.mkdir()
    files = [
        p for a, b in zip(layers, arrays, strict=True) for p in write_layer(folder, a, reader(b))
    ]
    write_manifest(folder, {"scene": {"name": "line"}, **describe_layers(layers)}, files=files)
    return open_maps(folder)


def test_a_map_of_a_finished_folder_is_styled_by_its_manifest_and_still_verifies(tmp_path):
    where = grid(40, 30)
    flags = flag_layer(where, ["cloud", "shadow"])
    layers = (layer("classes", TREES, where), layer("values", HEIGHT, where), flags)
    bits = np.random.default_rng(1).choice(np.uint8([0, 1, 255]), (1, 40, 30))
    values = np.random.default_rng(1).normal(size=(1, 40, 30)).astype(np.float32)
    maps = finished(tmp_path / "line", layers, (class_map(40, 30), values, bits))
    styles = {p.name: p.read_bytes() for p in maps.path.iterdir() if p.suffix != ".json"}
    for made in maps.layers:
        path = maps.file(made)
        path.with_suffix(".qml").unlink()
        task, source = task_of_raster(path)
        assert source == "its manifest"
        restyle(path, task)
    assert {p.name: p.read_bytes() for p in maps.path.iterdir() if p.suffix != ".json"} == styles
    restyle(maps.file(maps.layers[1]), Task(name="h", kind=Kind.CONTINUOUS, unit="ft"))
    assert verify_folder(maps.path) == []


def test_layers_come_back_from_the_manifest_as_they_were(tmp_path):
    turned = grid(40, 30)
    coarse = turned.coarsen(2)
    layers = (
        layer("classes", TREES, turned),
        layer("values", HEIGHT, coarse),
        flag_layer(turned, ["a", "b", "c"], tags={"x": "1"}),
    )
    arrays = (
        class_map(40, 30),
        np.zeros((1, 20, 15), np.float32),
        np.zeros((1, 40, 30), np.uint8),
    )
    found = finished(tmp_path / "line", layers, arrays)
    assert isinstance(found, MapFolder)
    assert found.name == "line"
    for mine, theirs in zip(layers, found.layers, strict=True):
        assert str(mine) == str(theirs)  # NaN is not equal to itself


def test_flags_are_masks_for_cf_and_combinations_for_people(tmp_path):
    where = Grid(height=4, width=4, transform=Affine.identity(), crs=None)
    flags = flag_layer(where, ["cloud", "deep shadow"], colors=["#ff0000", "#0000ff"])
    bits = np.zeros((1, 4, 4), np.uint8)
    bits[0, 0] = (1, 2, 3, 255)
    path, qml, _ = write_layer(tmp_path, flags, reader(bits))
    with rasterio.open(path) as file:
        assert file.tags(1)["flag_masks"] == "1 2"
        assert file.tags(1)["flag_meanings"] == "cloud deep_shadow"
        assert file.colormap(1)[3][:3] == (255, 0, 0)
    assert [label for _, label, _ in entries(qml)] == [
        "no flag", "cloud", "deep shadow", "cloud + deep shadow",
    ]  # fmt: skip
    assert len(legend_of(flags)) == 4
    with pytest.raises(UsageError, match="1 to 7 flags"):
        flag_layer(where, [str(i) for i in range(8)])


def test_what_is_no_raster_or_a_bomb_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        task_of_raster(tmp_path / "none.tif")
    (tmp_path / "text.tif").write_text("<VRTDataset/>")
    with pytest.raises(InputError, match="no readable"):
        task_of_raster(tmp_path / "text.tif")
    path = raster(tmp_path / "a.tif", np.full((4, 4), 2, np.uint8))
    shutil.copy(path, tmp_path / "b.tif")
    path.with_name("a.tif.aux.xml").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><PAMDataset/>")
    with pytest.raises(InputError, match="document type"):
        task_of_raster(path)
    with pytest.raises(UsageError, match="must be a name"):
        names_and_colors({1: 5})

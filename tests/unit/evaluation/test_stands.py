"""Statistics of stands: truths by hand, and numpy on a grid a hundred times as fine."""

import csv
from dataclasses import replace

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from hsimap.cli._main import run
from hsimap.errors import InputError
from hsimap.evaluation import _stands, stand_statistics
from hsimap.geometry import Grid, Window
from hsimap.labels import coverage
from hsimap.products import (
    Layer,
    describe_layers,
    flag_layer,
    open_maps,
    write_layer,
    write_manifest,
)
from hsimap.tasks import ClassLabel, Kind, Task

TREES = Task(
    name="species",
    kind=Kind.CATEGORICAL,
    classes=(
        ClassLabel(code=2, name="pine", color="#1b7837"),
        ClassLabel(code=7, name="birch", color="#f28e2b"),
    ),
)
HEIGHT = Task(name="height", kind=Kind.CONTINUOUS, unit="m")
WKT = rasterio.CRS.from_epsg(3067).to_wkt()
TURNED = Affine.translation(3e5, 6.8e6) @ Affine.rotation(20) @ Affine.scale(2, -2)


def finished(folder, height=40, width=30):
    """Write classes, values at half the resolution and flags, with holes; return them too."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    grid = Grid(height=height, width=width, transform=TURNED, crs=WKT)
    coarse = grid.coarsen(2)
    codes = rng.choice(np.uint8([2, 2, 7, 255]), (1, height, width))
    codes[0, 6, 4] = 255
    values = rng.normal(1000, 1, (1, coarse.height, coarse.width)).astype(np.float32)
    values[0, 3:5, 3:9] = np.nan
    bits = rng.choice(np.uint8([0, 1, 2, 3]), (1, height, width))
    species = Layer(
        name="species", kind="classes", grid=grid, task=TREES, bands=("species",), dtype="uint8",
        nodata=255,
    )  # fmt: skip
    heights = Layer(
        name="height", kind="values", grid=coarse, task=HEIGHT, bands=("height",),
        dtype="float32", nodata=float("nan"),
    )  # fmt: skip
    layers = (species, heights, flag_layer(grid, ["cloud", "shadow"]))
    arrays = (codes, values, bits)
    files = []
    for layer, array in zip(layers, arrays, strict=True):
        files += write_layer(folder, layer, lambda w, a=array: a[(..., *w.slices)])
    write_manifest(folder, {"scene": {"name": "l"}, **describe_layers(layers)}, files=files)
    return open_maps(folder), [array[0] for array in arrays]


def test_a_stand_of_whole_and_half_pixels_is_as_by_hand(tmp_path):
    maps, (codes, values, bits) = finished(tmp_path / "m")
    stand = shapely.box(4, 6, 6.5, 8)  # columns 4, 5 and half of 6; rows 6 and 7
    grid = maps.layers[0].grid
    found = stand_statistics(maps, np.array([stand]), grid=grid)
    block, weight = codes[6:8, 4:7], np.array([[1, 1, 0.5]] * 2)
    known = (block != 255) * weight
    assert found["species_2"][0] == pytest.approx((known * (block == 2)).sum() / known.sum())
    fine = values[3, 2:4].astype(np.float64)  # 4 px of the map at half the resolution
    assert np.isnan(fine).any()
    assert found["qa_1"][0] == pytest.approx(((bits[6:8, 4:7] & 1 > 0) * weight).sum() / 5)
    assert found["n"][0] == pytest.approx(5)
    assert found["species_n"][0] == pytest.approx(known.sum())


def test_mean_and_spread_are_weighted_and_keep_their_digits(tmp_path):
    maps, (_, values, _) = finished(tmp_path / "m")
    stand = shapely.box(0, 20, 30, 37)
    found = stand_statistics(maps, np.array([stand]), grid=maps.layers[0].grid)
    rows = values[10:19].astype(np.float64)
    weight = np.ones_like(rows)
    weight[-1] = 0.5
    mean = (rows * weight).sum() / weight.sum()
    assert found["height_mean"][0] == pytest.approx(mean, rel=1e-12)
    spread = np.sqrt((weight * (rows - mean) ** 2).sum() / weight.sum())
    assert found["height_std"][0] == pytest.approx(spread, rel=1e-9)


def star(x, y, radius, seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    reach = radius * rng.uniform(0.4, 1, 9)
    return shapely.Polygon(np.stack([x + reach * np.cos(angles), y + reach * np.sin(angles)], 1))


@settings(max_examples=25)
@given(x=st.floats(-5, 45), y=st.floats(-5, 35), radius=st.floats(0.1, 25), seed=st.integers(0, 99))
def test_coverage_is_the_area_in_each_pixel(x, y, radius, seed):
    shapes = np.array([star(x, y, radius, seed), shapely.box(3, 3, 7.25, 4)])
    window = Window(row=2, col=1, height=25, width=38)
    feature, pixel, share = coverage(shapes, window)
    found = np.zeros((2, window.height * window.width))
    np.add.at(found, (feature, pixel), share)
    row, col = np.mgrid[2:27, 1:39].reshape(2, -1)
    boxes = shapely.box(col, row, col + 1, row + 1)
    for i, shape in enumerate(shapes):
        np.testing.assert_allclose(
            found[i], shapely.area(shapely.intersection(boxes, shape)), atol=1e-9
        )


def test_blocks_change_nothing_and_overlaps_count_twice(tmp_path, monkeypatch):
    maps, _ = finished(tmp_path / "m")
    shapes = np.array([star(15, 20, 12, 1), star(17, 21, 12, 2), shapely.Point(3.2, 4.9)])
    grid = maps.layers[0].grid
    whole = stand_statistics(maps, shapes, grid=grid)
    monkeypatch.setattr(_stands, "_BLOCK", 7)
    parts = stand_statistics(maps, shapes, grid=grid)
    assert list(whole) == list(parts)
    for name, column in whole.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(parts[name], column, rtol=1e-9)
        else:
            assert parts[name].tolist() == column.tolist()
    assert whole["n"][:2].sum() > shapely.union_all(shapes[:2]).area
    assert whole["n"][2] == 1


def test_the_command_writes_table_style_and_project(tmp_path, capsys):
    maps, _ = finished(tmp_path / "m")
    grid = maps.layers[0].grid
    pixels = [shapely.box(2, 2, 20, 20), shapely.box(18, 18, 29, 39), shapely.box(900, 0, 901, 2)]
    places = shapely.transform(np.array(pixels), lambda xy: np.stack(grid.transform @ xy.T, axis=1))
    source = tmp_path / "stands.gpkg"
    pyogrio.raw.write(
        source, shapely.to_wkb(places), [np.array([11, 12, 13]), np.array(["a", "b", "c"], object)],
        ["stand", "n"], driver="GPKG", geometry_type="Polygon", crs="EPSG:3067",
    )  # fmt: skip
    out = tmp_path / "o" / "table.gpkg"
    assert run(["stands", str(maps.path), str(source), "--out", str(out)]) == 0
    assert "3 stands, 1 without data" in capsys.readouterr().out
    meta, _, geometry, data = pyogrio.raw.read(out)
    table = dict(zip(meta["fields"], data, strict=True))
    assert table["stand"].tolist() == [11, 12, 13]
    assert table["n_"].tolist() == ["a", "b", "c"]
    assert shapely.from_wkb(geometry)[1].equals(places[1])
    found = stand_statistics(maps, np.array(pixels), grid=grid)
    np.testing.assert_allclose(table["height_mean"], found["height_mean"], rtol=1e-9)
    with out.with_suffix(".csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["species_7"]) == pytest.approx(found["species_7"][1], rel=1e-6)
    assert rows[2]["height_mean"] == ""
    assert {p.name for p in out.parent.iterdir()} == {
        "table.gpkg", "table.csv", "table.qml", "table.qgs", "scenes.gpkg",
    }  # fmt: skip
    assert run(["stands", str(maps.path), str(source), "--out", str(out)]) == 23
    assert run(["stands", str(maps.path), str(source), "--out", str(source), "--overwrite"]) == 2


def test_stands_elsewhere_are_an_error(tmp_path):
    maps, _ = finished(tmp_path / "m")
    far = np.array([shapely.box(500, 500, 510, 510)])
    with pytest.raises(InputError, match="no stand lies on valid pixels"):
        stand_statistics(maps, far, grid=maps.layers[0].grid)
    only = replace(maps, layers=maps.layers[:1])
    near = np.array([shapely.box(0, 0, 9, 9)])
    columns = stand_statistics(only, near, grid=maps.layers[0].grid)
    assert set(columns) == {"n", "species", "species_2", "species_7"}

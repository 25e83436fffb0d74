"""A mosaic in a real QGIS: its groups, its lines by name, and what they agree on."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from finished import write_finished
from test_project import look
from test_qgis import HEIGHT, TREES, has_qgis

from hsimap.flightlines import MosaicSettings, mosaic
from hsimap.geometry import Grid
from hsimap.products import Layer, open_maps

pytestmark = [
    pytest.mark.gis,
    pytest.mark.skipif(not has_qgis(), reason="no QGIS here (apt-get install qgis python3-qgis)"),
]

SIDE = 0.7
ANGLES = {"line_north": 10.0, "line_south": -25.0}


def write_line(folder, angle):
    """Maps of a forest that depends on the ground alone, as a folder that is finished."""
    place = Affine.translation(3e5 + angle, 6.8e6) @ Affine.rotation(angle) @ Affine.scale(SIDE)
    place = place @ Affine.scale(1, -1)
    grid = Grid(height=400, width=200, transform=place, crs=rasterio.CRS.from_epsg(3067).to_wkt())
    col, row = np.meshgrid(np.arange(200) + 0.5, np.arange(400) + 0.5)
    x = place.a * col + place.b * row + place.c - 3e5
    y = place.d * col + place.e * row + place.f - 6.8e6
    shares = np.exp(2 * np.stack([np.sin(x / 30), np.cos(y / 25), np.sin((x + y) / 40)]))
    shares /= shares.sum(axis=0)
    plain = {"grid": grid, "tags": {"HSIMAP_SCENE": folder.name, "HSIMAP_MODEL": "forest"}}
    height = (15 + 10 * np.sin(x / 50) + angle / 20).astype(np.float32)[None]
    arrays = [
        (Layer(
            name="species", kind="classes", task=TREES, bands=("species",), dtype="uint8",
            nodata=255, **plain,
        ), TREES.codes[shares.argmax(axis=0)][None]),
        (Layer(
            name="species_probability", kind="probabilities", task=TREES,
            bands=tuple(label.name for label in TREES.classes), dtype="uint16", nodata=65535,
            scale=1 / 65534, **plain,
        ), np.rint(shares * 65534).astype(np.uint16)),
        (Layer(
            name="mean_height", kind="values", task=HEIGHT, bands=("mean_height",),
            dtype="float32", nodata=float("nan"), **plain,
        ), height),
    ]  # fmt: skip
    return write_finished(folder, arrays, model={"name": "forest", "digest": "f" * 64})


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    base = tmp_path_factory.mktemp("campaign")
    lines = [write_line(base / name, angle) for name, angle in ANGLES.items()]
    report = mosaic(lines, base / "mosaic", settings=MosaicSettings())
    moved = base.with_name("moved_mosaic")
    shutil.copytree(base, moved)
    shutil.rmtree(base)  # relative paths alone can lead to the layers now
    picture = Path(os.environ.get("HSIMAP_PICTURES", moved)) / "mosaic.png"
    return look(moved / "mosaic" / "maps.qgs", picture), open_maps(moved / "mosaic"), report


def named(facts, name):
    return next(layer for layer in facts["layers"] if layer["name"] == name)


def test_every_layer_of_mosaic_and_lines_is_valid_and_in_its_group(seen):
    facts, _, _ = seen
    assert facts["title"] == "mosaic"
    assert [layer["name"] for layer in facts["layers"] if not layer["valid"]] == []
    assert {layer["crs"] for layer in facts["layers"]} == {"EPSG:3067"}
    agreed = "species, share of the lines' pairs that agree"
    apart = "mean height, difference of the lines [m]"
    assert facts["tree"][:5] == [
        "Scene footprints",
        ["Classes", ["species"]],
        ["Variables", ["mean height [m]"]],
        ["Confidence", ["species, probability of Scots pine", agreed, apart]],
        ["QA", ["source line", "lines that see the pixel"]],
    ]  # fmt: skip
    name, branches = facts["tree"][5]
    assert name == "Flight lines"
    assert [branch[0] for branch in branches] == ["Classes", "Variables", "Confidence"]
    assert branches[0][1] == [["species", list(ANGLES)]]
    assert [layer["name"] for layer in facts["layers"] if layer["visible"]] == [
        "Scene footprints", "species",
    ]  # fmt: skip


def test_legends_name_lines_counts_classes_and_units(seen):
    facts, _, _ = seen
    assert named(facts, "source line")["legend"][-2:] == list(ANGLES)
    assert named(facts, "lines that see the pixel")["legend"][-2:] == ["1 line", "2 lines"]
    assert named(facts, "species")["legend"][-3:] == [label.name for label in TREES.classes]
    assert named(facts, "mean height, difference of the lines [m]")["suffix"] == " m"
    assert facts["colors_drawn"] > 3


def test_the_mosaic_and_the_outlines_lie_on_the_ground(seen):
    facts, maps, report = seen
    grid = report.grid
    west, north = grid.transform @ (0, 0)
    east, south = grid.transform @ (grid.width, grid.height)
    np.testing.assert_allclose(
        named(facts, "source line")["extent"], [west, south, east, north], atol=SIDE / 2
    )
    outlines = facts["layers"][0]
    assert outlines["features"] == len(ANGLES)
    np.testing.assert_allclose(outlines["extent"], [west, south, east, north], atol=2 * SIDE)
    assert {layer.grid for layer in maps.layers} == {grid}

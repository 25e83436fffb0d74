"""A project of maps in a real QGIS: every layer valid and in place, with names and units."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from test_qgis import HEIGHT, PYTHON, TREES, has_qgis

from hsimap.geometry import Grid
from hsimap.products import (
    Layer,
    MapFolder,
    flag_layer,
    write_layer,
    write_project,
    write_zarr,
)

SCRIPT = Path(__file__).with_name("qgis_project.py")
OPEN = SCRIPT.with_name("qgis_open.py")
pytestmark = [
    pytest.mark.gis,
    pytest.mark.skipif(not has_qgis(), reason="no QGIS here (apt-get install qgis python3-qgis)"),
]
TURNED = Affine.translation(3e5, 6.8e6) @ Affine.rotation(20) @ Affine.scale(0.7, -0.7)
EAST = Affine.translation(3e5 + 120, 6.8e6 - 30) @ Affine.scale(0.7, -0.7)


def maps(folder, name, transform):
    """Write a class map, a map of values and one of flags, half of each without data."""
    folder.mkdir()
    wkt = rasterio.CRS.from_epsg(3067).to_wkt()
    grid = Grid(height=600, width=500, transform=transform, crs=wkt)
    rng = np.random.default_rng(0)
    codes = rng.choice(np.uint8([1, 5, 9]), (1, 600, 500))
    values = rng.uniform(0, 30, (1, 600, 500)).astype(np.float32)
    flags = rng.choice(np.uint8([0, 0, 1, 2, 3]), (1, 600, 500))
    codes[:, :300], values[:, :300], flags[:, :300] = 255, np.nan, 255
    plain = {"grid": grid, "tags": {"HSIMAP_SCENE": name, "HSIMAP_MODEL": "forest"}}
    species = Layer(
        name="species", kind="classes", task=TREES, bands=("species",), dtype="uint8", nodata=255,
        **plain,
    )  # fmt: skip
    height = Layer(
        name="mean_height", kind="values", task=HEIGHT, bands=("mean_height",), dtype="float32",
        nodata=float("nan"), **plain,
    )  # fmt: skip
    layers = (species, height, flag_layer(grid, ["cloud", "shadow", "edge"], tags=plain["tags"]))
    for layer, array in zip(layers, (codes, values, flags), strict=True):
        write_layer(folder, layer, lambda w, a=array: a[(..., *w.slices)])
    return MapFolder(name=name, path=folder, layers=layers)


def look(project, picture):
    ran = subprocess.run(
        [*PYTHON, str(SCRIPT), str(project), str(picture)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    base = tmp_path_factory.mktemp("campaign")
    lines = [maps(base / "turned", "turned", TURNED), maps(base / "east", "east", EAST)]
    write_project(base / "maps.qgs", lines, title="A campaign <1>")
    moved = base.with_name("moved")
    shutil.copytree(base, moved)
    shutil.rmtree(base)  # relative paths alone can lead to the layers now
    picture = Path(os.environ.get("HSIMAP_PICTURES", moved)) / "project.png"
    return look(moved / "maps.qgs", picture), lines


def test_the_project_opens_with_every_layer_valid(campaign):
    facts, _ = campaign
    assert facts["read"]
    assert (facts["title"], facts["crs"]) == ("A campaign <1>", "EPSG:3067")
    assert len(facts["layers"]) == 7
    assert [layer["name"] for layer in facts["layers"] if not layer["valid"]] == []
    assert {layer["crs"] for layer in facts["layers"]} == {"EPSG:3067"}


def test_scenes_stand_under_their_variable_in_four_groups(campaign):
    facts, _ = campaign
    assert facts["tree"] == [
        "Scene footprints",
        ["Classes", [["species", ["turned", "east"]]]],
        ["Variables", [["mean height [m]", ["turned", "east"]]]],
        ["QA", [["Quality flags", ["turned", "east"]]]],
    ]
    assert [layer["name"] for layer in facts["layers"] if layer["visible"]] == [
        "Scene footprints", "turned", "east",
    ]  # fmt: skip


def test_layers_and_footprints_lie_where_they_belong(campaign):
    facts, lines = campaign
    for line, fact in zip(lines * 3, facts["layers"][1:], strict=True):
        grid = line.layers[0].grid
        corners = [grid.transform @ (x, y) for x in (0, grid.width) for y in (0, grid.height)]
        xs, ys = zip(*corners, strict=True)
        expected = [min(xs), min(ys), max(xs), max(ys)]
        np.testing.assert_allclose(fact["extent"], expected, atol=0.35)
    assert facts["layers"][0]["features"] == 2
    lower = [
        line.layers[0].grid.transform @ (x, y)
        for line in lines
        for x in (0, 500)
        for y in (300, 600)
    ]
    xs, ys = zip(*lower, strict=True)
    expected = [min(xs), min(ys), max(xs), max(ys)]
    # The outline is simplified by a pixel of the overview, which is two of the map.
    np.testing.assert_allclose(facts["layers"][0]["extent"], expected, atol=2.9)


def test_legends_have_names_and_units(campaign):
    facts, _ = campaign
    _, species, _, height, _, flags, _ = facts["layers"]
    assert species["legend"][1:] == [c.name for c in TREES.classes]
    assert height["suffix"] == " m"
    assert flags["legend"][1:] == ["no flag", "cloud", "shadow", "cloud + shadow", "edge"]
    assert facts["colors_drawn"] > 3


def test_the_virtual_rasters_of_a_zarr_store_look_as_the_maps_do(tmp_path):
    made = maps(tmp_path / "m", "line", TURNED)
    out = tmp_path / "z"
    paths = [path for path in write_zarr(out, made) if path.suffix == ".vrt"]
    every = [str(made.file(layer)) for layer in made.layers] + [str(path) for path in paths]
    ran = subprocess.run(
        [*PYTHON, str(OPEN), str(tmp_path), *every], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    facts = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    for cog, vrt in zip(facts[:3], facts[3:], strict=True):
        for key in ("crs", "renderer", "legend", "bands", "ramp_suffix"):
            assert vrt[key] == cog[key], key
        assert vrt["colors_drawn"] > 2
        np.testing.assert_allclose(vrt["extent"], cog["extent"], atol=1e-6)


def test_a_mosaic_stands_above_its_lines(tmp_path):
    mosaic = maps(tmp_path / "mosaic", "mosaic", EAST)
    line = maps(tmp_path / "line", "line", TURNED)
    spread = replace(mosaic.layers[1], name="mean_height_std")
    shutil.copy(mosaic.path / "mean_height.tif", mosaic.path / "mean_height_std.tif")
    mosaic = replace(mosaic, layers=(*mosaic.layers, spread))
    write_project(tmp_path / "maps.qgs", [mosaic], title="forest", lines=[line])
    facts = look(tmp_path / "maps.qgs", tmp_path / "p.png")
    assert all(layer["valid"] for layer in facts["layers"])
    assert [node[0] for node in facts["tree"][1:]] == [
        "Classes", "Variables", "Confidence", "QA", "Flight lines",
    ]  # fmt: skip
    assert [node[0] for node in facts["tree"][-1][1]] == ["Classes", "Variables", "QA"]

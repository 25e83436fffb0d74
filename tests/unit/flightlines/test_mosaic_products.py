"""What can be made of a mosaic's folder: catalogue, pages, stands, a Zarr store, a project."""

import csv
import importlib.util
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
import pystac
import pytest
import rasterio
import shapely
from clean import assert_clean
from pystac.validation import validate_dict
from rasterio.features import rasterize

from hsimap.cli._main import run
from hsimap.flightlines import MosaicSettings, mosaic
from hsimap.products import open_folders, verify_folder

spec = importlib.util.spec_from_file_location("folders", Path(__file__).with_name("conftest.py"))
folders = importlib.util.module_from_spec(spec)
spec.loader.exec_module(folders)


@pytest.fixture(scope="module")
def made(lines, tmp_path_factory):
    out = tmp_path_factory.mktemp("mosaic") / "mosaic"
    return mosaic(lines, out, settings=MosaicSettings())


def test_a_catalogue_of_mosaic_and_lines_says_what_came_of_what(made, lines, tmp_path):
    words = ["stac", *map(str, lines), str(made.folder), "--out", str(tmp_path / "c")]
    assert run([*words, "--time", "2026-07-01T08:00:00Z"]) == 0
    collection = pystac.read_file(str(tmp_path / "c" / "collection.json"))
    items = {item.id: item for item in collection.get_items()}
    assert set(items) == {"line0", "line1", "line2", "mosaic"}
    for path in tmp_path.rglob("*.json"):
        validate_dict(json.loads(path.read_text()), extensions=[])
    sources = [link for link in items["mosaic"].links if link.rel == "derived_from"]
    assert [Path(link.get_absolute_href()) for link in sources] == [
        (tmp_path / "c" / f"line{n}" / f"line{n}.json") for n in range(3)
    ]
    assert {"cover", "cover_agreement", "source_line", "n_obs"} <= set(items["mosaic"].assets)
    assert items["mosaic"].properties["processing:lineage"].startswith("Mapped from 3 flight lines")


def test_other_tools_find_no_fault_in_any_map(made, lines):
    for path in [p for folder in (made.folder, lines[0]) for p in sorted(folder.glob("*.tif"))]:
        assert_clean(path)


def test_lines_that_are_named_alike_go_by_their_folders(tmp_path):
    made = [folders.write_line(tmp_path / n / "line", folders.grid_of(20, 20)) for n in "ab"]
    assert [folder.name for folder in open_folders(made)] == ["a_line", "b_line"]
    assert run(["stac", *map(str, made), "--out", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c" / "b_line" / "b_line.json").exists()
    assert [folder.name for folder in open_folders(made[:1])] == ["line"]


def test_pages_are_drawn_of_every_map_of_a_mosaic(made, tmp_path):
    assert run(["print", str(made.folder), "--out", str(tmp_path), "--format", "png"]) == 0
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert drawn == {
        "cover", "height", "density", "cover_agreement", "height_difference",
        "density_difference", "source_line", "n_obs",
    }  # fmt: skip


def test_stands_are_told_what_the_mosaic_and_its_agreement_hold(made, tmp_path):
    grid = made.grid
    west, north = 4e5 + 40, 6.9e6 - 20  # where the first line and the second lie
    stands = np.array([shapely.box(west, north - 40, west + 30, north), shapely.Point(0, 0)])
    where = {"layer": "stands", "driver": "GPKG", "geometry_type": "Unknown", "crs": folders.UTM}
    pyogrio.raw.write(
        tmp_path / "s.gpkg", shapely.to_wkb(stands), [np.array([7, 8])], ["stand"], **where
    )
    words = ["stands", str(made.folder), str(tmp_path / "s.gpkg"), "--out"]
    assert run([*words, str(tmp_path / "out.gpkg")]) == 0
    with (tmp_path / "out.csv").open() as file:
        rows = {row["stand"]: row for row in csv.DictReader(file)}
    inside = rasterize(
        [stands[0]], out_shape=(grid.height, grid.width), transform=grid.transform
    ).astype(bool)
    assert inside.sum() == 15 * 20
    for name in ("height", "cover_agreement", "height_difference"):
        with rasterio.open(made.folder / f"{name}.tif") as file:
            values = file.read(1)[inside]
        expected = values[np.isfinite(values)].mean(dtype=np.float64)
        assert float(rows["7"][f"{name}_mean"]) == pytest.approx(expected, rel=1e-6)


def test_the_project_leads_to_mosaic_and_lines(made, lines, tmp_path):
    tree = ET.parse(made.folder / "maps.qgs")  # noqa: S314  # our own
    sources = [node.text.split("|")[0] for node in tree.iter("datasource")]
    assert all((made.folder / source).exists() for source in sources)
    assert sum(Path(made.folder / s).resolve().parent == lines[0].resolve() for s in sources) == 4
    assert verify_folder(made.folder) == []
    assert run(["convert", str(made.folder), "--to", "zarr2", "--out", str(tmp_path / "z")]) == 0

"""Part of a campaign: the lines that meet it, inside it alone, and a mosaic that ends with it."""

import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine

from hsimap.cli._main import run
from hsimap.products import verify_folder

OPTIONS = ("--runtime", "onnx", "--threads", "1", "--tile", "16", "--quiet")
BOX = (300070, 6799900, 300110, 6799960)
"""On the first two lines, and on the far one not."""


@pytest.fixture(scope="module")
def campaign(tmp_path_factory, write_scene, toy_bundle):
    """Three lines, and the maps and the mosaic of all of them."""
    root = tmp_path_factory.mktemp("campaign")
    for n in range(3):
        place = Affine.translation(3e5 + 60 * n, 6.8e6) @ Affine.rotation(5 * n)
        write_scene(root / f"line{n}.tif", transform=place @ Affine.scale(2, -2), seed=n)
    assert batch(root, toy_bundle, root / "whole") == 0
    return root


def batch(root, toy_bundle, out, *options):
    lines = [str(root / f"line{n}.tif") for n in range(3)]
    words = ["--model", str(toy_bundle.path), "--out", str(out), *OPTIONS]
    return run(["batch", *lines, *words, *map(str, options)])


def read(path):
    with rasterio.open(path) as file:
        return file.read(), file.bounds, file.transform


def maps(folder):
    assert verify_folder(folder) == []
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.name != "manifest.json"}


def test_a_box_is_cut_out_of_the_whole_campaign(campaign, toy_bundle, tmp_path, capsys):
    out = tmp_path / "box"
    assert batch(campaign, toy_bundle, out, "--bbox", ",".join(map(str, BOX))) == 0
    said = capsys.readouterr()
    assert "2 of 2 lines" in said.out
    assert "note: outside the area and left out: line2" in said.err
    facts = json.loads((out / "campaign.json").read_text())
    assert facts["complete"]
    assert facts["outside"] == ["line2"]
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == ["line0", "line1", "mosaic"]
    for line in facts["lines"]:
        assert line["pixels"] < 60 * 60
        with rasterio.open(out / line["line"] / "qa.tif") as file:
            assert line["pixels"] == file.height * file.width
    _, bounds, place = read(out / "mosaic" / "source_line.tif")
    assert tuple(bounds) == BOX
    for name in ("source_line", "n_obs", "cover", "height", "cover_probability"):
        part, _, _ = read(out / "mosaic" / f"{name}.tif")
        whole, _, origin = read(campaign / "whole" / "mosaic" / f"{name}.tif")
        col, row = (round(n) for n in ~origin @ (place.c, place.f))
        cut = whole[:, row : row + part.shape[1], col : col + part.shape[2]]
        inner = (..., slice(2, -2), slice(2, -2))  # beyond the box a pixel has no neighbour
        if name == "height":
            np.testing.assert_allclose(part[inner], cut[inner], rtol=0, atol=1e-3)
        elif name == "cover_probability":
            assert np.abs(part[inner].astype(int) - cut[inner].astype(int)).max() <= 8
        else:
            assert (part[inner] == cut[inner]).mean() > 0.99
    sources = read(out / "mosaic" / "source_line.tif")[0]
    assert {1, 2} <= set(np.unique(sources))  # the middle of the lines decides, not of their parts


def test_polygons_on_two_workers_give_the_bytes_of_one(campaign, toy_bundle, tmp_path):
    ring = [(300075, 6799905), (300105, 6799912), (300098, 6799955), (300072, 6799940)]
    pyogrio.raw.write(
        tmp_path / "stand.gpkg", shapely.to_wkb(np.array([shapely.Polygon(ring)])),
        [np.array([1])], ["id"], geometry_type="Polygon", crs="EPSG:32633",
    )  # fmt: skip
    for workers in (1, 2):
        options = ("--aoi", tmp_path / "stand.gpkg", "--workers", workers)
        assert batch(campaign, toy_bundle, tmp_path / f"w{workers}", *options) == 0
    for name in ("line0", "line1", "mosaic"):
        assert maps(tmp_path / "w1" / name) == maps(tmp_path / "w2" / name)
    count, bounds, place = read(tmp_path / "w1" / "mosaic" / "n_obs.tif")
    assert shapely.box(*bounds).covers(shapely.Polygon(ring))
    rows, cols = np.mgrid[: count.shape[1], : count.shape[2]] + 0.5
    inside = shapely.contains_xy(shapely.Polygon(ring), *(place @ (cols, rows)))
    far = shapely.contains_xy(shapely.Polygon(ring).buffer(6), *(place @ (cols, rows)))
    assert (count[0] == 255)[~far].all()
    assert (count[0][inside] != 255).mean() > 0.9


def test_an_area_beside_all_lines_is_told_before_work_starts(
    campaign, toy_bundle, tmp_path, capsys
):
    assert batch(campaign, toy_bundle, tmp_path / "out", "--bbox", "1,1,2,2") == 10
    assert "lies on any of the 3 lines" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

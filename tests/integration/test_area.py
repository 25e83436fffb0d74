"""Parts of a scene through the command line's own calls, and the flags beside them."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine

import hsimap
from hsimap.cli._main import run
from hsimap.errors import OutputExistsError
from hsimap.labels import AreaSpec
from hsimap.mapping import MapSettings, map_scene
from hsimap.mapping.journal import RunFolder
from hsimap.mapping.parts import LineJob, commit_line, map_strips, prepare_line
from hsimap.products import open_maps, read_manifest, verify_folder
from hsimap.scenes import open_scene

spec = importlib.util.spec_from_file_location("toys", Path(__file__).with_name("conftest.py"))
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)

SMALL = MapSettings(runtime="onnx", threads=1, tile=16, trim=2, ramp=4)
TURNED = Affine.translation(3e5, 6.8e6) @ Affine.rotation(23) @ Affine.scale(2, -2)
NAMES = ("cover", "height", "building", "density", "cover_probability", "qa")


@pytest.fixture(scope="module", params=["north-up", "rotated"])
def line(request, tmp_path_factory, write_scene, toy_bundle):
    """A scene, its whole maps, and two polygons in degrees on it."""
    folder = tmp_path_factory.mktemp("area")
    place = Affine(2.0, 0, 3e5, 0, -2.0, 6.8e6) if request.param == "north-up" else TURNED
    write_scene(folder / "line.tif", transform=place)
    map_scene(open_scene(folder / "line.tif"), toy_bundle, settings=SMALL, out=folder / "whole")
    pixels = [[(22, 9), (41, 14), (37, 33), (20, 30)], [(60, 41), (71, 41), (71, 52), (60, 52)]]
    ground = [shapely.Polygon([place @ corner for corner in ring]) for ring in pixels]
    to = hsimap_transformer()
    degrees = [
        shapely.transform(p, lambda xy: np.stack(to.transform(*xy.T), axis=1)) for p in ground
    ]
    pyogrio.raw.write(
        folder / "stands.gpkg", shapely.to_wkb(np.array(degrees)), [np.array([1, 2])], ["id"],
        geometry_type="Polygon", crs="EPSG:4326",
    )  # fmt: skip
    return folder, place


def hsimap_transformer():
    import pyproj

    return pyproj.Transformer.from_crs(32633, 4326, always_xy=True)


def read(path):
    with rasterio.open(path) as file:
        return file.read(), file.transform


def test_polygons_leave_the_whole_map_inside_and_nothing_outside(line, toy_bundle):
    folder, place = line
    settings = replace(SMALL, area=AreaSpec(polygons=folder / "stands.gpkg"))
    scene = open_scene(folder / "line.tif")
    report = map_scene(scene, toy_bundle, settings=settings, out=folder / "part")
    qa, transform = read(folder / "part" / "qa.tif")
    col, row = ~place @ (transform.c, transform.f)
    row, col = round(row), round(col)
    assert transform.almost_equals(place @ Affine.translation(col, row), precision=1e-6)
    assert (row, col) == (8, 20)
    assert qa.shape[1:] == (44, 52)  # multiples of 2, the stride of density
    inside = qa[0] != 255
    assert 19 * 20 * 0.7 < inside.sum() < 44 * 52 * 0.4
    for name in NAMES:
        stride = 2 if name == "density" else 1
        part, _ = read(folder / "part" / f"{name}.tif")
        whole, _ = read(folder / "whole" / f"{name}.tif")
        with rasterio.open(folder / "part" / f"{name}.tif") as file:
            empty = file.nodata
        cut = whole[:, row // stride :, col // stride :][:, : part.shape[1], : part.shape[2]]
        shown = inside
        if stride == 2:
            shown = inside.reshape(22, 2, 26, 2).all(axis=(1, 3))
        assert part[:, shown].tobytes() == cut[:, shown].tobytes()
        np.testing.assert_array_equal(part[:, ~shown], empty)
    assert report.plan.describe()["height"] == 44
    lazy = hsimap.predict(folder / "line.tif", toy_bundle, settings=settings)
    for name in ("qa", "cover", "height"):
        found = read(folder / "part" / f"{name}.tif")[0][0]
        np.testing.assert_array_equal(lazy[name].values, found)


def test_an_area_is_a_run_of_its_own(line, toy_bundle):
    folder, _ = line
    settings = replace(SMALL, area=AreaSpec(polygons=folder / "stands.gpkg"))
    scene, out = open_scene(folder / "line.tif"), folder / "own"
    map_scene(scene, toy_bundle, settings=settings, out=out)
    assert not verify_folder(out)
    assert map_scene(scene, toy_bundle, settings=settings, out=out).already_complete
    with pytest.raises(OutputExistsError, match="area"):
        map_scene(scene, toy_bundle, settings=SMALL, out=out)
    assert list(read_manifest(out)["identity"]["area"]) == ["polygons"]


def test_workers_map_the_same_part(line, toy_bundle):
    folder, _ = line
    settings = replace(SMALL, area=AreaSpec(polygons=folder / "stands.gpkg"))
    map_scene(open_scene(folder / "line.tif"), toy_bundle, settings=settings, out=folder / "one")
    out = folder / "spread"
    out.mkdir(exist_ok=True)
    job = LineJob(scene=folder / "line.tif", model=toy_bundle.path, settings=settings, out=out)
    prepared = prepare_line(job)
    store = RunFolder(out, prepared.identity, overwrite=False)
    for strips in (prepared.wanted[::2], prepared.wanted[1::2]):
        store.record(map_strips(prepared, strips))
    store.close()
    assert commit_line(prepared, 0.0) == ()
    for name in NAMES:
        file = f"{name}.tif"
        assert (out / file).read_bytes() == (folder / "one" / file).read_bytes()


def test_a_box_in_the_scenes_own_corner(tmp_path, write_scene, toy_bundle, capsys):
    write_scene(tmp_path / "line.tif")
    tail = ["--model", str(toy_bundle.path), "--tile", "16", "--quiet"]
    scene = str(tmp_path / "line.tif")
    assert run(["predict", scene, "--out", str(tmp_path / "whole"), *tail]) == 0
    box = "299000,6799900,300020,6799960"
    assert run(["predict", scene, "--out", str(tmp_path / "part"), "--bbox", box, *tail]) == 0
    part, transform = read(tmp_path / "part" / "line" / "cover.tif")
    assert (transform.c, transform.f) == (300000, 6799960)
    whole, _ = read(tmp_path / "whole" / "line" / "cover.tif")
    assert part.tobytes() == whole[:, 20:50, :10].tobytes()
    capsys.readouterr()
    for bad, code, words in (
        (["--bbox", "1,2,3"], 2, "--bbox is xmin"),
        (["--bbox", "0,0,1,1"], 10, "no part of the box 0,0,1,1 lies on the scene"),
        (["--aoi", str(tmp_path / "no.gpkg")], 2, "there is no file"),
    ):
        assert run(["predict", scene, "--out", str(tmp_path / "bad"), *bad, *tail]) == code
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1
    assert run(["predict", scene, "--out", str(tmp_path / "x"), "--bbox", box, "--dry-run",
                "--json", *tail]) == 0  # fmt: skip
    assert json.loads(capsys.readouterr().out)["width"] == 10


def test_flags_of_a_run_are_said_in_every_product(line, capsys):
    folder, _ = line
    maps = folder / "whole"
    values = open_scene(folder / "line.tif").raw(open_scene(folder / "line.tif").grid.window)[0]
    missing = values == toys.NODATA
    qa, _ = read(maps / "qa.tif")
    np.testing.assert_array_equal(qa[0] & 1 > 0, missing.all(axis=0))
    np.testing.assert_array_equal(qa[0] & 2 > 0, missing.any(axis=0) & ~missing.all(axis=0))
    codes, _ = read(maps / "cover.tif")
    np.testing.assert_array_equal(qa[0] & 3 > 0, codes[0] == 255)
    shares, _ = read(maps / "cover_probability.tif")
    sure = shares.max(axis=0) >= 32767
    np.testing.assert_array_equal((qa[0] & 32 > 0)[codes[0] != 255], ~sure[codes[0] != 255])
    with rasterio.open(maps / "qa.tif") as file:
        tags = file.tags(1)
    assert tags["flag_masks"] == "1 2 4 8 32 64"
    assert tags["flag_meanings"].split()[0] == "no_data"
    layer = next(layer for layer in open_maps(maps).layers if layer.kind == "flags")
    assert (layer.name, layer.shelf) == ("qa", "QA")
    summary = read_manifest(maps)["statistics"]["qa"]["flags"]
    assert summary["no data"] == int(missing.all(axis=0).sum())
    assert 'name="QA"' in (maps / "maps.qgs").read_text()
    for verb in (
        ["verify", str(maps)],
        ["stands", str(maps), str(folder / "stands.gpkg"), "--out", str(folder / "t.gpkg")],
        ["stac", str(maps), "--out", str(folder / "stac"), "--time", "2026-07-01T08:00:00Z"],
        ["project", str(maps), "--out", str(folder / "all.qgs")],
    ):
        assert run(verb) == 0, capsys.readouterr().err


def test_maps_on_another_grid_stand_in_for_those_of_the_scene(
    tmp_path, write_scene, toy_bundle, capsys
):
    place = Affine.translation(3e5, 6.8e6) @ Affine.rotation(23) @ Affine.scale(2, -2)
    write_scene(tmp_path / "line.tif", transform=place)
    common = ["predict", str(tmp_path / "line.tif"), "--model", str(toy_bundle.path), "--quiet"]
    command = [*common, "--out", str(tmp_path / "maps"), "--grid", "north-up"]
    assert run([*command, "--probabilities", "none"]) == 0
    out = tmp_path / "maps" / "line"
    assert not verify_folder(out)
    assert not verify_folder(out / "scene_grid")
    codes, transform = read(out / "cover.tif")
    assert (transform.b, transform.d, transform.a, transform.e) == (0, 0, 2, -2)
    assert sorted(path.stem for path in out.glob("*.tif")) == [
        "building", "cover", "density", "height", "qa"
    ]  # fmt: skip
    own, _ = read(out / "scene_grid" / "cover.tif")
    assert 0.9 < (codes != 255).sum() / (own != 255).sum() < 1.1
    qa, _ = read(out / "qa.tif")
    np.testing.assert_array_equal(qa == 255, codes == 255)
    assert set(np.unique(qa)) <= {*np.unique(read(out / "scene_grid" / "qa.tif")[0]), 255}
    capsys.readouterr()
    assert run([*command, "--probabilities", "none"]) == 0
    assert "complete" in capsys.readouterr().out
    for wrong in (["--grid", "south"], ["--grid", "north-up", "--probabilities", "max"]):
        assert run([*common, "--out", str(tmp_path / "no"), *wrong]) == 2
        assert "--grid" in capsys.readouterr().err

"""The laws of a mosaic: identity, constants, blocks, order, and what overlaps say."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsimap.errors import MismatchError, OutputExistsError, UsageError
from hsimap.flightlines import Method, MosaicSettings, mosaic
from hsimap.products import open_maps, verify_folder

spec = importlib.util.spec_from_file_location("folders", Path(__file__).with_name("conftest.py"))
folders = importlib.util.module_from_spec(spec)
spec.loader.exec_module(folders)

write_line, grid_of, flat = folders.write_line, folders.grid_of, folders.flat
METHODS = pytest.mark.parametrize("method", list(Method))


def read(path):
    with rasterio.open(path) as file:
        return file.read()


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}


@METHODS
def test_one_line_on_its_own_grid_is_itself(lines, tmp_path, method):
    line = lines[1]
    settings = MosaicSettings(method=method, template=line / "height.tif")
    mosaic([line], tmp_path / "m", settings=settings)
    for name in ("cover", "cover_probability", "height", "density"):
        np.testing.assert_array_equal(
            read(tmp_path / "m" / f"{name}.tif"), read(line / f"{name}.tif")
        )
    count = read(tmp_path / "m" / "n_obs.tif")
    np.testing.assert_array_equal(count == 1, np.isfinite(read(line / "height.tif")))


def test_where_stored_probabilities_are_equal_the_line_itself_decides(tmp_path):
    def shares(x, y):
        return np.stack([0.4 + 0 * x, 0.2 + 0 * x, 0.4 + 1e-7 + 0 * x])

    line = write_line(tmp_path / "l", grid_of(20, 20), shares=shares)
    stored = read(line / "cover_probability.tif")
    assert (stored[0] == stored[2]).all()
    mosaic([line], tmp_path / "m", settings=MosaicSettings())
    assert (read(tmp_path / "m" / "cover.tif") == 9).all()


def test_a_pixel_that_the_coarse_edge_leaves_out_keeps_a_weight(tmp_path):
    from hsimap.flightlines._weights import edge_distance

    grid = grid_of(16, 16)
    valid = np.zeros((4, 4), dtype=bool)
    valid[:2] = True
    field = edge_distance(valid, grid, step=4, keep=tmp_path / "d.npy").at(grid.window, grid)
    assert field[-1, 5] == 0.5
    assert field[3, 8] > 2


@METHODS
def test_constants_stay_constant_wherever_a_line_is(tmp_path, method):
    made = [
        write_line(tmp_path / f"l{n}", grid_of(50, 30, angle=angle, side=side))
        for n, (angle, side) in enumerate(((10.0, 2.0), (-35.0, 1.3)))
    ]
    report = mosaic(made, tmp_path / "m", settings=MosaicSettings(method=method))
    height = read(tmp_path / "m" / "height.tif")[0]
    seen = np.isfinite(height)
    assert 0.3 < seen.mean() < 1
    assert (height[seen] == 10).all()
    shares = read(tmp_path / "m" / "cover_probability.tif")
    assert {tuple(p) for p in shares[:, seen].T} == {
        tuple(np.rint(np.array([0.2, 0.5, 0.3]) * 65534))
    }
    assert set(read(tmp_path / "m" / "cover.tif")[0][seen]) == {4}
    assert report.grid.transform.a == 1.3
    assert report.agreement[0]["agreement"] == 1
    assert all(row["rmsd"] in {None, 0} for row in report.agreement)


@METHODS
def test_no_byte_depends_on_the_block_or_on_the_order_of_the_lines(lines, tmp_path, method):
    whole = MosaicSettings(method=method)
    mosaic(lines, tmp_path / "a" / "m", settings=whole)
    small = MosaicSettings(method=method, block=14)
    mosaic(lines[::-1], tmp_path / "b" / "m", settings=small)
    assert contents(tmp_path / "a" / "m") == contents(tmp_path / "b" / "m")


def test_a_linear_ground_comes_back_exactly_through_any_rotation(tmp_path):
    def plane(x, y):
        return 5 + (x - 4e5) / 50 + (6.9e6 - y) / 80

    made = [
        write_line(tmp_path / f"l{n}", grid_of(60, 40, angle=angle), height=plane)
        for n, angle in enumerate((0.0, 20.0))
    ]
    report = mosaic(made, tmp_path / "m", settings=MosaicSettings(method=Method.FEATHER))
    height = read(tmp_path / "m" / "height.tif")[0]
    truth = plane(*folders.ground(report.grid))
    count = read(tmp_path / "m" / "n_obs.tif")[0]
    inner = count != 255
    for shift in [(-1, 0), (1, 0), (0, -1), (0, 1), (1, 1), (-1, 1), (1, -1), (-1, -1)]:
        inner &= np.roll(count, shift, (0, 1)) == count
    assert inner.sum() > 1500
    np.testing.assert_allclose(height[inner], truth[inner], atol=2e-5)
    rows = {row["variable"]: row for row in report.agreement}
    assert rows["height"]["rmsd"] < 0.02  # the outermost pixels are not between four others


def test_nadir_takes_the_line_whose_middle_is_nearer(tmp_path):
    one = write_line(tmp_path / "a", grid_of(100, 40), height=flat(1))
    other = write_line(
        tmp_path / "b",
        grid_of(100, 40, origin=(4e5 + 40, 6.9e6)),
        height=flat(2),
    )
    mosaic([one, other], tmp_path / "m", settings=MosaicSettings())
    height, source = (read(tmp_path / "m" / f"{n}.tif")[0] for n in ("height", "source_line"))
    # Middles at columns 20 and 40 of the shared grid: what is left of 30 is the first line's.
    expected = np.where(np.arange(60) < 30, 1, 2)
    np.testing.assert_array_equal(height, np.tile(expected, (100, 1)))
    np.testing.assert_array_equal(source, np.tile(expected, (100, 1)))


def test_nadir_goes_by_the_layer_of_angles_where_one_is_given(tmp_path):
    made = []
    for name, zenith in (("a", 20.0), ("b", 5.0)):
        grid = grid_of(40, 40)
        made.append(write_line(tmp_path / name, grid, height=flat(zenith)))
        with rasterio.open(
            tmp_path / f"{name}_obs.tif", "w", driver="GTiff", count=2, height=40, width=40,
            dtype="float32", transform=grid.transform, crs=folders.UTM,
        ) as file:  # fmt: skip
            file.write(np.stack([np.full((40, 40), 100.0), np.full((40, 40), zenith)]).astype("f4"))
            file.descriptions = ("Path length", "To-sensor zenith")
    settings = MosaicSettings(zenith=str(tmp_path / "{line}_obs.tif"))
    mosaic(made, tmp_path / "m", settings=settings)
    assert (read(tmp_path / "m" / "height.tif") == 5).all()
    with pytest.raises(UsageError, match="no layer of zenith angles"):
        mosaic(made, tmp_path / "n", settings=MosaicSettings(zenith="nowhere/{line}.tif"))


def test_nadir_goes_by_the_angles_of_the_scenes_if_all_have_them(tmp_path, monkeypatch):
    from hsimap.flightlines import _angles

    grid = grid_of(40, 40)

    class Scene:
        def __init__(self, path):
            self.grid, self._angle = grid, 20.0 if path.name == "a" else 5.0
            self.layers = {"view_zenith": self} if path.read_text() else {}

        def read_layer(self, name, window):
            assert name == "view_zenith"
            return np.full((window.height, window.width), self._angle, np.float32)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(_angles, "open_scene", Scene)
    made = []
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).write_text("angles")
        folder = tmp_path / "maps" / name
        made.append(write_line(folder, grid, height=flat(value), scene=tmp_path / name))
    mosaic(made, tmp_path / "m", settings=MosaicSettings())
    assert (read(tmp_path / "m" / "height.tif") == 2).all()
    (tmp_path / "b").write_text("")  # one line without: all go by the distance, and the first wins
    mosaic(made, tmp_path / "n", settings=MosaicSettings())
    assert (read(tmp_path / "n" / "height.tif") == 1).all()
    with pytest.raises(OutputExistsError, match="angles"):
        mosaic(made, tmp_path / "m", settings=MosaicSettings())


def test_feather_is_the_mean_weighted_by_the_distance_to_the_edge(tmp_path):
    one = write_line(tmp_path / "a", grid_of(200, 40), height=flat(0))
    other = write_line(
        tmp_path / "b",
        grid_of(200, 40, origin=(4e5 + 40, 6.9e6)),
        height=flat(1),
    )
    mosaic([one, other], tmp_path / "m", settings=MosaicSettings(method=Method.FEATHER))
    row = read(tmp_path / "m" / "height.tif")[0][100]
    left, right = 40 - np.arange(60) - 0.5, np.arange(60) - 20 + 0.5
    inside = (left > 0) & (right > 0)
    np.testing.assert_allclose(row[inside], (right / (left + right))[inside], atol=1e-6)
    assert (row[:20] == 0).all()
    assert (row[40:] == 1).all()
    assert (np.diff(row) >= 0).all()


def test_best_takes_the_line_that_is_surer_and_classes_come_from_probabilities(tmp_path):
    def shares(p):
        return lambda x, y: np.stack([p[i] + 0 * x for i in range(3)])

    grid = grid_of(30, 30)
    made = [
        write_line(tmp_path / "a", grid, shares=shares((0.50, 0.45, 0.05)), height=flat(1)),
        write_line(tmp_path / "b", grid, shares=shares((0.05, 0.45, 0.50)), height=flat(3)),
        write_line(tmp_path / "c", grid, shares=shares((0.10, 0.60, 0.30)), height=flat(5)),
    ]
    mosaic(made, tmp_path / "best", settings=MosaicSettings(method=Method.BEST))
    assert (read(tmp_path / "best" / "source_line.tif") == 3).all()
    assert (read(tmp_path / "best" / "height.tif") == 5).all()
    # Each of the first two votes for another class than the one that their mean holds likeliest.
    mosaic(made[:2], tmp_path / "mean", settings=MosaicSettings(method=Method.FEATHER))
    assert (read(tmp_path / "mean" / "cover.tif") == 4).all()
    assert (read(tmp_path / "mean" / "height.tif") == 2).all()


def test_the_table_says_how_far_overlapping_lines_agree(tmp_path):
    half = grid_of(40, 40)

    def split(x, y):
        first = x < 400040
        return np.stack([np.where(first, 0.8, 0.1), np.where(first, 0.1, 0.8), 0.1 + 0 * x])

    made = [
        write_line(tmp_path / "a", half, height=flat(10)),
        write_line(tmp_path / "b", half, shares=split, height=flat(13)),
    ]
    report = mosaic(made, tmp_path / "m", settings=MosaicSettings())
    rows = {(row["line_a"], row["variable"]): row for row in report.agreement}
    assert rows["all", "cover"]["agreement"] == rows["a", "cover"]["agreement"] == 0.5
    assert rows["all", "cover"]["pairs"] == 1600
    assert rows["all", "density"]["pairs"] == 400
    assert (rows["a", "height"]["rmsd"], rows["a", "height"]["bias"]) == (3, 3)
    agreed = read(tmp_path / "m" / "cover_agreement.tif")
    assert (agreed[0, :, :20] == 0).all()
    assert (agreed[0, :, 20:] == 1).all()
    assert (read(tmp_path / "m" / "height_difference.tif") == 3).all()
    assert read(tmp_path / "m" / "density_difference.tif").shape == (1, 20, 20)
    with (tmp_path / "m" / "agreement.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["variable"] for row in table] == ["cover", "height", "density"] * 2
    assert verify_folder(tmp_path / "m") == []


def test_lines_in_two_zones_meet_on_the_ground(tmp_path):
    from pyproj import Transformer

    x, y = Transformer.from_crs(folders.UTM, "EPSG:32634", always_xy=True).transform(4e5, 6.9e6)
    made = [
        write_line(tmp_path / "a", grid_of(50, 50), height=lambda x, y: x % 64),
        write_line(tmp_path / "b", grid_of(50, 50, origin=(4e5 + 40, 6.9e6))),
        write_line(tmp_path / "c", grid_of(60, 60, origin=(x, y), crs="EPSG:32634")),
    ]
    report = mosaic(made, tmp_path / "m", settings=MosaicSettings())
    assert "zone 35N" in report.grid.crs
    source = read(tmp_path / "m" / "source_line.tif")[0]
    rows, cols = np.nonzero(source == 3)
    east, north = folders.ground(report.grid)
    # The third line's corner lies on the first one's, and it is turned by the convergence.
    assert abs(east[rows, cols].min() - 4e5) < 12
    assert abs(north[rows, cols].max() - 6.9e6) < 12
    assert set(np.unique(source)) == {1, 2, 3, 255}


def test_lines_that_lie_far_apart_are_no_mosaic(tmp_path):
    near, far = grid_of(50, 50), grid_of(50, 50, origin=(4e5 + 4e4, 6.9e6 + 4e4))
    made = [write_line(tmp_path / "a", near), write_line(tmp_path / "b", far)]
    with pytest.raises(
        MismatchError, match=r"far apart.* 0\.402 billion pixels and 1\.2e-05 of it"
    ):
        mosaic(made, tmp_path / "m", settings=MosaicSettings())
    assert not (tmp_path / "m").exists()


def test_without_all_probabilities_it_says_what_to_map_again(tmp_path, lines):
    bare = write_line(tmp_path / "l", grid_of(20, 20), probabilities=False)
    with pytest.raises(UsageError, match="--probabilities all"):
        mosaic([bare], tmp_path / "m", settings=MosaicSettings())
    with pytest.raises(UsageError, match="named twice"):
        mosaic([lines[0], lines[0]], tmp_path / "m", settings=MosaicSettings())
    with pytest.raises(UsageError, match="no manifest"):
        mosaic([tmp_path], tmp_path / "m", settings=MosaicSettings())
    other = write_line(tmp_path / "o", grid_of(20, 20), model="n" * 64)
    with pytest.raises(MismatchError, match="with one model"):
        mosaic([lines[0], other], tmp_path / "m", settings=MosaicSettings())
    nowhere = write_line(tmp_path / "p", grid_of(20, 20, crs=None))
    with pytest.raises(MismatchError, match="have no CRS"):
        mosaic([lines[0], nowhere], tmp_path / "m", settings=MosaicSettings())


def test_an_interrupted_mosaic_is_resumed_to_the_same_bytes(lines, tmp_path):
    settings = MosaicSettings(method=Method.FEATHER, block=16)
    mosaic(lines, tmp_path / "whole" / "m", settings=settings)
    done = []

    def stop(count, total):
        done.append(count)
        if count == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mosaic(lines, tmp_path / "cut" / "m", settings=settings, progress=stop)
    assert not (tmp_path / "cut" / "m" / "manifest.json").exists()
    seen = []
    report = mosaic(
        lines, tmp_path / "cut" / "m", settings=settings, progress=lambda n, total: seen.append(n)
    )
    assert seen[0] == done[-1]
    assert not report.already_complete
    assert contents(tmp_path / "cut" / "m") == contents(tmp_path / "whole" / "m")
    assert mosaic(lines, tmp_path / "cut" / "m", settings=settings).already_complete
    with pytest.raises(OutputExistsError, match="differs in: mosaic"):
        mosaic(lines, tmp_path / "cut" / "m", settings=MosaicSettings(block=16))
    layers = {layer.name: layer for layer in open_maps(tmp_path / "cut" / "m").layers}
    assert layers["source_line"].task.classes[2].name == "line2"
    assert (layers["source_line"].shelf, layers["cover_agreement"].shelf) == ("QA", "Confidence")

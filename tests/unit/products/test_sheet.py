"""Pages: what is drawn, looked at as a picture."""

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from matplotlib.image import imread
from test_products import HEIGHT, TREES, grid, layer, reader

from hsimap.cli._main import run
from hsimap.products import (
    MapFolder,
    describe_layers,
    flag_layer,
    write_layer,
    write_manifest,
    write_sheet,
)
from hsimap.products._sheet import bar_length

FLAT = Affine.translation(3e5, 6.8e6) @ Affine.scale(0.7, -0.7)


def folder_of(path, *pairs):
    path.mkdir(exist_ok=True)
    files = [p for made, array in pairs for p in write_layer(path, made, reader(array))]
    layers = tuple(made for made, _ in pairs)
    write_manifest(path, {"scene": {"name": "line"}, **describe_layers(layers)}, files=files)
    return MapFolder(name="line", path=path, layers=layers)


def centre(picture, color):
    """Return the mean (x, y up) of the pixels of the map in a colour, as shares of the page."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    near = np.abs(picture[..., :3] - rgb).max(axis=2) < 0.02
    near[:, int(0.74 * picture.shape[1]) :] = False  # the legend
    row, col = np.nonzero(near)
    assert row.size > 1000
    return np.array([col.mean() / picture.shape[1], 1 - row.mean() / picture.shape[0]])


@pytest.mark.parametrize("turn", [0, 30, 160])
def test_pixels_lie_where_the_ground_has_them(tmp_path, turn):
    codes = np.full((1, 60, 60), 1, np.uint8)
    codes[..., 30:] = 5
    codes[:, :, :2] = 255
    where = grid(60, 60, transform=FLAT @ Affine.rotation(turn))
    maps = folder_of(tmp_path / "m", (layer("classes", TREES, where), codes))
    write_sheet(tmp_path / "page.png", maps, maps.layers[0])
    picture = imread(tmp_path / "page.png")
    step = centre(picture, "#762a83") - centre(picture, "#1b7837")
    step[1] *= picture.shape[0] / picture.shape[1]
    place = where.transform
    expected = np.array([place.a, place.d]) / np.hypot(place.a, place.d)
    np.testing.assert_allclose(step / np.hypot(*step), expected, atol=0.03)


def test_pages_of_every_kind_are_written_and_repeat(tmp_path):
    where = grid(40, 30)
    rng = np.random.default_rng(0)
    names = tuple(c.name for c in TREES.classes)
    maps = folder_of(
        tmp_path / "m",
        (layer("values", HEIGHT, where), rng.uniform(0, 30, (1, 40, 30)).astype(np.float32)),
        (layer("probabilities", TREES, where, names), rng.integers(0, 9, (3, 40, 30), np.uint16)),
        (flag_layer(where, ["cloud", "shadow"]), rng.choice(np.uint8([0, 1, 255]), (1, 40, 30))),
        (replace(layer("values", HEIGHT, grid(40, 30, crs=None)), name="bare"),
         np.full((1, 40, 30), np.nan, np.float32)),
    )  # fmt: skip
    for made in maps.layers:
        for name in ("a.pdf", "b.pdf"):
            write_sheet(tmp_path / name, maps, made)
        assert (tmp_path / "a.pdf").read_bytes()[:5] == b"%PDF-"
        assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_the_command_and_its_refusals(tmp_path, capsys):
    maps = folder_of(
        tmp_path / "m", (layer("values", HEIGHT, grid(20, 20)), np.ones((1, 20, 20), np.float32))
    )
    arguments = ["print", str(maps.path), "--out", str(tmp_path / "p")]
    assert run(arguments) == 0
    assert [path.name for path in (tmp_path / "p").iterdir()] == ["mean_height.pdf"]
    assert run(arguments) == 23
    assert run([*arguments, "--only", "depth"]) == 2
    assert "has no map 'depth'; it has mean_height" in capsys.readouterr().err


@pytest.mark.parametrize("width", [1, 7.9, 8, 8.1, 145.6, 9.99e4])
def test_scale_bars_are_round_and_between_a_tenth_and_a_quarter(width):
    length = bar_length(width)
    assert width / 10 <= length <= width / 4
    assert float(f"{length:.0e}") == length
    assert f"{length:e}"[0] in "125"

"""Several lines over one forest: the same ground, other pixels, light and noise."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine

from hsimap.errors import UsageError
from hsimap.geometry import Window
from hsimap.scenes import open_scene
from hsimap.synthetic import TRUTH, flight_line, make_campaign_block, plan_campaign, write_campaign
from hsimap.synthetic._campaign import (
    CampaignLine,
    brightness,
    sampled_weights,
    sun_from_the_side,
)
from hsimap.synthetic._scene import component_weights

SIZE, LINES = 150, 4


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    return write_campaign(tmp_path_factory.mktemp("campaign"), size=SIZE, seed=3, lines=LINES)


def read(path):
    with rasterio.open(path) as file:
        return file.read(), file.transform


def test_a_folder_a_line_and_the_truth(campaign):
    assert list(campaign) == ["line_01", "line_02", "line_03", "line_04", TRUTH]
    assert "scene" not in campaign[TRUTH]
    transforms = [read(files["split"])[1] for files in campaign.values()]
    turns = [np.degrees(np.arctan2(-t.d, t.a)) for t in transforms]
    assert len({round(float(turn), 3) for turn in turns}) == 5
    assert turns[-1] == 0
    for transform in transforms:
        assert np.hypot(transform.a, transform.d) == pytest.approx(0.7)
        assert np.hypot(transform.b, transform.e) == pytest.approx(0.7)
        assert transform.a * transform.b + transform.d * transform.e == pytest.approx(0, abs=1e-9)


def test_every_layer_of_a_line_is_on_its_grid_and_read_by_our_reader(campaign):
    files = campaign["line_02"]
    scene = open_scene(files["scene"])
    for name in ("classes", "variables", "stand_id", "split"):
        values, transform = read(files[name])
        assert transform == scene.grid.transform
        assert values.shape[1:] == (scene.grid.height, scene.grid.width)
    _, valid = scene.read(scene.grid.window)
    assert np.array_equal(valid, read(files["stand_id"])[0][0] > 0)
    assert 0.5 < valid.mean() < 1


def test_the_lines_see_the_stands_and_folds_of_one_forest(campaign):
    truth = {name: read(path) for name, path in campaign[TRUTH].items()}
    labelled = truth["classes"][0][0] > 0
    seen = np.zeros((SIZE, SIZE), dtype=int)
    for name, files in campaign.items():
        if name == TRUTH:
            continue
        ids, transform = read(files["stand_id"])
        rows, cols = np.nonzero(ids[0])
        back = ~truth["split"][1] @ transform
        x, y = back @ (cols + 0.5, rows + 0.5)
        i, j = np.floor(y).astype(int), np.floor(x).astype(int)
        seen[i, j] += 1
        pure = labelled[i, j]  # a pixel of one stand and of its neighbours' stand
        for layer in ("stand_id", "split"):
            mine, its = read(files[layer])[0][0][rows, cols], truth[layer][0][0][i, j]
            assert np.array_equal(mine[pure], its[pure]), (name, layer)
        both = pure & (read(files["classes"])[0][0][rows, cols] > 0)
        mine, its = read(files["variables"])[0][:, rows, cols], truth["variables"][0][:, i, j]
        assert np.array_equal(mine[:, both], its[:, both])
    assert (seen[5:-5, 5:-5] > 0).mean() > 0.97
    assert (seen > 1).mean() > 0.2


def test_no_stand_is_in_two_folds(campaign):
    folds = {}
    for files in campaign.values():
        ids, split = read(files["stand_id"])[0][0], read(files["split"])[0][0]
        for stand in np.unique(ids[ids > 0]):
            folds.setdefault(int(stand), set()).update(np.unique(split[ids == stand]).tolist())
    assert all(len(found) == 1 for found in folds.values())
    assert {1, 2, 3} == set().union(*folds.values())


def test_raw_files_hold_the_same_pixels(campaign, tmp_path):
    raw = write_campaign(tmp_path, size=SIZE, seed=3, lines=LINES, form="envi")
    for name in ("line_02", "line_04"):
        one, other = (open_scene(files[name]["scene"]) for files in (campaign, raw))
        assert other.grid.transform.almost_equals(one.grid.transform, precision=1e-6)
        assert (other.scale, other.nodata) == (pytest.approx(one.scale), one.nodata)
        assert other.bands.wavelength_nm == one.bands.wavelength_nm
        assert np.array_equal(other.read(other.grid.window)[0], one.read(one.grid.window)[0])
        for layer in ("classes", "variables", "stand_id", "split"):
            assert campaign[name][layer].read_bytes() == raw[name][layer].read_bytes()


def test_the_sun_brightens_the_side_away_from_it():
    """Lines are flown to and fro: brightness across rises now to one side, now to the other."""
    tilts = []
    for line in plan_campaign(size=64, seed=8, lines=7):
        light = brightness(line, Window(row=0, col=0, height=64, width=line.width))
        across = np.arange(line.width) / line.width - 0.5
        slope = np.polyfit(across, light.mean(axis=0), 1)[0]
        tilts.append((sun_from_the_side(line, line.forest.sun), slope))
    sides, slopes = np.array(tilts).T
    assert sides.min() < -0.1 < 0.1 < sides.max()
    assert np.corrcoef(sides, slopes)[0, 1] < -0.9


def test_a_line_sees_the_canopy_where_it_stands():
    """At the centres of the forest's pixels the weights are the forest's, between them the mean."""
    line = plan_campaign(size=64, seed=8, lines=2)[1]
    box = Window(row=10, col=20, height=14, width=9)
    rows, cols = np.mgrid[10:24, 20:29] + 0.5
    wide = Window(row=-50, col=-40, height=150, width=150)
    y, x = np.meshgrid(np.arange(-50, 100) + 0.5, np.arange(-40, 110) + 0.5, indexing="ij")
    forest = component_weights(line.forest, wide, line.forest.layout.at(y, x))
    wanted = forest[:, 60 : 60 + box.height, 60 : 60 + box.width]
    np.testing.assert_allclose(sampled_weights(line, rows, cols), wanted, atol=1e-5)
    between = sampled_weights(line, rows[:-1] + 0.5, cols[:-1])
    np.testing.assert_allclose(between, (wanted[:, 1:] + wanted[:, :-1]) / 2, atol=1e-5)


def test_light_reaches_the_image():
    """The same window under another gain: reflectance follows, labels stay."""
    line = plan_campaign(size=64, seed=8, lines=2)[0]
    other = replace(line, seed=line.seed + 1)
    window = Window(row=10, col=4, height=30, width=40)
    one, two = (make_campaign_block(flight, window) for flight in (line, other))
    gain = (brightness(other, window) / brightness(line, window)).mean()
    seen = (one.stand_id > 0) & (two.stand_id > 0)
    measured = two.image[seen][:, 40:110].mean() / one.image[seen][:, 40:110].mean()
    assert abs(gain - 1) > 0.02
    assert measured == pytest.approx(gain, abs=0.02)
    np.testing.assert_array_equal(one.stand_id[seen], two.stand_id[seen])


def test_a_line_does_not_depend_on_its_blocks():
    """Labels and geometry of a window are those of the whole; noise belongs to the block."""
    line = plan_campaign(size=90, seed=2, lines=2)[0]
    whole = make_campaign_block(line, Window(row=0, col=0, height=60, width=line.width))
    part = make_campaign_block(line, Window(row=20, col=0, height=40, width=line.width))
    for name in ("classes", "variables", "stand_id", "split"):
        np.testing.assert_array_equal(getattr(whole, name)[..., 20:, :], getattr(part, name))
    both = whole.image[20:].astype(float), part.image.astype(float)
    assert np.corrcoef(both[0][..., 60].ravel(), both[1][..., 60].ravel())[0, 1] > 0.95


def test_heading_is_where_rows_come_from():
    turn = Affine.rotation(30.0)
    line = CampaignLine(
        number=1, forest=flight_line(size=64, seed=1), seed=1, width=8, height=8, to_forest=turn
    )
    assert np.degrees(line.heading) == pytest.approx(30)
    ahead = np.array(turn @ (0, -1))  # a pixel further in the flight: columns, rows
    assert np.degrees(np.arctan2(ahead[0], -ahead[1])) == pytest.approx(30)


@pytest.mark.parametrize(
    "change", [{"lines": 1}, {"lines": 65}, {"size": 8}, {"seed": -1}], ids=str
)
def test_values_out_of_range_are_refused(tmp_path, change):
    with pytest.raises(UsageError, match="campaign"):
        write_campaign(tmp_path / "none", **{"size": 64, "seed": 1, "lines": 2} | change)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
def test_lines_overlap_by_the_share_that_is_asked_for(overlap):
    first, second, *_ = plan_campaign(size=3000, seed=3, lines=3, overlap=overlap)
    distance = np.hypot(
        *np.subtract(
            second.to_forest @ (second.width / 2, second.height / 2),
            first.to_forest @ (first.width / 2, first.height / 2),
        )
    )
    assert 1 - distance / first.width == pytest.approx(overlap, abs=1e-3)


def test_lines_that_overlap_wholly_are_refused():
    with pytest.raises(UsageError, match=r"a share of 0 to 0\.9, got 0\.95"):
        plan_campaign(size=300, seed=3, lines=3, overlap=0.95)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import UsageError
from hsimap.mapping.tiling import TilePlan, TileRules, plan_tiles

steps = st.integers(1, 5)


@st.composite
def plans(draw):
    step = draw(steps)
    kept = draw(st.integers(1, 6)) * step
    return TilePlan(
        height=draw(st.integers(1, 60)),
        width=draw(st.integers(1, 60)),
        kept=kept,
        trim=draw(st.integers(0, 3)) * step,
        ramp=draw(st.integers(0, kept // step)) * step,
        alignment=step,
    )


@given(plan=plans())
def test_strips_partition_the_scene_and_stand_on_two_tile_rows(plan):
    hits = np.zeros((plan.height, plan.width), dtype=int)
    for index in range(plan.n_rows):
        strip = plan.strip(index)
        hits[strip.slices] += 1
        covered = set()
        for row in {max(index - 1, 0), index}:
            window = plan.row_window(row)
            covered |= set(range(window.row, window.row + window.height))
        assert set(range(strip.row, strip.row + strip.height)) <= covered
    np.testing.assert_array_equal(hits, 1)


@given(plan=plans())
def test_footprints_cover_every_pixel_and_never_more_than_two_tiles_an_axis(plan):
    hits = np.zeros((plan.height, plan.width), dtype=int)
    for row in range(plan.n_rows):
        for tile in plan.row_tiles(row):
            hits[tile.footprint.slices] += 1
            assert (tile.read.height, tile.read.width) == (plan.side, plan.side)
            assert tile.footprint.row - tile.read.row == plan.trim
            last = tile.footprint.col + tile.footprint.width
            assert tile.read.col + plan.side - last >= plan.trim
            assert tile.read.row % plan.alignment == tile.read.col % plan.alignment == 0
    assert hits.min() >= 1
    assert hits.max() <= 4


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    step=steps,
    values=st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 100)),
    tile=st.none() | st.integers(1, 400),
)
def test_any_wish_becomes_a_legal_plan(height, width, step, values, tile):
    trim, ramp, patch = values
    rules = TileRules(alignment=step, patch=patch, trim=trim, ramp=ramp, max_tile=64, tile=tile)
    plan = plan_tiles(height=height, width=width, rules=rules, fits=lambda _: True)
    assert plan.trim >= trim
    assert plan.side >= patch
    if tile is not None:
        assert plan.kept >= tile
    if plan.n_rows > 1 or plan.n_cols > 1:
        assert plan.ramp >= ramp


def test_memory_decides_the_tile_and_the_fewest_computed_pixels_win():
    rules = TileRules(alignment=8, patch=32, trim=32, ramp=8, max_tile=1024)
    free = plan_tiles(height=4096, width=4096, rules=rules, fits=lambda _: True)
    tight = plan_tiles(height=4096, width=4096, rules=rules, fits=lambda p: p.side <= 300)
    none = plan_tiles(height=4096, width=4096, rules=rules, fits=lambda _: False)
    assert free.kept == 1024
    assert free.ratio < 1.35
    assert tight.side <= 300
    assert none.kept == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kept": 12}, "multiples of 8"),
        ({"ramp": 24}, "ramp at most the tile"),
        ({"height": 0}, "1 x 1 pixel or more, got 0 x 20"),
    ],
)
def test_illegal_plans_are_refused(change, message):
    legal = {"height": 20, "width": 20, "kept": 16, "trim": 8, "ramp": 8, "alignment": 8}
    with pytest.raises(UsageError, match=message):
        TilePlan(**legal | change)

import numpy as np
import pytest

from hsimap.geometry import Window
from hsimap.synthetic._light import Structure, Sun, beam_through, components, facing, field_share
from hsimap.synthetic._trees import CELL_M, Canopy, Trees, canopy_of, crown_cover, trees_of

SOUTH = Sun(zenith=np.radians(45), azimuth=np.pi)


def surface(height, base):
    return Canopy(
        height=height.astype(np.float32),
        base=base.astype(np.float32),
        species=np.where(height > 0, 0, -1).astype(np.int8),
        depth=np.ones(height.shape, np.float32),
        tone=np.zeros(height.shape, np.float32),
    )


def trees_in(line, window):
    rows, cols = np.mgrid[
        window.row : window.row + window.height, window.col : window.col + window.width
    ]
    stand_map = line.layout.at(rows + 0.5, cols + 0.5)
    return trees_of(line.layout, line.stands, window=window, stand_map=stand_map), stand_map


def test_a_crown_shades_the_ground_north_of_it_and_light_passes_below():
    """A crown from 3.5 to 7 m and a sun at 45 degrees: shade from 3.5 m to 7 m away."""
    height, base = np.zeros((80, 5)), np.zeros((80, 5))
    height[60], base[60] = 7.0, 3.5
    density = np.where(height > 0, 2.0, 0.0).astype(np.float32)
    beam = beam_through(surface(height, base), density, sun=SOUTH)
    shaded = np.flatnonzero(beam[:, 2] < 1)
    away = (60 - shaded) * CELL_M
    assert away.min() == pytest.approx(3.5, abs=1.01 * CELL_M)
    assert away.max() == pytest.approx(7.0, abs=1.01 * CELL_M)
    way = CELL_M / np.sin(SOUTH.zenith)
    near = 60 - int(4.5 / CELL_M)
    np.testing.assert_allclose(beam[near], np.exp(-0.5 * 2.0 * way), rtol=1e-5)


def test_open_ground_is_lit_and_slopes_to_the_sun_catch_more():
    flat = np.zeros((9, 9), np.float32)
    assert (beam_through(surface(flat, flat), flat, sun=SOUTH) == 1).all()
    np.testing.assert_allclose(facing(flat, SOUTH), 1)
    falls_south = np.repeat(np.arange(9, 0, -1, dtype=np.float32)[:, None] * 0.3, 9, axis=1)
    assert (facing(falls_south, SOUTH) > 1.2).all()
    assert (facing(falls_south[::-1], SOUTH) < 0.6).all()


def test_the_highest_crown_is_on_top():
    two = Trees(
        row=np.array([10.0, 10.0]), col=np.array([10.0, 10.6]), species=np.array([1, 2]),
        height=np.array([20.0, 12.0]), radius=np.array([2.0, 2.5]), tone=np.array([1.0, -1.0]),
    )  # fmt: skip
    canopy = canopy_of(two, Window(row=0, col=0, height=20, width=20))
    assert 15 < canopy.height.max() <= 20
    assert canopy.species[20, 20] == 1
    assert canopy.tone[20, 20] == 1
    assert set(np.unique(canopy.species)) == {-1, 1, 2}
    assert ((canopy.height > 0) == (canopy.species >= 0)).all()
    assert (canopy.base[canopy.height > 0] < canopy.height[canopy.height > 0]).all()


def test_trees_and_canopy_do_not_depend_on_the_window(line):
    wide, narrow = (
        Window(row=-20, col=-20, height=100, width=100),
        Window(row=10, col=0, height=40, width=50),
    )
    whole, part = (canopy_of(trees_in(line, w)[0], w) for w in (wide, narrow))
    inner = (slice(8, -8), slice(8, -8))
    cut = (slice(60, 140), slice(40, 140))
    np.testing.assert_array_equal(whole.height[cut][inner], part.height[inner])
    np.testing.assert_array_equal(whole.tone[cut][inner], part.tone[inner])


def test_stands_hold_the_stems_of_their_label(line):
    window = Window(row=0, col=0, height=192, width=192)
    trees, stand_map = trees_in(line, window)
    stand = line.layout.at(trees.row, trees.col)
    inside = (trees.row > 0) & (trees.row < 192) & (trees.col > 0) & (trees.col < 192)
    ids, pixels = np.unique(stand_map, return_counts=True)
    stems = np.array([(stand[inside] == k).sum() for k in ids])
    hectares = pixels * 0.49 / 10_000
    large = (hectares > 0.05) & (line.stands.stem_density[ids] * hectares > 30)
    assert large.sum() > 8
    found = stems[large] / hectares[large]
    np.testing.assert_allclose(found, line.stands.stem_density[ids][large], rtol=0.15)
    spruce = np.array([(trees.species[stand == k] == 1).mean() for k in ids[large]])
    assert np.corrcoef(spruce, line.stands.shares[ids[large], 1])[0, 1] > 0.9
    assert ((crown_cover(line.stands) >= 0.15) & (crown_cover(line.stands) <= 0.97)).all()


def test_components_of_bare_ground_are_the_floor():
    window = Window(row=0, col=0, height=6, width=7)
    bare = np.zeros((12, 14))
    half = np.full((12, 14), 0.5, np.float32)
    weights = components(
        surface(bare, bare),
        Structure(crown_area=half, field=half),
        sun=SOUTH,
        window=window,
        seed=1,
    )
    assert weights.shape == (13, 6, 7)
    assert (weights[:9] == 0).all()
    np.testing.assert_allclose(weights[9] + weights[10], 1, rtol=1e-5)
    share = field_share(half, window, 1)
    assert ((share > 0) & (share < 1)).all()
    assert share.std() > 0.1

"""Sides of pixels, and which grids are parts of others."""

import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from hsimap.flightlines._grid import is_part
from hsimap.geometry import Grid, Window

SIDES = st.floats(0.01, 100)
ANGLES = st.floats(-180, 180)


def grid(side, angle):
    place = Affine.translation(4e5, 6.8e6) @ Affine.rotation(angle) @ Affine.scale(side, -side)
    return Grid(height=80, width=50, transform=place, crs=None)


@given(SIDES, ANGLES)
def test_a_turn_changes_no_pixel_size(side, angle):
    assert grid(side, angle).pixel_size == pytest.approx(side, rel=1e-12)
    assert grid(side, angle).pixel_area == pytest.approx(side**2, rel=1e-12)
    assert grid(side, 0).pixel_size == side


@given(SIDES, ANGLES, st.integers(0, 79), st.integers(0, 49), st.floats(0.01, 0.99))
def test_a_crop_is_a_part_and_what_is_shifted_is_none(side, angle, row, col, off):
    whole = grid(side, angle)
    window = Window(row=row, col=col, height=80 - row, width=50 - col)
    part = whole.crop(window)
    assert is_part(part, whole)
    assert is_part(whole, part) == (row == col == 0)
    assert not is_part(whole.crop(window.shift(rows=0, cols=1)), whole)
    shifted = whole.transform @ Affine.translation(off, 0)
    assert not is_part(Grid(height=8, width=8, transform=shifted, crs=None), whole)
    assert not is_part(whole.coarsen(2), whole)

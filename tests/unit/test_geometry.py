"""Boxes round pixels that lie together."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hsimap.geometry import boxes_around


@given(
    found=st.tuples(st.integers(0, 20), st.integers(0, 40)).flatmap(lambda n: arrays(bool, n)),
    rows=st.integers(1, 8),
    gap=st.integers(0, 9),
)
def test_every_pixel_is_in_one_box_and_no_box_is_wider_than_it_must(found, rows, gap):
    held = np.zeros(found.shape, int)
    for box in boxes_around(found, rows=rows, gap=gap):
        held[box] += 1
        cols = found[box].any(axis=0)
        assert cols[0]
        assert cols[-1]
        assert found[box].shape[0] <= rows
        assert np.diff(np.flatnonzero(cols)).max(initial=0) <= max(gap, 1)
    assert held.max(initial=0) <= 1
    assert held[found].all()


def test_the_edges_of_a_slanted_line_cost_little_more_than_themselves():
    y, x = np.mgrid[:512, :2048]
    missing = (x < 200 + y // 4) | (x > 1700 + y // 4)
    held = sum(missing[box].size for box in boxes_around(missing))
    assert missing.sum() <= held < 1.02 * missing.sum()

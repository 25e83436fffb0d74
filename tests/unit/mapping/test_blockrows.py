"""Rows of blocks are decoded once, and windows are what the scene itself gives."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsimap.geometry import Window
from hsimap.mapping.blockrows import BlockRows
from hsimap.mapping.memory import rows_below
from hsimap.mapping.tiling import TilePlan

BANDS = 2


class Adapter:
    """A scene adapter on an array, which counts how often each row is read."""

    n_bands, dtype = BANDS, np.dtype(np.int16)

    def __init__(self, height, width, block, *, keeps=False):
        rng = np.random.default_rng(0)
        self.values = rng.integers(1, 999, (BANDS, height, width)).astype(np.int16)
        self.flags = (rng.random((height, width)) < 0.2).astype(np.uint8)
        self.shape = (height, width)
        self.storage = SimpleNamespace(block=block, keeps=keeps)
        self.hits = np.zeros((height, width), dtype=int)
        self.expected = []

    def expect(self, window):
        assert not self.hits[window.slices].any(), "decoded before"
        self.expected.append(window)

    def read_flagged(self, window, out):
        out[...] = self.values[(..., *window.slices)]
        self.hits[window.slices] += 1
        return out, self.flags[window.slices]


def expected(adapter, window):
    padded = np.pad(adapter.values, ((0, 0), (99, 99), (99, 99)))
    flags = np.pad(adapter.flags, 99, constant_values=1)
    moved = window.shift(rows=99, cols=99).slices
    return padded[(..., *moved)], flags[moved]


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    block=st.integers(1, 16),
    kept=st.integers(1, 20),
    margin=st.integers(0, 9),
    first=st.integers(0, 3),
    keeps=st.booleans(),
)
def test_every_window_is_the_scene_and_every_row_is_decoded_once(
    height, width, block, kept, margin, first, keeps
):
    adapter = Adapter(height, width, (block, 16), keeps=keeps)
    rows = BlockRows(adapter, kept)
    side = kept + 2 * margin
    plan = TilePlan(height=height, width=width, kept=kept, trim=margin, ramp=0, alignment=1)
    for top in range(first * kept, height, kept):
        for left in range(0, width, kept):
            window = Window(row=top - margin, col=left, height=side, width=kept)
            out = np.full((BANDS, side, kept), -7, np.int16)
            values, flags = rows.read_flagged(window, out)
            truth, mask = expected(adapter, window)
            np.testing.assert_array_equal(values, truth)
            np.testing.assert_array_equal(flags, mask)
            for ahead in adapter.expected[:-1]:  # all but what this read has told
                assert adapter.hits[ahead.slices].all()
            del adapter.expected[:-1]
            kept_rows = [len(below.flags) for below in rows._below.values()]
            assert max(kept_rows, default=0) <= rows_below(plan, block)
    assert adapter.hits.max(initial=0) <= 1


def test_what_follows_is_told_but_for_blocks_that_this_window_reaches():
    adapter = Adapter(64, 64, (16, 16), keeps=True)
    rows = BlockRows(adapter, 24)
    for top in (0, 24):
        for left, width in ((0, 20), (20, 20), (40, 24)):
            window = Window(row=top, col=left, height=24, width=width)
            rows.read_flagged(window, np.empty((BANDS, 24, width), np.int16))
    told = [(w.row, w.col, w.height, w.width) for w in adapter.expected]
    # Of the first row nobody knows the windows; at the end of each the next one's first columns.
    assert told == [(32, 0, 16, 20), (32, 32, 16, 8), (32, 48, 16, 16), (48, 0, 16, 20)]


def test_no_more_is_kept_than_the_next_row_of_tiles_needs():
    adapter = Adapter(64, 8, (16, 8))
    rows = BlockRows(adapter, 8)
    for top in range(0, 64, 8):
        window = Window(row=top - 2, col=0, height=12, width=8)
        out = np.empty((BANDS, 12, 8), np.int16)
        rows.read_flagged(window, out)
        (kept,) = rows._below.values()
        assert kept.start == min(top + 6, kept.end)
        assert kept.memory.size == BANDS * (4 + 16) * 8
        assert not np.shares_memory(kept.values, out)
        assert len(rows._free) <= 1


def test_a_window_elsewhere_starts_anew():
    adapter = Adapter(40, 8, (8, 8))
    rows = BlockRows(adapter, 8)
    for top in (30, 0, 24):
        window = Window(row=top, col=0, height=8, width=8)
        values, _ = rows.read_flagged(window, np.empty((BANDS, 8, 8), np.int16))
        np.testing.assert_array_equal(values, expected(adapter, window)[0])

"""The seam measure is zero where it must be and the trim is the smallest that meets the bar."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter
from small import ArraySource

from hsimap.geometry import Window
from hsimap.tasks import main_output, task_from_mapping
from hsimap.training._seams import SEAM_BAR, _smallest, choose_crop, measure_seams

DEPTH = task_from_mapping("depth", {"kind": "continuous", "unit": "m"})


class Blur:
    """A runtime that averages squares of 2 * reach + 1 pixels, zeros outside its input."""

    def __init__(self, reach):
        self.size = 2 * reach + 1

    def describe(self):
        return {}

    def forward(self, image, valid):
        blurred = uniform_filter(image * valid, (0, 0, self.size, self.size), mode="constant")
        return {"depth": blurred.sum(axis=1, keepdims=True)}

    def close(self):
        pass


def measure(reach, *, alignment=2, said=None):
    rng = np.random.default_rng(0)
    source = ArraySource(rng.normal(size=(2, 60, 70)), rng.random((60, 70)) < 0.95)
    network = SimpleNamespace(
        alignment=alignment,
        reach=reach if said is None else said,
        spec=SimpleNamespace(patch=16),
        outputs=(main_output(DEPTH),),
    )
    return measure_seams(network, Blur(reach), source, Window(row=3, col=5, height=50, width=60))


def test_a_pointwise_network_needs_no_trim():
    seams = measure(0)
    assert (seams.trim, seams.tried) == (0, {0: {"depth": 0.0}})


def test_the_whole_reach_is_taken_where_nothing_less_meets_the_bar():
    seams = measure(5)
    assert seams.trim == 6
    assert list(seams.tried) == [0, 2, 4, 6]
    errors = [seams.tried[trim]["depth"] for trim in seams.tried]
    assert min(errors[:-1]) > SEAM_BAR
    assert errors[-1] < 1e-6
    assert seams.ramp % 2 == 0


def test_the_smallest_trim_that_meets_the_bar_is_taken():
    seams = measure(5, said=40)
    assert seams.trim == 6
    assert seams.tried[6]["depth"] < 1e-6
    assert min(seams.tried[trim]["depth"] for trim in seams.tried if trim < 6) > SEAM_BAR


@given(needed=st.integers(0, 30), reach=st.integers(0, 30), step=st.integers(1, 4))
def test_the_search_finds_the_first_trim_that_meets_the_bar(needed, reach, step):
    found = _smallest(lambda trim: trim >= needed * step, step=step, reach=reach * step)
    assert found == min(needed, reach) * step


def test_the_crop_is_where_most_pixels_are_valid():
    valid = np.zeros((300, 500), dtype=bool)
    valid[100:, 300:] = True
    source = ArraySource(np.zeros((1, 300, 500)), valid)
    assert choose_crop(source, (300, 500)) == Window(row=108, col=308, height=192, width=192)


def test_a_small_scene_is_its_own_crop():
    source = ArraySource(np.zeros((1, 30, 50)), np.ones((30, 50), dtype=bool))
    assert choose_crop(source, (30, 50)) == Window(row=0, col=0, height=30, width=50)

"""A fold sees its own labels and nothing of the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small import small_scene

from hsimap.geometry import Window
from hsimap.training._folds import cut
from hsimap.training._memory import InMemorySource

windows = st.builds(
    Window,
    row=st.integers(-9, 25),
    col=st.integers(-9, 30),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
)


@given(windows)
def test_cut_is_a_window_of_the_padded_array(window):
    array = np.arange(20 * 26).reshape(20, 26) + 1
    padded = np.pad(array, 50)
    inside = padded[window.shift(rows=50, cols=50).slices]
    assert np.array_equal(cut(array, window, fill=0), inside)


@pytest.mark.parametrize("fold", [1, 2, 3])
@pytest.mark.parametrize("context", ["share", "mask"])
@given(window=windows)
def test_a_view_gives_labels_of_its_own_fold_only(fold, context, window):
    scene = small_scene(context=context)
    view = scene.view(fold)
    own = cut(scene.folds == fold, window, fill=False)
    targets = view.targets(window)
    cover = cut(scene.labels["cover"].values, window, fill=-1)
    depth = cut(scene.labels["depth"].values, window, fill=np.nan)
    assert np.array_equal(targets["cover"], np.where(own, cover, -1))
    assert np.array_equal(targets["depth"], np.where(own, depth, np.nan), equal_nan=True)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_masked_context_hides_the_pixels_of_other_folds_only(fold):
    scene = small_scene(context="mask")
    window = Window(row=-1, col=-2, height=30, width=30)
    _, valid = scene.view(fold).read(window)
    folds = cut(scene.folds, window, fill=0)
    seen = cut(scene.source.valid, window, fill=False)
    assert np.array_equal(valid, seen & ((folds == 0) | (folds == fold)))
    _, shared = small_scene().view(fold).read(window)
    assert np.array_equal(shared, seen)


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_positions_are_the_labelled_pixels_of_the_fold(fold):
    scene = small_scene()
    labelled = (scene.labels["cover"].values >= 0) | np.isfinite(scene.labels["depth"].values)
    expected = np.argwhere(labelled & (scene.folds == fold))
    found = scene.view(fold).positions()
    assert sorted(map(tuple, found)) == sorted(map(tuple, expected))


@given(st.integers(1, 40))
def test_windows_of_a_view_hold_each_of_its_pixels_once(side):
    scene = small_scene()
    hits = np.zeros(scene.folds.shape, dtype=int)
    for window in scene.view(2).windows(side):
        hits[window.slices] += 1
    assert hits.max() == 1
    assert (hits[scene.folds == 2] == 1).all()


def test_pixels_kept_in_memory_are_those_of_the_source():
    scene = small_scene()

    class Grid:
        window = Window(row=0, col=0, height=20, width=26)

    kept = InMemorySource(scene.source, Grid)
    window = Window(row=-3, col=20, height=9, width=9)
    for mine, theirs in zip(kept.read(window), scene.source.read(window), strict=True):
        assert np.array_equal(mine, theirs)

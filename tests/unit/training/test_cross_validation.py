"""Folds of a cross-validation: every block is left out once, and none of the test fold is seen."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation

FOLDER = Path(__file__).parents[3] / "benchmarks"
BLOCK, BUFFER, PARTS = 4, 1, 3


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(FOLDER))  # it takes a function from the script beside it
    try:
        return runpy.run_path(str(FOLDER / "cross_validation.py"))
    finally:
        sys.path.remove(str(FOLDER))


splits = st.integers(0, 2**32 - 1).map(
    lambda seed: (
        np.random.default_rng(seed).integers(0, 4, (6, 5)).repeat(BLOCK, 0).repeat(BLOCK, 1)
    )
)


@given(splits)
def test_each_block_is_left_out_once(script, split):
    parts = script["deal"](split, known=[1, 2], block=BLOCK, folds=PARTS)
    assert ((parts >= 0) == np.isin(split, [1, 2])).all()
    blocks = parts.reshape(6, BLOCK, 5, BLOCK).swapaxes(1, 2).reshape(30, -1)
    assert (blocks == blocks[:, :1]).all()
    sizes = np.bincount(blocks[blocks[:, 0] >= 0, 0], minlength=PARTS)
    assert sizes.max() - sizes.min() <= 1
    again = script["deal"](split, known=[1, 2], block=BLOCK, folds=PARTS)
    assert np.array_equal(parts, again)


@given(splits)
def test_training_keeps_away_from_what_is_left_out(script, split):
    parts = script["deal"](split, known=[1, 2], block=BLOCK, folds=PARTS)
    for part in range(PARTS):
        fold = script["split_of"](parts, part, buffer=BUFFER)
        assert np.array_equal(fold == 2, parts == part)
        near = binary_dilation(parts == part, np.ones((3, 3)))
        assert np.array_equal(fold == 1, (parts >= 0) & ~near)
        assert not fold[~np.isin(split, [1, 2])].any()

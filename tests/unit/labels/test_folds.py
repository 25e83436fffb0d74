"""Folds: by raster, by blocks, by stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from hsimap.config import validate
from hsimap.errors import InputError, UsageError
from hsimap.labels import (
    NO_FOLD,
    TEST,
    TRAIN,
    VALIDATION,
    BlockSplit,
    CellSplit,
    SplitSpec,
    StandSplit,
    StandTable,
    block_folds,
    cell_folds,
    open_folds,
    stand_folds,
    table_folds,
)

FOLDS = (TRAIN, VALIDATION, TEST)
SHARES = st.tuples(st.integers(1, 10), st.integers(0, 10), st.integers(0, 10)).map(
    lambda parts: tuple(part / sum(parts) for part in parts)
)


@st.composite
def maps(draw):
    """``(y, x)`` True = labelled."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    share = draw(st.sampled_from([0.05, 0.5, 1.0]))
    return np.random.default_rng(draw(st.integers(0, 99))).random((height, width)) < share


# --- blocks --------------------------------------------------------------------------------------


@given(maps(), st.integers(1, 12), SHARES, st.integers(0, 5))
def test_blocks_are_whole_and_shares_are_kept(labelled, size, shares, seed):
    split = BlockSplit(size=size, shares=shares, seed=seed)
    wanted = [fold for fold, share in zip(FOLDS, shares, strict=True) if share > 0]
    weights = []
    units = {}
    for row in range(0, labelled.shape[0], size):
        for col in range(0, labelled.shape[1], size):
            units[row, col] = int(labelled[row : row + size, col : col + size].sum())
            weights.append(units[row, col])
    if sum(weight > 0 for weight in weights) < len(wanted):
        with pytest.raises(InputError, match="cannot fill"):
            block_folds(labelled, split)
        return
    folds = block_folds(labelled, split)
    assert folds.dtype == np.uint8
    for (row, col), weight in units.items():
        found = np.unique(folds[row : row + size, col : col + size])
        assert len(found) == 1
        assert (found[0] == NO_FOLD) == (weight == 0)
    counts = [int((labelled & (folds == fold)).sum()) for fold in FOLDS]
    assert sum(counts) == labelled.sum()
    for count, share in zip(counts, shares, strict=True):
        assert (count > 0) == (share > 0)
        assert count <= share * labelled.sum() + max(weights)
    assert np.array_equal(folds, block_folds(labelled, split))


@given(maps(), st.integers(1, 9), st.integers(0, 4))
def test_folds_are_more_than_two_buffers_apart(labelled, size, buffer):
    assume(2 * buffer < size)
    shares = (0.5, 0.3, 0.2)
    plain = BlockSplit(size=size, shares=shares)
    assume((np.add.reduceat(np.add.reduceat(labelled.astype(int), range(0, labelled.shape[0], size),
            axis=0), range(0, labelled.shape[1], size), axis=1) > 0).sum() >= 3)  # fmt: skip
    before = block_folds(labelled, plain)
    after = block_folds(labelled, BlockSplit(size=size, shares=shares, buffer=buffer))
    kept = after != NO_FOLD
    assert np.array_equal(after[kept], before[kept])
    rows, cols = np.indices(labelled.shape)
    for row, col in zip(*np.nonzero(before), strict=True):
        distance = np.maximum(abs(rows - row), abs(cols - col))
        other = (before != NO_FOLD) & (before != before[row, col])
        near = distance[other].min(initial=10**6) <= buffer
        assert (after[row, col] == NO_FOLD) == near
        apart = distance[kept & (after != before[row, col])].min(initial=10**6)
        assert near or apart > 2 * buffer


def test_seeds_differ():
    labelled = np.ones((40, 40), bool)
    found = [block_folds(labelled, BlockSplit(size=5, seed=seed)) for seed in range(2)]
    assert not np.array_equal(*found)


# --- stands --------------------------------------------------------------------------------------


@given(st.integers(3, 30), st.integers(0, 99), SHARES)
def test_stands_are_whole_and_shares_are_of_area(n, seed, shares):
    random = np.random.default_rng(seed)
    ids = np.concatenate([[0], random.choice(10**6, n, replace=False) + 1]).astype(np.int32)
    stands = random.choice(ids, (25, 20), p=random.dirichlet(np.ones(len(ids))))
    stands.flat[: len(ids)] = ids
    labelled = random.random(stands.shape) < 0.7
    areas = {i: int((labelled & (stands == i)).sum()) for i in ids.tolist() if i}
    wanted = sum(share > 0 for share in shares)
    assume(sum(area > 0 for area in areas.values()) >= wanted)
    folds = stand_folds(stands, labelled, StandSplit(shares=shares, seed=seed))
    assert (folds[stands == 0] == NO_FOLD).all()
    total = sum(areas.values())
    counts = dict.fromkeys(FOLDS, 0)
    for i, area in areas.items():
        found = np.unique(folds[stands == i])
        assert len(found) == 1
        assert (found[0] == NO_FOLD) == (area == 0)
        if area:
            counts[int(found[0])] += area
    for fold, share in zip(FOLDS, shares, strict=True):
        assert (counts[fold] > 0) == (share > 0)
        assert counts[fold] <= share * total + max(areas.values())


def test_too_few_stands_are_refused():
    stands = np.array([[0, 1], [2, 2]], np.int32)
    with pytest.raises(InputError, match="2 stands with labelled pixels cannot fill 3 folds"):
        stand_folds(stands, stands > 0, StandSplit())


# --- by raster, and the choice of the form -------------------------------------------------------


def test_codes_of_a_raster_become_folds(grid, write, tmp_path):
    stored = np.random.default_rng(0).integers(0, 9, (23, 17)).astype(np.uint8)
    name = write("s.tif", stored, nodata=5)
    spec = validate(
        SplitSpec, {"raster": name, "train": [7, 1, 5], "validation": 2, "test": 3}, source="r"
    )
    folds = open_folds(spec, grid=grid, root=tmp_path)
    expected = np.select([(stored == 7) | (stored == 1), stored == 2, stored == 3], FOLDS, NO_FOLD)
    assert np.array_equal(folds, expected)
    assert folds.dtype == np.uint8


def test_blocks_and_stands_through_the_one_door(grid):
    labelled = np.ones((23, 17), bool)
    stands = (np.arange(23 * 17, dtype=np.int32) // 40).reshape(23, 17)
    blocks = SplitSpec(blocks=BlockSplit(size=5, buffer=1))
    root = Path()
    assert np.array_equal(
        open_folds(blocks, grid=grid, root=root),
        block_folds(labelled, BlockSplit(size=5, buffer=1)),
    )
    by_stand = SplitSpec(stands=StandSplit(seed=4))
    labelled[:, :4] = False
    found = open_folds(by_stand, grid=grid, root=root, stands=stands, labelled=labelled)
    assert np.array_equal(found, stand_folds(stands, labelled, StandSplit(seed=4)))
    with pytest.raises(UsageError, match="needs `stands"):
        open_folds(by_stand, grid=grid, root=root)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, ["exactly one of raster, field, blocks and stands, got none"]),
        ({"raster": "a", "stands": {}}, ["got raster and stands"]),
        ({"blocks": {"size": 9}, "train": 4}, ["belong to a split by raster or field"]),
        ({"raster": "a", "train": 1, "test": [1, 4]}, ["one fold", "train 1"]),
        ({"raster": "a", "train": [1, 1]}, ["one fold"]),
        ({"blocks": {"size": 8, "buffer": 4}}, ["buffer 4 px", "8"]),
        ({"blocks": {"size": 8, "shares": [0.5, 0.4, 0.2]}}, ["add up to 1", "0.4"]),
        ({"stands": {"shares": [0, 0.5, 0.5]}}, ["above 0"]),
        ({"stands": {"shares": [1.2, -0.2, 0]}}, ["from 0 to 1"]),
        ({"blocks": {"siz": 8}}, ["`blocks.siz`", "`size`"]),
        ({"raster": "a", "context": "hide"}, ["`context`", "'share' or 'mask'"]),
    ],
)
def test_wrong_splits(data, words):
    with pytest.raises(UsageError) as caught:
        validate(SplitSpec, data, source="r.yaml")
    assert all(word in str(caught.value) for word in words)


def test_a_split_is_frozen():
    with pytest.raises(ValidationError):
        SplitSpec(raster="a").context = "mask"


# --- stands from a table --------------------------------------------------------------------------

TABLE = """standid,basalarea,set
7,1.5,training
9,2.5,holdout
12,0.5,training
13,9.9,unused
"""


@pytest.fixture
def table(tmp_path):
    (tmp_path / "stands.csv").write_text(TABLE, encoding="utf-8-sig")
    return StandTable(file="stands.csv", test="holdout")


def test_a_table_gives_the_folds_of_stands(table, tmp_path):
    stands = np.array([[0, 7, 9, 12], [13, 8, 7, 99]], np.int32)
    folds = table_folds(stands, table, root=tmp_path)
    assert folds.tolist() == [[NO_FOLD, TRAIN, TEST, TRAIN], [NO_FOLD, NO_FOLD, TRAIN, NO_FOLD]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"file": "none.csv"}, ["none.csv", "does not exist"]),
        ({"id": "stand"}, ["no column 'stand'", "standid, basalarea, set"]),
        ({"fold": "fold"}, ["no column 'fold'"]),
        ({"train": "Training", "test": "Test"}, ["'Training'", "'Test'", "column 'set'"]),
    ],
)
def test_tables_that_do_not_fit_are_refused(table, tmp_path, change, words):
    with pytest.raises(UsageError) as caught:
        table_folds(np.ones((2, 2), np.int32), table.model_copy(update=change), root=tmp_path)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("line", "word"), [("x1,0,training", "'x1'"), ("7,0,holdout", "two folds")]
)
def test_tables_that_contradict_themselves_are_refused(table, tmp_path, line, word):
    with (tmp_path / "stands.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=word):
        table_folds(np.ones((2, 2), np.int32), table, root=tmp_path)


# --- whole cells ----------------------------------------------------------------------------------


@given(
    st.integers(1, 30), st.integers(1, 30), st.integers(1, 7), st.floats(0, 0.9), st.integers(0, 9)
)
def test_cells_lie_in_one_fold_as_a_whole(height, width, size, validation, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (-(-height // 6), -(-width // 6)))
    folds = coarse.repeat(6, axis=0).repeat(6, axis=1)[:height, :width].astype(np.uint8)
    split = CellSplit(size=size, validation=validation, seed=seed)
    kept = cell_folds(folds, split)
    seen = np.zeros(folds.shape, dtype=bool)
    training = moved = 0
    for row in range(0, height - size + 1, size):
        for col in range(0, width - size + 1, size):
            cell = (slice(row, row + size), slice(col, col + size))
            seen[cell] = True
            before, after = np.unique(folds[cell]), np.unique(kept[cell])
            assert len(after) == 1
            if len(before) > 1:
                assert after[0] == NO_FOLD
            elif before[0] == TRAIN:
                training += 1
                moved += int(after[0] == VALIDATION)
                assert after[0] in (TRAIN, VALIDATION)
            else:
                assert after[0] == before[0]
    assert (kept[~seen] == NO_FOLD).all()
    assert moved == round(validation * training)


def test_pixels_that_lack_a_required_label_are_in_no_fold(grid, tmp_path, write):
    stands = np.ones((grid.height, grid.width), np.int32)
    stands[:, 9:] = 2
    (tmp_path / "t.csv").write_text("standid,set\n1,training\n2,test\n")
    spec = {"stands": {"table": {"file": "t.csv"}}, "require": ["a"], "cells": {"size": 3}}
    labelled = np.ones(stands.shape, dtype=bool)
    labelled[4, 4] = False
    folds = open_folds(
        validate(SplitSpec, spec, source="s"),
        grid=grid, root=tmp_path, stands=stands, labelled=labelled,
    )  # fmt: skip
    assert (folds[3:6, 3:6] == NO_FOLD).all()
    assert (folds[:3, :9] == TRAIN).all()
    assert (folds[:21, 9:15] == TEST).all()
    assert (folds[:, 15:] == NO_FOLD).all()
    assert (folds[21:] == NO_FOLD).all()

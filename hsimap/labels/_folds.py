"""Training, validation and test fold of every pixel."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from hsimap.errors import InputError, UsageError
from hsimap.labels._deal import deal
from hsimap.labels._field_folds import field_folds
from hsimap.labels._raster import BandReader
from hsimap.labels._specs import NO_FOLD, TEST, TRAIN, VALIDATION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Grid
    from hsimap.labels._specs import BlockSplit, CellSplit, SplitSpec, StandSplit, StandTable


def open_folds(
    spec: SplitSpec,
    *,
    grid: Grid,
    root: Path,
    stands: NDArray[np.int32] | None = None,
    labelled: NDArray[np.bool_] | None = None,
    patch: int | None = None,
) -> NDArray[np.uint8]:
    """Return the fold of every pixel of a scene.

    Parameters
    ----------
    spec : SplitSpec
        A raster of codes, a field of features, random blocks, or random stands.
    grid : Grid
        The scene's grid.
    root : Path
        The folder that relative paths start from.
    stands : ndarray, optional
        ``(y, x) int32`` stand ids, 0 = none; needed for a split by stands.
    labelled : ndarray, optional
        ``(y, x)``: True where a pixel carries a label, of all tasks in ``spec.require`` if there
        are any. Shares are counted over these pixels, and blocks or stands without one are in no
        fold; by default all pixels count.
    patch : int, optional
        Side of a training window in pixels, for a buffer that is stated in such.

    Returns
    -------
    ndarray
        ``(y, x) uint8``: 0 no fold, 1 training, 2 validation, 3 test.

    Raises
    ------
    UsageError
        If the file is missing, a split by stands has no stands, or blocks are too small.
    InputError
        If the file lies on another grid, or there are fewer blocks or stands than folds.
    """
    counted = np.ones((grid.height, grid.width), dtype=bool) if labelled is None else labelled
    if spec.blocks is not None and patch is not None:
        spec = spec.model_copy(update={"blocks": spec.blocks.for_patch(patch)})
    folds = _dealt(spec, grid=grid, root=root, stands=stands, counted=counted)
    return finish_folds(folds, spec, counted)


def finish_folds(
    folds: NDArray[np.uint8], spec: SplitSpec, counted: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Take out pixels that lack a required label, and cells that are not whole, as a spec says."""
    if spec.require:
        folds[~counted] = NO_FOLD
    return folds if spec.cells is None else cell_folds(folds, spec.cells)


def _dealt(
    spec: SplitSpec,
    *,
    grid: Grid,
    root: Path,
    stands: NDArray[np.int32] | None,
    counted: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    if spec.raster is not None:
        return _from_raster(spec, grid, root / spec.raster)
    if spec.field is not None:
        return field_folds(spec, grid=grid, root=root)
    if spec.blocks is not None:
        return block_folds(counted, spec.blocks)
    if stands is None or spec.stands is None:
        raise UsageError("a split by stands needs `stands: {raster: ...}` of the scene")
    if spec.stands.table is not None:
        return table_folds(stands, spec.stands.table, root=root)
    return stand_folds(stands, counted, spec.stands)


def _from_raster(spec: SplitSpec, grid: Grid, path: Path) -> NDArray[np.uint8]:
    folds = np.full((grid.height, grid.width), NO_FOLD, np.uint8)
    reader = BandReader(path, spec.band, grid=grid)
    try:
        for window in reader.strips():
            values, valid = reader.read(window)
            for code, fold in spec.codes.items():
                folds[window.slices][valid & (values == code)] = fold
    finally:
        reader.close()
    return folds


def block_folds(labelled: NDArray[np.bool_], split: BlockSplit) -> NDArray[np.uint8]:
    """Deal square blocks out to the folds.

    Blocks are counted from (0, 0); those at the lower and right edge may be cut. Pixels within
    ``buffer`` (chessboard distance) of another fold's block are in no fold, so that more than
    ``2 * buffer`` pixels lie between two folds.

    Parameters
    ----------
    labelled : ndarray
        ``(y, x)``: True where a pixel counts.
    split : BlockSplit
        Size and buffer in pixels, shares, seed.

    Returns
    -------
    ndarray
        ``(y, x) uint8`` fold codes.
    """
    from scipy.ndimage import maximum_filter

    size = split.size
    height, width = labelled.shape
    rows, cols = -(-height // size), -(-width // size)
    block = (np.arange(height) // size)[:, None] * cols + (np.arange(width) // size)[None, :]
    counts = np.bincount(block[labelled], minlength=rows * cols)
    dealt = deal(counts, split.shares, seed=split.seed, what="blocks of labelled pixels")[block]
    folds: NDArray[np.uint8] = dealt.copy()
    if split.buffer == "patch":
        raise UsageError("a buffer of half a patch needs the patch; state it in pixels")
    for fold in (TRAIN, VALIDATION, TEST) if split.buffer else ():
        near = maximum_filter(dealt == fold, size=2 * split.buffer + 1, mode="constant")
        folds[near & (dealt != fold)] = NO_FOLD
    return folds


def stand_folds(
    stands: NDArray[np.int32], labelled: NDArray[np.bool_], split: StandSplit
) -> NDArray[np.uint8]:
    """Deal whole stands out to the folds; pixels outside stands are in none.

    Parameters
    ----------
    stands : ndarray
        ``(y, x) int32`` ids, 0 = none.
    labelled : ndarray
        ``(y, x)``: True where a pixel counts.
    split : StandSplit
        Shares of the counted pixels, seed.

    Returns
    -------
    ndarray
        ``(y, x) uint8`` fold codes.
    """
    return shared_stand_folds([stands], [labelled], split)[0]


def shared_stand_folds(
    stands: Sequence[NDArray[np.int32]], labelled: Sequence[NDArray[np.bool_]], split: StandSplit
) -> list[NDArray[np.uint8]]:
    """Deal the stands of several scenes out together, so that a stand is in one fold in all.

    Parameters
    ----------
    stands, labelled
        As for :func:`stand_folds`, of each scene; the order of the scenes is no matter.
    split : StandSplit
        Shares of the counted pixels of all scenes, seed.

    Returns
    -------
    list of ndarray
        ``(y, x) uint8`` fold codes of each scene.
    """
    ids = np.unique(np.concatenate([np.unique(scene) for scene in stands]))
    places = [np.searchsorted(ids, scene) for scene in stands]
    counts = sum(
        np.bincount(place[counted], minlength=len(ids))
        for place, counted in zip(places, labelled, strict=True)
    )
    counts = np.asarray(counts)
    counts[ids == 0] = 0
    dealt = deal(counts, split.shares, seed=split.seed, what="stands with labelled pixels")
    return [dealt[place] for place in places]


def table_folds(stands: NDArray[np.int32], table: StandTable, *, root: Path) -> NDArray[np.uint8]:
    """Give every stand the fold that a table states; stands that it does not name are in none.

    Parameters
    ----------
    stands : ndarray
        ``(y, x) int32`` ids, 0 = none.
    table : StandTable
        File, columns and the texts of the folds.
    root : Path
        The folder that relative paths start from.

    Returns
    -------
    ndarray
        ``(y, x) uint8`` fold codes.

    Raises
    ------
    UsageError
        If there is no such file or column, or no stand of the table is in a fold.
    InputError
        If an id is no whole number, or is listed in two folds.
    """
    listed = _listed(root / table.file, table)
    if not listed:
        raise UsageError(
            f"{root / table.file}: no line has {table.train!r}, {table.validation!r} or"
            f" {table.test!r} in the column {table.fold!r}; name the texts of the folds"
        )
    ids = np.array(sorted(listed))
    codes = np.array([listed[stand] for stand in ids.tolist()], np.uint8)
    folds = np.full(stands.shape, NO_FOLD, np.uint8)
    for row in range(len(stands)):  # a row at a time: the indices take 8 bytes a pixel
        place = np.searchsorted(ids, stands[row]).clip(max=len(ids) - 1)
        found = (ids[place] == stands[row]) & (stands[row] != 0)
        folds[row, found] = codes[place[found]]
    return folds


def _listed(path: Path, table: StandTable) -> dict[int, int]:
    """Return the fold of every stand that a table puts into one."""
    if not path.is_file():
        raise UsageError(f"table of stands {path} does not exist; check the path and the folder")
    names = {table.train: TRAIN, table.validation: VALIDATION, table.test: TEST}
    listed: dict[int, int] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        for column in (table.id, table.fold):
            if column not in (rows.fieldnames or ()):
                has = ", ".join(rows.fieldnames or ()) or "none"
                raise UsageError(f"{path} has no column {column!r}; it has {has}")
        for row in rows:
            fold, text = names.get(row[table.fold]), row[table.id].strip()
            if fold is None:
                continue
            if not text.isdecimal():
                raise InputError(f"{path}: the stand id {text!r} is no whole number")
            if listed.setdefault(int(text), fold) != fold:
                raise InputError(f"{path}: stand {text} is listed in two folds")
    return listed


def cell_folds(folds: NDArray[np.uint8], split: CellSplit) -> NDArray[np.uint8]:
    """Keep the square cells that lie in one fold as a whole, and deal some out for validation.

    Parameters
    ----------
    folds : ndarray
        ``(y, x) uint8`` fold codes.
    split : CellSplit
        Size in pixels, share of the training cells for validation, seed.

    Returns
    -------
    ndarray
        ``(y, x) uint8`` fold codes; pixels outside whole cells are in no fold.
    """
    size = split.size
    rows, cols = folds.shape[0] // size, folds.shape[1] // size
    cells = folds[: rows * size, : cols * size].reshape(rows, size, cols, size)
    low, high = cells.min(axis=(1, 3)), cells.max(axis=(1, 3))
    fold: NDArray[np.uint8] = np.where(low == high, low, np.uint8(NO_FOLD))
    training = np.flatnonzero(fold == TRAIN)
    n = round(split.validation * len(training))
    chosen = np.random.default_rng(split.seed).permutation(training)[:n]
    fold.reshape(-1)[chosen] = VALIDATION
    kept = np.full(folds.shape, NO_FOLD, np.uint8)
    kept[: rows * size, : cols * size] = fold.repeat(size, axis=0).repeat(size, axis=1)
    return kept

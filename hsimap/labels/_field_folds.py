"""Folds by a field of vector features."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import shapely

from hsimap.errors import UsageError
from hsimap.labels._deal import deal
from hsimap.labels._features import read_features, read_table
from hsimap.labels._specs import NO_FOLD
from hsimap.labels._vector import VectorBand

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Grid
    from hsimap.labels._specs import SplitSpec

_LISTED: Final = 8


def field_folds(spec: SplitSpec, *, grid: Grid, root: Path) -> NDArray[np.uint8]:
    """Return the fold of each pixel by a field of vector features.

    Where the field is dealt out, the units are its values over the whole file, in sorted order,
    and count by the area of their features: every scene that is asked with the same file, field,
    shares and seed gets the same folds.

    Parameters
    ----------
    spec : SplitSpec
        With ``vector`` and ``field``.
    grid : Grid
        The scene's grid.
    root : Path
        The folder that relative paths start from.

    Returns
    -------
    ndarray
        ``(y, x) uint8`` fold codes; a pixel outside all features is in none.
    """
    if spec.vector is None:
        raise UsageError(
            f"a split by field {spec.field!r} needs `vector:`, as labels and stands name no single"
            " vector file"
        )
    path = root / spec.vector
    features = read_features(
        path, grid=grid, field=spec.field, layer=spec.layer, buffer=spec.buffer
    )
    known = spec.codes if spec.shares is None else _dealt_values(spec, path)
    held = [_plain(value) for value in features.values]
    units = sorted({value for value in held if value is not None}, key=_order)
    folds = np.array([known.get(unit, NO_FOLD) for unit in units], np.uint8)
    if spec.shares is None and not folds.any():
        named = ", ".join(map(repr, units[:_LISTED]))
        raise UsageError(
            f"{path}: no feature's {spec.field!r} is a code of a fold ({named}); name them with"
            " train, validation and test"
        )
    # Pixels are given to values, as labels and stands are, and values to folds: a pixel on the
    # border of three stands goes with the one that has most of it.
    numbers = np.array([-1 if value is None else units.index(value) for value in held], np.int64)
    band = VectorBand(
        replace(features, values=numbers), grid=grid, rule=spec.rule, min_coverage=spec.min_coverage
    )
    found: NDArray[np.uint8] = np.full((grid.height, grid.width), NO_FOLD, np.uint8)
    for window in band.strips():
        values, valid = band.read(window)
        found[window.slices][valid] = folds[values[valid]]
    return found


def _order(value: float | str) -> tuple[str, float | str]:
    """Sort numbers before texts."""
    return ("text", value) if isinstance(value, str) else ("number", value)


def _dealt_values(spec: SplitSpec, path: Path) -> dict[int | str, int]:
    """Deal the values of a field out to the folds, by the area of their features."""
    table = read_table(path, layer=spec.layer)
    held = [_plain(value) for value in table.fields[str(spec.field)]]
    area = np.maximum(shapely.area(table.shapes), 0.0)
    area[~(area > 0)] = 1.0 if not (area > 0).any() else float(area[area > 0].min())
    units = sorted({value for value in held if value is not None}, key=_order)
    place = {value: k for k, value in enumerate(units)}
    weights = np.zeros(len(units))
    for value, size in zip(held, area, strict=True):
        if value is not None:
            weights[place[value]] += size
    what = f"values of {spec.field!r}"
    dealt = deal(weights, spec.shares or (1.0, 0.0, 0.0), seed=spec.seed, what=what)
    return dict(zip(units, dealt.tolist(), strict=True))


def _plain(value: object) -> int | str | None:
    """Return a field's value as a code: a whole number or a text; None = there is none."""
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return None
    if isinstance(value, int | float | np.number) and float(value) == int(value):
        return int(value)
    return str(value)

"""How far the labels of a scene lie beside its image, as the spectra tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.evaluation._fold import labelled
from hsimap.evaluation._surroundings import MARGIN, labelled_cells, neighbourhoods
from hsimap.mapping.displaced import cubic_taps
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.evaluation._fold import FoldScene
    from hsimap.tasks import Task

_REACH: Final = MARGIN - 2
"""Pixels that are searched on each side; cubic convolution looks two farther."""
_STEPS: Final = np.array([(r, c) for r in range(-3, 4) for c in range(-3, 4)]) / 3
"""``(n, 2)`` pixels: where a paraboloid is fitted, around the best whole pixel and then around its
peak, since the surface is even about that."""
_ROUNDS: Final = 3
_FEWEST_PIXELS: Final = 100
_PARTS: Final = 10
"""Parts of the cross-validation; what is left out one by one for the standard error."""
_FEWEST_BLOCKS: Final = 2 * _PARTS
_RIDGE: Final = 1.0
"""Of components with unit variance: as one more pixel in each direction would weigh."""
_SURE: Final = 3.0
"""Standard errors that an offset is told from none by."""
_ROUGH: Final = 0.25
"""Standard error in pixels above which nothing is told: labels are alike for many pixels around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelOffset:
    """Where the labels of a scene lie."""

    scene: str
    offset: tuple[float, float]
    """``(rows, cols)``: below and to the right of the image, in pixels."""
    standard_error: tuple[float, float]
    """Of both, jackknife over the parts of the cross-validation."""
    explained: tuple[float, float]
    """Share of the labels' variance that spectra explain, as they are and moved by the offset."""
    pixels: int

    @property
    def is_sure(self) -> bool:
        """Whether there is an offset, of more than three standard errors in rows or columns.

        They are below a quarter of a pixel then, in both.
        """
        pairs = zip(self.offset, self.standard_error, strict=True)
        beside = any(abs(part) > _SURE * error for part, error in pairs)
        return beside and max(self.standard_error) <= _ROUGH

    @property
    def setting(self) -> str:
        """What to write into the recipe; empty where no offset is told."""
        rows, cols = self.offset
        return f"label_offset: [{rows:.2f}, {cols:.2f}]" if self.is_sure else ""

    @property
    def verdict(self) -> str:
        """Return one sentence, and what to write into the recipe where there is an offset."""
        (rows, cols), (d_rows, d_cols) = self.offset, self.standard_error
        there = f"{rows:+.2f} ± {d_rows:.2f} px down, {cols:+.2f} ± {d_cols:.2f} px right"
        if not self.is_sure:
            return f"{self.pixels} pixels do not tell labels from ones on the image: {there}"
        as_is, moved = self.explained
        return (
            f"the labels lie beside the image: {there}; spectra explain {100 * as_is:.1f} % of them"
            f" as they are, {100 * moved:.1f} % moved: `{self.setting}`"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "rows_cols_px": list(self.offset),
            "standard_error_px": list(self.standard_error),
            "explained_as_is": self.explained[0],
            "explained_moved": self.explained[1],
            "pixels": self.pixels,
        }


def label_offset(scene: FoldScene, tasks: Sequence[Task]) -> LabelOffset | None:
    """Find where the labels of a scene lie from how well its spectra explain them.

    A ridge regression of principal components predicts the labels of the training and validation
    folds, blocks of them left out in turn, with the image moved by whole pixels and then by
    thirds around the best; a paraboloid fitted to the shares of the variance that are explained
    has its peak at the offset. The test fold is not looked at. Labels of the folds of a scene that
    was moved already (``label_offset`` of its recipe) are measured from there.

    Parameters
    ----------
    scene : FoldScene
        Image, labels and folds.
    tasks : sequence of Task
        Categorical ones count as a value 0 or 1 for each class.

    Returns
    -------
    LabelOffset or None
        None with fewer than 100 labelled pixels whose surroundings are valid or 20 blocks of them,
        or where no place within two pixels explains more than those around it.
    """
    cells = labelled_cells(scene, tasks)
    blocks = np.concatenate([cell.blocks for cell in cells]) if cells else np.zeros(0, np.int64)
    if len(blocks) < _FEWEST_PIXELS or len(np.unique(blocks)) < _FEWEST_BLOCKS:
        return None
    around = neighbourhoods(cells)
    labels = [
        _columns(task, np.concatenate([cell.targets[task.name] for cell in cells]))
        for task in tasks
    ]
    fit = _Fit([values for values in labels if np.isfinite(values).any()], _parts(blocks))
    found = _search(fit, around)
    if found is None:
        return None
    (rows, cols), error = found
    return LabelOffset(
        scene=scene.name,
        offset=(rows, cols),
        standard_error=error,
        explained=(
            float(fit.explained(_moved(around, (0, 0)))[0]),
            float(fit.explained(_moved(around, (rows, cols)))[0]),
        ),
        pixels=len(blocks),
    )


def _search(
    fit: _Fit, around: NDArray[np.float32]
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Return the offset that explains most and its standard error; None if nothing is explained."""
    whole = [(r, c) for r in range(-_REACH, _REACH + 1) for c in range(-_REACH, _REACH + 1)]
    best = max(whole, key=lambda offset: fit.explained(_moved(around, offset))[0])
    peaks = np.array([best], dtype=np.float64)
    for _ in range(_ROUNDS):
        places = peaks[0].clip(1 - _REACH, _REACH - 1) + _STEPS
        surface = np.array([fit.explained(_moved(around, (r, c))) for r, c in places])
        peaks = _peaks(places, surface)
        if surface[:, 0].max() <= 0 or not np.isfinite(peaks).all():
            return None
    rows, cols = peaks[0].tolist()
    left_out = peaks[1:] - peaks[1:].mean(axis=0)
    error = np.sqrt((_PARTS - 1) / _PARTS * (left_out**2).sum(axis=0))
    return (rows, cols), (float(error[0]), float(error[1]))


def _moved(around: NDArray[np.float32], offset: tuple[float, float]) -> NDArray[np.float64]:
    """Return ``(n, component)`` of pixels in an image moved by an offset."""
    (row, rows), (col, cols) = (cubic_taps(part) for part in offset)
    row, col = row + MARGIN, col + MARGIN
    taken = around[:, :, row : row + len(rows), col : col + len(cols)]
    moved: NDArray[np.float64] = np.einsum("nkyx,y,x->nk", taken, rows, cols, optimize=True)
    return moved


def _columns(task: Task, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return ``(n, column)``: a value, or 0 and 1 for each class; NaN where there is no label."""
    known = labelled(task, values)[:, None]
    if task.kind is Kind.CATEGORICAL:
        return np.where(known, values[:, None] == np.arange(task.channels), np.nan)
    return values[:, None].astype(np.float64)


def _parts(blocks: NDArray[np.int64]) -> NDArray[np.intp]:
    """Deal blocks into parts; return ``(n,)`` the part of each pixel."""
    numbers, block = np.unique(blocks, return_inverse=True)
    dealt = np.random.default_rng(0).permutation(np.arange(len(numbers)) % _PARTS)
    return dealt[block]


class _Fit:
    """Cross-validated ridge regressions of the same labels on other features."""

    def __init__(self, labels: Sequence[NDArray[np.float64]], parts: NDArray[np.intp]) -> None:
        self._labels = []
        for values in labels:
            known = np.isfinite(values[:, 0])
            members = [parts[known] == part for part in range(_PARTS)]
            start = _errors_of_means(values[known], members)
            self._labels.append((values[known], known, members, start))

    def explained(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``(1 + part,)`` shares of variance, means over tasks: of all, and without each."""
        design = np.column_stack([features, np.ones(len(features))])
        tasks = []
        for values, known, members, start in self._labels:
            left = _errors(design[known], values, members)
            tasks.append(
                1 - (left.sum() - np.append(0, left)) / (start.sum() - np.append(0, start))
            )
        shares: NDArray[np.float64] = np.mean(tasks, axis=0)
        return shares


def _errors(
    design: NDArray[np.float64],
    values: NDArray[np.float64],
    members: Sequence[NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Return ``(part,)`` squared errors of a regression on the other parts."""
    grams = np.array([design[own].T @ design[own] for own in members])
    sides = np.array([design[own].T @ values[own] for own in members])
    ridge = _RIDGE * np.diag(np.append(np.ones(design.shape[1] - 1), 0.0))
    left = np.zeros(_PARTS)
    for part, own in enumerate(members):
        gram, side = grams.sum(axis=0) - grams[part], sides.sum(axis=0) - sides[part]
        solved = np.linalg.lstsq(gram + ridge, side, rcond=None)[0]
        left[part] = ((design[own] @ solved - values[own]) ** 2).sum()
    return left


def _errors_of_means(
    values: NDArray[np.float64], members: Sequence[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Return ``(part,)`` squared errors of the mean of the other parts."""
    means = [values[~own].sum(axis=0) / max((~own).sum(), 1) for own in members]
    return np.array(
        [((values[own] - mean) ** 2).sum() for own, mean in zip(members, means, strict=True)]
    )


def _peaks(places: NDArray[np.float64], surface: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where paraboloids fitted to heights are highest; NaN where not among the places.

    Between pixels the interpolation takes noise away, and spectra explain more wherever the labels
    lie; the share of the noise that is left is fitted, too, and is no part of the paraboloid.

    Parameters
    ----------
    places : ndarray
        ``(place, 2)`` rows and columns.
    surface : ndarray
        ``(place, column)`` heights.

    Returns
    -------
    ndarray
        ``(column, 2)``
    """
    centre, low, high = places.mean(axis=0), places.min(axis=0), places.max(axis=0)
    y, x = (places - centre).T
    noise = np.array([np.prod([(cubic_taps(part)[1] ** 2).sum() for part in p]) for p in places])
    terms = np.column_stack([np.ones_like(y), y, x, y * y, x * x, x * y, noise])
    fitted = np.linalg.lstsq(terms, surface, rcond=None)[0]
    peaks = np.full((surface.shape[1], 2), np.nan)
    for peak, (_, b, c, d, e, f, _) in zip(peaks, fitted.T, strict=True):
        curvature = np.array([[2 * d, f], [f, 2 * e]])
        if np.linalg.eigvalsh(curvature)[-1] < 0:
            top = centre - np.linalg.solve(curvature, np.array([b, c]))
            if (top >= low).all() and (top <= high).all():
                peak[:] = top
    return peaks

"""From what several lines say of a window to what the mosaic says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.flightlines._agreement import Seen, Sums, compare
from hsimap.flightlines._grid import positions
from hsimap.flightlines._sample import sample_all
from hsimap.tasks import CLASS_NODATA, PROBABILITY_NODATA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.flightlines._lines import FilePool, MappedLine, Variable
    from hsimap.flightlines._weights import Method, Weight
    from hsimap.geometry import Grid, Window

    Bits = dict[str, NDArray[np.generic]]
SOURCE: Final = "source_line"
COUNT: Final = "n_obs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one line gives to a window."""

    line: int
    """Its number, from 0 on."""
    weight: NDArray[np.float64]
    """``(y, x)``."""
    values: dict[str, NDArray[np.float64]]
    """Variable to ``(band, y, x)``: stored probabilities, or values."""
    own: dict[str, NDArray[np.float64]]
    """Variable to ``(y, x)``: the line's own codes, or its values."""
    valid: dict[str, NDArray[np.bool_]]
    """Variable to ``(y, x)``."""

    @property
    def seen(self) -> NDArray[np.bool_]:
        """``(y, x)``: any variable is valid."""
        seen: NDArray[np.bool_] = np.any(list(self.valid.values()), axis=0)
        return seen


def read_part(
    number: int,
    line: MappedLine,
    variables: Sequence[Variable],
    *,
    weight: Weight,
    pool: FilePool,
    place: tuple[Window, Grid],
) -> Part | None:
    """Read what a line gives to a window of a grid; None where it gives nothing."""
    window, grid = place
    maps = [pool.get(line.folder / f"{v.blended}.tif") for v in variables]
    at = positions(window, grid, maps[0].grid)
    found = sample_all(maps, at)
    values = {v.name: numbers for v, (numbers, _) in zip(variables, found, strict=True)}
    valid = {v.name: mask for v, (_, mask) in zip(variables, found, strict=True)}
    own = {name: numbers[0] for name, numbers in values.items()}
    classes = [v.name for v in variables if v.is_classes]
    if classes:
        codes = [pool.get(line.folder / f"{name}.tif") for name in classes]
        taken = sample_all(codes, at, nearest=True)
        own |= {name: numbers[0] for name, (numbers, _) in zip(classes, taken, strict=True)}
    if not any(mask.any() for mask in valid.values()):
        return None
    return Part(line=number, weight=weight.at(window, grid), values=values, own=own, valid=valid)


def blend(
    parts: Sequence[Part], variables: Sequence[Variable], method: Method, *, shape: tuple[int, int]
) -> Bits:
    """Put the parts of a window together; see :class:`Method`.

    Returns
    -------
    dict
        Map name to ``(band, y, x)`` of its dtype.
    """
    out: Bits = {}
    for variable in variables:
        mean, first, valid = _mean(parts, variable, method, shape)
        if not variable.is_classes:
            out[variable.name] = np.where(valid, mean, np.nan).astype(np.float32)
            continue
        shares = np.where(valid, np.rint(mean), PROBABILITY_NODATA).astype(np.uint16)
        out[variable.blended] = shares
        out[variable.name] = _codes(variable, mean, first, valid)[None]
    return out


def _mean(
    parts: Sequence[Part], variable: Variable, method: Method, shape: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return the weighted mean, the own answer of the line that counts most, and the validity.

    Sums go in the order of the lines' names, so that the order they were given in is no matter.
    """
    name = variable.name
    total = np.zeros((len(variable.bands), *shape))
    weights, first = np.zeros(shape), np.zeros(shape)
    best, taken = np.full(shape, -np.inf), np.zeros(shape, dtype=bool)
    for part in parts:
        valid = part.valid[name]
        ahead = valid & (~taken | (part.weight > best))
        if method.is_mean:
            weight = np.where(valid, part.weight, 0.0)
            total += part.values[name] * weight
            weights += weight
        else:
            np.copyto(total, part.values[name], where=ahead)
        np.copyto(first, part.own[name], where=ahead)
        np.copyto(best, part.weight, where=ahead)
        taken |= valid
    if method.is_mean:
        total /= np.where(taken, weights, 1.0)
    return total, first, taken


def _codes(
    variable: Variable,
    mean: NDArray[np.float64],
    first: NDArray[np.float64],
    valid: NDArray[np.bool_],
) -> NDArray[np.uint8]:
    """Return the class of the highest mean probability.

    Stored probabilities are rounded; where that makes two classes equal, the line that counts most
    decides.
    """
    top = mean.max(axis=0)
    codes: NDArray[np.uint8] = variable.task.codes[mean.argmax(axis=0)]
    for channel, code in enumerate(variable.task.codes):
        codes[(mean[channel] == top) & (first == code)] = code
    codes[~valid] = CLASS_NODATA
    return codes


def sources(parts: Sequence[Part], *, shape: tuple[int, int]) -> Bits:
    """Return the line that counts most, from 1 on, and how many lines see each pixel."""
    best, source = np.full(shape, -np.inf), np.zeros(shape, dtype=np.uint8)
    count = np.zeros(shape, dtype=np.uint8)
    for part in parts:
        seen = part.seen
        ahead = seen & ((count == 0) | (part.weight > best))
        source[ahead] = part.line + 1
        np.copyto(best, part.weight, where=ahead)
        count += seen
    nothing = count == 0
    source[nothing] = CLASS_NODATA
    count[nothing] = CLASS_NODATA
    return {SOURCE: source[None], COUNT: count[None]}


def flags_of(
    parts: Sequence[Part],
    lines: Sequence[MappedLine],
    *,
    source: NDArray[np.generic],
    pool: FilePool,
    place: tuple[Window, Grid],
) -> NDArray[np.uint8]:
    """Return ``(y, x)`` flags of the line that each pixel is taken from; 255 where there is none.

    Parameters
    ----------
    parts : sequence of Part
        What the lines give to the window.
    lines : sequence of MappedLine
        All lines, by their numbers.
    source : ndarray
        ``(y, x)`` the line that counts most, from 1 on, as :func:`sources` tells.
    pool : FilePool
        Opens the maps.
    place : tuple
        The window, and its grid.
    """
    out = np.full(source.shape, CLASS_NODATA, dtype=np.uint8)
    for part in parts:
        layer = lines[part.line].flags
        if layer is None:
            continue
        raster = pool.get(lines[part.line].folder / f"{layer.name}.tif")
        values, valid = sample_all([raster], positions(*place, raster.grid), nearest=True)[0]
        here = (source == part.line + 1) & valid
        out[here] = values[0][here].astype(np.uint8)
    return out


def agreements(
    parts: Sequence[Part], variables: Sequence[Variable], sums: Sums, *, shape: tuple[int, int]
) -> dict[str, NDArray[np.float32]]:
    """Return how far the lines agree, variable to ``(y, x) float32``; the counts go to ``sums``."""
    if len(parts) < 2:  # noqa: PLR2004  # one line alone says nothing
        return {v.name: np.full(shape, np.nan, dtype=np.float32) for v in variables}
    return {
        variable.name: compare(
            variable,
            [Seen(p.line, p.own[variable.name], p.valid[variable.name]) for p in parts],
            sums,
        )
        for variable in variables
    }

"""What the maps say of each stand: means, spreads, shares of classes, and on how many pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from hsimap.errors import InputError
from hsimap.geometry import Window
from hsimap.labels import coverage
from hsimap.products import MapReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.geometry import Grid
    from hsimap.products import Layer, MapFolder

_BLOCK: Final = 512
_SAME: Final = 1e-6
"""Pixels; counts that differ by less are equal."""


def stand_statistics(
    maps: MapFolder, shapes: NDArray[Any], *, grid: Grid
) -> dict[str, NDArray[Any]]:
    """Return statistics of every map over every stand, block by block.

    A pixel counts with the share of it that the stand covers, so that stands of a few pixels are
    right too; pixels without data do not count. The spread is that of the pixels' values about
    their mean, each with its weight.

    Parameters
    ----------
    maps : MapFolder
        The maps; probabilities are left out.
    shapes : ndarray
        ``(stand,)`` polygons and points in (column, row) of ``grid``; they may overlap.
    grid : Grid
        What the shapes are drawn on; maps of another pixel size are reached through its transform.

    Returns
    -------
    dict
        ``(stand,)`` columns: ``n`` in finest pixels; of values ``<map>_mean`` and ``<map>_std``; of
        classes ``<map>``, the largest one's name, and ``<map>_<code>``, each share; of flags
        ``<map>_<mask>``, the share where each is set. Where a map has data on fewer pixels than
        ``n``, its own count ``<map>_n`` as well. A stand without data has NaN and ``""``.

    Raises
    ------
    InputError
        If no stand lies on the maps, or a map cannot be read.
    """
    wanted = [layer for layer in maps.layers if layer.kind != "probabilities"]
    tallies = {layer.name: _tally(layer, shapes.size) for layer in wanted}
    for place in dict.fromkeys(layer.grid for layer in wanted):
        here = [layer for layer in wanted if layer.grid == place]
        readers = [MapReader(maps, layer) for layer in here]
        try:
            for window, entries in _blocks(_on(shapes, grid, place), place):
                for layer, reader in zip(here, readers, strict=True):
                    values = reader.read(window)
                    tallies[layer.name].add(values[0], reader.valid(values)[0], entries)
        finally:
            for reader in readers:
                reader.close()
    return _columns(wanted, tallies, maps)


def _columns(
    layers: Sequence[Layer], tallies: dict[str, _Moments | _Counts], maps: MapFolder
) -> dict[str, NDArray[Any]]:
    areas = {layer.name: layer.grid.pixel_area for layer in layers}
    finest = min(areas.values())
    counts = {name: tally.weight * (areas[name] / finest) for name, tally in tallies.items()}
    most = np.max([counts[name] for name, area in areas.items() if area == finest], axis=0)
    if not any((count > 0).any() for count in counts.values()):
        raise InputError(
            f"no stand lies on valid pixels of {maps.path}; check the coordinate reference system"
        )
    columns: dict[str, NDArray[Any]] = {"n": most}
    for name, tally in tallies.items():
        columns |= tally.columns(name)
        if (np.abs(counts[name] - most) > _SAME * np.maximum(most, 1)).any():
            columns[f"{name}_n"] = counts[name]
    return columns


_Entries = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.float64]"]


def _blocks(shapes: NDArray[Any], grid: Grid) -> Iterator[tuple[Window, _Entries]]:
    """Yield the blocks of a map that hold a part of a stand, and which share is in which pixel."""
    tree = shapely.STRtree(shapes)
    for row in range(0, grid.height, _BLOCK):
        for col in range(0, grid.width, _BLOCK):
            window = Window(row=row, col=col, height=_BLOCK, width=_BLOCK)
            window = window.clip(height=grid.height, width=grid.width)
            box = shapely.box(col, row, col + window.width, row + window.height)
            near = np.sort(tree.query(box))
            if near.size:
                feature, pixel, share = coverage(shapes[near], window)
                yield window, (near[feature], pixel, share)


def _on(shapes: NDArray[Any], grid: Grid, other: Grid) -> NDArray[Any]:
    """Bring shapes from the pixels of one grid to those of another."""
    change = ~other.transform @ grid.transform
    if grid == other:
        return shapes
    moved: NDArray[Any] = shapely.transform(
        shapes,
        lambda xy: np.stack(
            [
                change.a * xy[:, 0] + change.b * xy[:, 1] + change.c,
                change.d * xy[:, 0] + change.e * xy[:, 1] + change.f,
            ],
            axis=1,
        ),
    )
    return moved


def _tally(layer: Layer, n_stands: int) -> _Moments | _Counts:
    return _Moments(n_stands) if layer.kind == "values" else _Counts(layer, n_stands)


class _Moments:
    """Weight, mean and weighted squares of each stand, merged block by block.

    After Chan, Golub and LeVeque (1979), eq. 2.1, with weights in place of counts.
    """

    def __init__(self, n_stands: int) -> None:
        self.weight = np.zeros(n_stands)
        self._mean = np.zeros(n_stands)
        self._squares = np.zeros(n_stands)

    def add(self, values: NDArray[np.generic], valid: NDArray[np.bool_], entries: _Entries) -> None:
        """Take in ``(y, x)`` values of a block."""
        stand, x, w = _known(values, valid, entries)
        n = self.weight.size
        weight = np.bincount(stand, w, n)
        total = np.maximum(weight, np.finfo(float).tiny)
        mean = np.bincount(stand, w * x, n) / total
        squares = np.bincount(stand, w * (x - mean[stand]) ** 2, n)
        both = self.weight + weight
        share = weight / np.maximum(both, np.finfo(float).tiny)
        gap = mean - self._mean
        self._squares += squares + gap**2 * self.weight * share
        self._mean += gap * share
        self.weight = both

    def columns(self, name: str) -> dict[str, NDArray[Any]]:
        """Return mean and spread; NaN where there is no data."""
        some = self.weight > 0
        weight = np.where(some, self.weight, 1.0)
        return {
            f"{name}_mean": np.where(some, self._mean, np.nan),
            f"{name}_std": np.where(some, np.sqrt(self._squares / weight), np.nan),
        }


class _Counts:
    """Weight of each code in each stand."""

    def __init__(self, layer: Layer, n_stands: int) -> None:
        self._layer = layer
        self._by_code = np.zeros((n_stands, 256))

    @property
    def weight(self) -> NDArray[np.float64]:
        """``(stand,)`` pixels with data."""
        total: NDArray[np.float64] = self._by_code.sum(axis=1)
        return total

    def add(self, values: NDArray[np.generic], valid: NDArray[np.bool_], entries: _Entries) -> None:
        """Take in ``(y, x)`` codes of a block."""
        stand, code, w = _known(values, valid, entries)
        np.add.at(self._by_code, (stand, code.astype(np.int64)), w)

    def columns(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the largest class and the share of each; of flags the share where each is set."""
        weight = self.weight
        some = np.where(weight > 0, weight, np.nan)
        classes = self._layer.task.classes
        if self._layer.kind == "flags":
            codes = np.arange(256)
            return {
                f"{name}_{c.code}": self._by_code[:, codes & c.code > 0].sum(axis=1) / some
                for c in classes
            }
        shares = {c.code: self._by_code[:, c.code] / some for c in classes}
        largest = self._by_code[:, [c.code for c in classes]].argmax(axis=1)
        names = np.array([c.name for c in classes], dtype=object)[largest]
        top = {name: np.where(weight > 0, names, "")}
        return top | {f"{name}_{code}": share for code, share in shares.items()}


def _known(
    values: NDArray[np.generic], valid: NDArray[np.bool_], entries: _Entries
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return stand, value and weight of each entry that has data."""
    stand, pixel, share = entries
    known = valid.ravel()[pixel]
    return stand[known], values.ravel()[pixel[known]].astype(np.float64), share[known]

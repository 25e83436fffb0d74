"""A labelled scene and its folds; the one door through which training sees labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from hsimap.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from hsimap.mapping.adapter import Source

_NO_CLASS: Final = -1
_MOST_POSITIONS: Final = 1_000_000
"""Patches overlap, so that a thinned set of centres loses nothing."""
_MOST_ROWS: Final = 1024
_MOST_PIXELS: Final = 1 << 22
"""Of the labels that are read at once."""
Context = Literal["share", "mask"]


class LabelReader(Protocol):
    """Labels of one task on a scene's grid; :class:`hsimap.labels.Labels` is one."""

    def read(self, window: Window) -> NDArray[Any]:
        """Return ``(y, x)``: int64 channel index, -1 = none; or float32 value, NaN = none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScene:
    """One scene of a recipe."""

    name: str
    source: Source
    """Its pixels, in the bands and units of the model."""
    labels: Mapping[str, LabelReader] = field(repr=False)
    """By task name. Read through :meth:`view` only, which hides the labels of other folds."""
    folds: NDArray[np.uint8] = field(repr=False)
    """``(y, x)``: 0 none, 1 training, 2 validation, 3 test."""
    context: Context
    """Whether a window of one fold shares the pixels of the others or has them invalid."""
    block: int = 10
    """Side in pixels of the squares that standard errors are resampled over."""
    stands: NDArray[np.int32] | None = field(default=None, repr=False)
    """``(y, x)``: stand id, 0 = none."""

    def view(self, fold: int) -> FoldView:
        """Return what one fold may see."""
        return FoldView(self, fold)


class FoldView:
    """The pixels and the labels that one fold of a scene may see.

    Labels of other folds come out as "no label". With ``context: mask`` the pixels of other folds
    come out as invalid; pixels of no fold are shown to all.

    Parameters
    ----------
    scene : LabelledScene
        The scene.
    fold : int
        1 training, 2 validation, 3 test.
    """

    def __init__(self, scene: LabelledScene, fold: int) -> None:
        self._scene, self._fold = scene, fold
        self.shape: tuple[int, int] = (scene.folds.shape[0], scene.folds.shape[1])
        """``(height, width)`` in pixels."""

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values and ``(y, x)`` True = valid and shown."""
        values, valid = self._scene.source.read(window)
        if self._scene.context == "mask":
            valid = valid & ~self.foreign(window)
        return values, valid

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Convert stored values to float32 in the model's storage units."""
        return self._scene.source.to_network(values)

    def targets(self, window: Window) -> dict[str, NDArray[Any]]:
        """Return the labels of this fold by task, ``(y, x)``; -1 or NaN = none."""
        inside = window.clip(height=self.shape[0], width=self.shape[1])
        hidden = self._scene.folds[inside.slices] != self._fold
        local = window.shift(rows=-inside.row, cols=-inside.col)
        local = Window(row=local.row, col=local.col, height=window.height, width=window.width)
        targets = {}
        for task, labels in self._scene.labels.items():
            values = labels.read(inside)
            none = np.nan if values.dtype.kind == "f" else _NO_CLASS
            shown = np.where(hidden, values.dtype.type(none), values)
            targets[task] = cut(shown, local, fill=none)
        return targets

    def foreign(self, window: Window) -> NDArray[np.bool_]:
        """Return ``(y, x)``: True where a pixel belongs to another fold."""
        folds = cut(self._scene.folds, window, fill=0)
        foreign: NDArray[np.bool_] = (folds != 0) & (folds != self._fold)
        return foreign

    def labelled(self, window: Window) -> NDArray[np.bool_]:
        """Return ``(y, x)``: True where a pixel of this fold carries any label."""
        found = np.zeros((window.height, window.width), dtype=bool)
        for values in self.targets(window).values():
            found |= np.isfinite(values) if values.dtype.kind == "f" else values != _NO_CLASS
        return found

    def positions(self) -> NDArray[np.int32]:
        """Return ``(n, 2)`` row and column of the labelled pixels, evenly thinned if very many.

        Where there are over a million, every second, fourth, ... is taken, so that no more are
        held at any time.
        """
        positions, step, skip = np.zeros((0, 2), dtype=np.int32), 1, 0
        for window in self.windows(max(self.shape)):
            rows, cols = np.nonzero(self.labelled(window))
            found = np.stack([rows + window.row, cols + window.col], axis=1).astype(np.int32)
            positions = np.concatenate([positions, found[skip::step]])
            skip = (skip - len(found)) % step
            while len(positions) > _MOST_POSITIONS:
                # The next one is due after an even number of those that are kept.
                skip += step * (len(positions) % 2)
                positions, step = positions[::2], 2 * step
        return positions

    def windows(self, side: int) -> Iterator[Window]:
        """Yield the cells of a plain grid that hold pixels of the fold.

        A cell is ``side`` wide, and as high unless that is over 1024 rows or 4 million pixels.
        """
        width = min(side, self.shape[1])
        height = max(min(side, _MOST_ROWS, _MOST_PIXELS // width), 1)
        for row in range(0, self.shape[0], height):
            for col in range(0, self.shape[1], side):
                window = Window(row=row, col=col, height=height, width=side)
                window = window.clip(height=self.shape[0], width=self.shape[1])
                if (self._scene.folds[window.slices] == self._fold).any():
                    yield window


def cut(array: NDArray[Any], window: Window, *, fill: float) -> NDArray[Any]:
    """Copy a window of an array whose last axes are ``(y, x)``; outside it is ``fill``."""
    height, width = array.shape[-2:]
    inside = window.clip(height=height, width=width)
    part = array[(..., *inside.slices)]
    if part.shape[-2:] == (window.height, window.width):
        return part.copy()
    result = np.full((*array.shape[:-2], window.height, window.width), fill, dtype=array.dtype)
    place = inside.shift(rows=-window.row, cols=-window.col)
    if not inside.is_empty:
        result[(..., *place.slices)] = part
    return result

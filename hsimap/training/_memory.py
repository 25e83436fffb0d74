"""Pixels and labels of small scenes, read once and kept where worker processes see them too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from hsimap.training._folds import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.geometry import Grid, Window
    from hsimap.mapping.adapter import SceneAdapter, Source
    from hsimap.training._folds import LabelReader

_GIB: Final = 1 << 30
_LABEL_BYTES: Final = 4
"""Of a kept label, at most."""


class Shared:
    """An array that goes to other processes as shared memory and not as a copy.

    Parameters
    ----------
    array : ndarray
        Any plain array.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self._bytes: torch.Tensor | None = None

    def __getstate__(self) -> tuple[torch.Tensor, np.dtype[Any], tuple[int, ...]]:
        """Move the array to shared memory when it is first sent."""
        dtype, shape = self.array.dtype, self.array.shape
        if self._bytes is None:
            # As bytes: torch knows fewer types than numpy.
            flat = torch.from_numpy(np.ascontiguousarray(self.array).reshape(-1).view(np.uint8))
            self._bytes = flat.share_memory_()  # type: ignore[no-untyped-call]
            self.array = flat.numpy().view(dtype).reshape(shape)
        return self._bytes, dtype, shape

    def __setstate__(self, state: tuple[torch.Tensor, np.dtype[Any], tuple[int, ...]]) -> None:
        self._bytes, dtype, shape = state
        self.array = self._bytes.numpy().view(dtype).reshape(shape)


class InMemorySource:
    """A source whose pixels are read once and kept.

    Parameters
    ----------
    source : Source
        Where the pixels come from.
    grid : Grid
        The scene's grid.
    """

    def __init__(self, source: Source, grid: Grid) -> None:
        values, valid = source.read(grid.window)
        self._values, self._valid = Shared(values), Shared(valid)
        self.to_network = source.to_network

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values and ``(y, x)`` True = valid; outside = invalid."""
        values = cut(self._values.array, window, fill=0)
        return values, cut(self._valid.array, window, fill=False)


class InMemoryLabels:
    """Labels that are read once and kept.

    Parameters
    ----------
    labels : LabelReader
        Where they come from.
    grid : Grid
        The scene's grid.
    """

    def __init__(self, labels: LabelReader, grid: Grid) -> None:
        values = labels.read(grid.window)
        self._values = Shared(values if values.dtype.kind == "f" else values.astype(np.int16))

    def read(self, window: Window) -> NDArray[Any]:
        """Return the labels of a window inside the scene, as :class:`LabelReader` says."""
        part = self._values.array[window.slices]
        return part if part.dtype.kind == "f" else part.astype(np.int64)


class Room:
    """The memory that scenes may be kept in; they take from it in the order of the recipe.

    Parameters
    ----------
    gib : float
        In GiB.
    """

    def __init__(self, gib: float) -> None:
        self._left = gib * _GIB

    def take(self, adapter: SceneAdapter, *, n_tasks: int) -> bool:
        """Return whether a scene with its labels fits in, and take its place if so."""
        height, width = adapter.shape
        per_pixel = adapter.n_bands * adapter.itemsize + 1 + _LABEL_BYTES * n_tasks
        needed = height * width * per_pixel
        fits = needed <= self._left
        if fits:
            self._left -= needed
        return fits

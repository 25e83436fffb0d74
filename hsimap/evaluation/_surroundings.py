"""Labelled pixels of a scene and the image around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hsimap.evaluation._fold import labelled
from hsimap.evaluation._tasks import square_blocks
from hsimap.geometry import Window
from hsimap.labels import TRAIN, VALIDATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.evaluation._fold import Fold, FoldScene
    from hsimap.tasks import Task

MARGIN: Final = 4
"""Pixels that are kept around a labelled one."""
_SIDE: Final = 2 * MARGIN + 1
_WINDOW: Final = 64
_MOST_WINDOWS: Final = 256
_MOST_OF_WINDOW: Final = 500
_MOST_PIXELS: Final = 6000
_COMPONENTS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Labelled pixels of a window, whose surroundings are valid."""

    view: Fold
    wide: Window
    """The window and what lies around it."""
    places: tuple[NDArray[np.intp], NDArray[np.intp]]
    """Row and column in the window."""
    spectra: NDArray[np.float64]
    """``(n, band)``"""
    targets: Mapping[str, NDArray[Any]]
    """Task to ``(n,)`` labels."""
    blocks: NDArray[np.int64]
    """``(n,)``"""

    def image(self) -> NDArray[np.float32]:
        """Return ``(band, y, x)`` of the wide window; 0 where not valid."""
        return _read(self.view, self.wide)[0]


def labelled_cells(scene: FoldScene, tasks: Sequence[Task]) -> list[Cell]:
    """Return labelled pixels of both folds, of windows in any order until there are enough."""
    blocks = square_blocks((scene.folds.shape[0], scene.folds.shape[1]), size=scene.block)
    views = [scene.view(fold) for fold in (TRAIN, VALIDATION)]
    windows = [(view, window) for view in views for window in view.windows(_WINDOW)]
    rng = np.random.default_rng(0)
    cells, n = list[Cell](), 0
    for view, window in (windows[k] for k in rng.permutation(len(windows))[:_MOST_WINDOWS]):
        if n < _MOST_PIXELS:
            cells.append(_cell(view, window, tasks, blocks[window.slices], rng))
            n += len(cells[-1].blocks)
    return [cell for cell in cells if len(cell.blocks)]


def _cell(
    view: Fold,
    window: Window,
    tasks: Sequence[Task],
    blocks: NDArray[np.int64],
    rng: np.random.Generator,
) -> Cell:
    wide = Window(
        row=window.row - MARGIN,
        col=window.col - MARGIN,
        height=window.height + 2 * MARGIN,
        width=window.width + 2 * MARGIN,
    )
    image, valid = _read(view, wide)
    targets = view.targets(window)
    known = np.any([labelled(task, targets[task.name]) for task in tasks], axis=0)
    clear = sliding_window_view(valid, (_SIDE, _SIDE)).all(axis=(2, 3))
    found = np.flatnonzero(known & clear)
    found = np.sort(rng.permutation(found)[:_MOST_OF_WINDOW])
    rows, cols = np.unravel_index(found, clear.shape)
    return Cell(
        view=view,
        wide=wide,
        places=(rows, cols),
        spectra=image[:, rows + MARGIN, cols + MARGIN].T.astype(np.float64),
        targets={task.name: targets[task.name][rows, cols] for task in tasks},
        blocks=blocks[rows, cols],
    )


def neighbourhoods(cells: Sequence[Cell]) -> NDArray[np.float32]:
    """Return ``(n, component, y, x)``: principal components with unit variance around pixels."""
    spectra = np.concatenate([cell.spectra for cell in cells])
    mean, spread = spectra.mean(axis=0), spectra.std(axis=0)
    scale = 1 / np.where(spread > 0, spread, np.inf)
    covariance = np.atleast_2d(np.cov(((spectra - mean) * scale).T))
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(values[-1], 1) * np.finfo(np.float32).eps
    axes = (vectors[:, kept] / np.sqrt(values[kept]))[:, ::-1][:, :_COMPONENTS]
    matrix = (scale[:, None] * axes).astype(np.float32)
    parts = []
    for cell in cells:
        centred = cell.image() - mean.astype(np.float32)[:, None, None]
        image = np.einsum("byx,bk->kyx", centred, matrix)
        around = sliding_window_view(image, (_SIDE, _SIDE), axis=(1, 2))
        parts.append(around[:, *cell.places].swapaxes(0, 1))
    return np.concatenate(parts)


def _read(view: Fold, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return ``(band, y, x)``, 0 where not valid, and ``(y, x)`` True = valid."""
    stored, valid = view.read(window)
    return np.where(valid, view.to_network(stored), 0).astype(np.float32), valid

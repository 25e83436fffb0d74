"""Labelled scenes as samples of a model's acceptance: calibrate on one fold, compare on another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.evaluation._evaluate import evaluate_model
from hsimap.geometry import Window
from hsimap.labels import TRAIN, VALIDATION
from hsimap.mapping.acceptance import CALIBRATION, square_side, until_enough
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hsimap.bundle import Bundle
    from hsimap.evaluation._fold import Fold, FoldScene
    from hsimap.mapping.acceptance import Compared
    from hsimap.mapping.prepare import Batch
    from hsimap.runtimes import Runtime
    from hsimap.tasks import Task


_RISING: Final = ("r2", "pearson")
"""Scores of values whose best is 1; the others have units, or fall."""
_FALLING: Final = frozenset({"ece", "nll", "brier"})


class FoldSamples:
    """Squares of labelled scenes: training pixels to calibrate on, validation pixels to compare.

    It is a :class:`hsimap.mapping.Samples`.

    Parameters
    ----------
    bundle : Bundle
        The model; says how large a square is at least.
    scenes : sequence of FoldScene
        Labelled scenes in its bands and units.
    name : str
        What they are called.
    """

    def __init__(self, bundle: Bundle, scenes: Sequence[FoldScene], *, name: str) -> None:
        self.name = name
        self._scenes = scenes
        self._side = square_side(bundle.manifest)

    def calibration(self) -> Iterator[Batch]:
        """Yield ``(image, valid)`` of squares that hold training pixels, spread over the scenes."""
        cells = self._cells(TRAIN)
        for view, window in cells[:: max(len(cells) // CALIBRATION, 1)][:CALIBRATION]:
            image, valid = _read(view, window)
            if valid.any():
                yield image, valid

    def held_out(self) -> Iterator[Compared]:
        """Yield ``(image, valid, compared)``: valid pixels of no other fold are compared."""
        return until_enough(self._validation())

    def _validation(self) -> Iterator[Compared]:
        for view, window in self._cells(VALIDATION):
            image, valid = _read(view, window)
            yield image, valid, valid * ~view.foreign(window)

    def _cells(self, fold: int) -> list[tuple[Fold, Window]]:
        """Return the whole squares that hold pixels of a fold."""
        side = self._side
        return [
            (view, Window(row=cell.row, col=cell.col, height=side, width=side))
            for view in (scene.view(fold) for scene in self._scenes)
            for cell in view.windows(side)
        ]


def _read(view: Fold, window: Window) -> Batch:
    values, valid = view.read(window)
    return view.to_network(values)[None], valid.astype(np.float32)[None, None]


def validation_scores(
    bundle: Bundle, runtime: Runtime, scenes: Sequence[FoldScene], *, tasks: Sequence[Task]
) -> dict[str, dict[str, float]]:
    """Return task to the scores on the validation pixels whose best is 1.

    Parameters
    ----------
    bundle, runtime, scenes, tasks
        As for :func:`evaluate_model`.
    """
    found = evaluate_model(bundle, runtime, scenes, tasks=tasks, fold=VALIDATION)
    return {
        one.task.name: {
            name: score
            for name, score in one.scores("pixel").items()
            if (name in _RISING if one.task.kind is Kind.CONTINUOUS else name not in _FALLING)
        }
        for one in found.tasks
    }

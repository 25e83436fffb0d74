"""Find on the validation fold which bands a trained network can do without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.labels import VALIDATION
from hsimap.training._folds import FoldView
from hsimap.training._validation import score_views

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.networks import MappingNetwork
    from hsimap.spectra import Spread
    from hsimap.training._folds import LabelledScene

    Scores = Mapping[str, Mapping[str, float]]

_RUNS: Final = 16
"""Runs of neighbouring bands that are tried, each with one validation."""
_SCORES: Final = ("overall_accuracy", "balanced_accuracy", "r2")
"""Those that are the better the higher, on a scale that ends at 1."""


class WithoutBands(FoldView):
    """A fold of a scene as the network gets it where the scene lacks some bands.

    Parameters
    ----------
    scene : LabelledScene
        The scene, with all bands.
    fold : int
        1 training, 2 validation, 3 test.
    lost : ndarray
        Indices of the bands that are not there; they are estimated from the others.
    spread : Spread
        Of the training spectra.
    """

    def __init__(
        self, scene: LabelledScene, fold: int, *, lost: NDArray[np.intp], spread: Spread
    ) -> None:
        super().__init__(scene, fold)
        self._lost = lost
        self._kept = np.setdiff1d(np.arange(spread.mean.size), lost)
        weights, offset = spread.given(np.eye(spread.mean.size)[self._kept])
        self._weights = weights[lost].astype(np.float32)
        self._offset = offset[lost, None].astype(np.float32)

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Convert as the view does, with estimates in place of the lost bands."""
        image = np.array(super().to_network(values), dtype=np.float32)
        kept = image[self._kept].reshape(self._kept.size, -1)
        image[self._lost] = (self._weights @ kept + self._offset).reshape(-1, *image.shape[1:])
        return image


def find_dispensable(
    network: MappingNetwork,
    scenes: Sequence[LabelledScene],
    *,
    spread: Spread,
    order: Sequence[int],
    limit: float,
    trim: int,
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Find the most bands whose absence at once lowers no validation score by more than a limit.

    Up to 16 runs of neighbouring bands are left out one at a time. In the order of what they cost,
    the longest list of runs that keeps the limit together is found by halving.

    Parameters
    ----------
    network : MappingNetwork
        With its final weights, on its device.
    scenes : sequence of LabelledScene
        All scenes; each is seen as the validation fold sees it.
    spread : Spread
        What stands for absent bands: their estimate from the others.
    order : sequence of int
        The bands in the order of their wavelengths.
    limit : float
        Largest loss of an overall or balanced accuracy or of an R².
    trim : int
        Context of a tile on each side, in pixels.

    Returns
    -------
    bands : tuple of int
        In rising order.
    facts : dict
        ``limit``, ``runs``, what each ``run_costs``, what the bands that were found cost together
        (``cost``), and the number of ``validations``; for the provenance.
    """
    views = [scene.view(VALIDATION) for scene in scenes]
    device = next(network.parameters()).device
    whole = score_views(network, views, trim=trim, device=device)
    runs = [run for run in np.array_split(np.asarray(order), _RUNS) if run.size]
    tried = 0

    def cost(chosen: Sequence[int]) -> float:
        nonlocal tried
        tried += 1
        lost = np.sort(np.concatenate([runs[i] for i in chosen]))
        without = [WithoutBands(scene, VALIDATION, lost=lost, spread=spread) for scene in scenes]
        return _loss(whole, score_views(network, without, trim=trim, device=device))

    costs = [cost([i]) for i in range(len(runs))] if len(runs) > 1 else []
    ranked = np.argsort(costs, kind="stable").tolist()
    n, together = longest(lambda n: cost(ranked[:n]), most=len(runs) - 1, limit=limit)
    found = np.concatenate([[], *(runs[i] for i in ranked[:n])]).astype(int)
    facts = {
        "limit": limit,
        "runs": len(runs),
        "run_costs": [round(value, 4) for value in costs],
        "cost": round(together, 4),
        "validations": tried + 1,
    }
    return tuple(sorted(found.tolist())), facts


def longest(cost: Callable[[int], float], *, most: int, limit: float) -> tuple[int, float]:
    """Return the largest number that keeps a limit and its cost, by halving; 0 if none does.

    Examples
    --------
    >>> longest(lambda n: n / 10, most=15, limit=0.45)
    (4, 0.4)
    """
    low, high, paid = 0, most, 0.0
    while low < high:
        middle = (low + high + 1) // 2
        found = cost(middle)
        if found <= limit:
            low, paid = middle, found
        else:
            high = middle - 1
    return low, paid


def _loss(whole: Scores, part: Scores) -> float:
    """Return the largest loss of any score; infinite where nothing could be compared."""
    losses = [
        found[name] - part[task][name]
        for task, found in whole.items()
        for name in _SCORES
        if np.isfinite(found.get(name, np.nan))
    ]
    return max((float(loss) for loss in losses), default=np.inf)

"""Find on the validation fold which bands a trained network can do without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.geometry import Window
from hsimap.labels import VALIDATION
from hsimap.training._validation import LiveRuntime, TaskStatistics, blank, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.networks import MappingNetwork
    from hsimap.spectra import Spread
    from hsimap.training._folds import FoldView, LabelledScene

    Scores = Mapping[str, Mapping[str, float]]
    Patch = tuple[FoldView, Window]
    Change = Callable[[NDArray[np.float32]], NDArray[np.float32]]

_RUNS: Final = 16
"""Runs of neighbouring bands that are tried, each with one look at all patches."""
_MOST_PIXELS: Final = 1 << 19
"""Pixels of the patches that are looked at; bounds the cost whatever the size of the scenes."""
_BATCH: Final = 8
_SCORES: Final = ("overall_accuracy", "balanced_accuracy", "r2")
"""Those that are the better the higher, on a scale that ends at 1."""


def find_dispensable(
    network: MappingNetwork,
    scenes: Sequence[LabelledScene],
    *,
    spread: Spread,
    order: Sequence[int],
    limit: float,
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Find the most bands whose absence at once lowers no validation score by more than a limit.

    Up to 16 runs of neighbouring bands are left out one at a time; what is left out is estimated
    from the rest. Then they are gathered in the order of what they cost, each if the limit still
    holds for all that are gathered. All is done on patches of the validation fold, at most half a
    million pixels, spread evenly.

    Parameters
    ----------
    network : MappingNetwork
        With its final weights, on its device.
    scenes : sequence of LabelledScene
        All scenes; each is seen as the validation fold sees it.
    spread : Spread
        Of the training spectra.
    order : sequence of int
        The bands in the order of their wavelengths.
    limit : float
        Largest loss of an overall or balanced accuracy or of an R².

    Returns
    -------
    bands : tuple of int
        In rising order.
    facts : dict
        ``limit`` and, unless the fold is empty, number of ``runs``, the ``run_costs`` of each,
        what the bands that were found cost together (``cost``), and the number of ``passes`` over
        the patches.
    """
    patches = _patches(scenes, network.spec.patch)
    if not patches:
        return (), {"limit": limit, "passes": 0}
    whole = _score(network, patches, lambda image: image)
    runs = [run for run in np.array_split(np.asarray(order), _RUNS) if run.size]
    passes = 1

    def cost(chosen: Sequence[int]) -> float:
        nonlocal passes
        passes += 1
        lost = np.sort(np.concatenate([runs[i] for i in chosen]))
        return _loss(whole, _score(network, patches, without(lost, spread)))

    costs = [cost([i]) for i in range(len(runs))] if len(runs) > 1 else []
    chosen, together = list[int](), 0.0
    for i in np.argsort(costs, kind="stable").tolist():
        if len(chosen) == len(runs) - 1 or costs[i] > limit:
            break
        found = cost([*chosen, i]) if chosen else costs[i]
        if found <= limit:
            chosen, together = [*chosen, i], found
    bands = [band for i in chosen for band in runs[i].tolist()]
    facts = {
        "limit": limit,
        "runs": len(runs),
        "run_costs": [round(value, 4) for value in costs],
        "cost": round(together, 4),
        "passes": passes,
    }
    return tuple(sorted(bands)), facts


def without(lost: NDArray[np.intp], spread: Spread) -> Change:
    """Return what estimates some bands from the others.

    Parameters
    ----------
    lost : ndarray
        Indices of the bands that are not there.
    spread : Spread
        Of the training spectra.

    Returns
    -------
    callable
        Takes ``(batch, band, y, x)`` in storage units and gives a changed copy.
    """
    n_bands = spread.mean.size
    kept = np.setdiff1d(np.arange(n_bands), lost)
    weights, offset = (
        part[lost].astype(np.float32) for part in spread.given(np.eye(n_bands)[kept])
    )

    def change(image: NDArray[np.float32]) -> NDArray[np.float32]:
        changed = image.copy()
        n, _, height, width = image.shape
        found = weights @ image[:, kept].reshape(n, kept.size, -1) + offset[:, None]
        changed[:, lost] = found.reshape(n, lost.size, height, width)
        return changed

    return change


def _loss(whole: Scores, part: Scores) -> float:
    """Return the largest loss of any score; infinite where nothing could be compared."""
    losses = [
        found[name] - part[task][name]
        for task, found in whole.items()
        for name in _SCORES
        if np.isfinite(found.get(name, np.nan))
    ]
    return max((float(loss) for loss in losses), default=np.inf)


def _patches(scenes: Sequence[LabelledScene], side: int) -> list[Patch]:
    """Return windows over the validation fold, thinned evenly to bound their pixels."""
    views = [scene.view(VALIDATION) for scene in scenes]
    found = [
        (view, Window(row=window.row, col=window.col, height=side, width=side))
        for view in views
        for window in view.windows(side)
    ]
    step = -(-len(found) * side**2 // _MOST_PIXELS)
    return found[:: max(step, 1)]


def _score(network: MappingNetwork, patches: Sequence[Patch], change: Change) -> Scores:
    """Return the scores of each task over the patches, of changed images."""
    tasks = {task.name: task for task in network.spec.tasks}
    metrics = {name: TaskStatistics(task) for name, task in tasks.items()}
    runtime = LiveRuntime(network, next(network.parameters()).device)
    for first in range(0, len(patches), _BATCH):
        batch = patches[first : first + _BATCH]
        read = [view.read(window) for view, window in batch]
        stored = [view.to_network(part[0]) for (view, _), part in zip(batch, read, strict=True)]
        image = np.stack(stored).astype(np.float32)
        valid = np.stack([part[1] for part in read])
        outputs = runtime.forward(change(image), valid[:, None].astype(np.float32))
        for n, (view, window) in enumerate(batch):
            targets = view.targets(window)
            for output in network.outputs:
                task = tasks[output.task]
                found = decide(task, outputs[output.name][n])
                seen = np.where(valid[n], targets[task.name], blank(task, valid[n].shape))
                metrics[task.name].update(seen, found)
    return {name: metric.compute() for name, metric in metrics.items()}

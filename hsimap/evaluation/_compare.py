"""Rank models against each other, task by task."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.stats import rankdata

from hsimap.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADLINES: Final = ("balanced_accuracy", "r2")
"""The score that a task is ranked by: the first that its record holds. Larger is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A score over the runs of a model, such as its seeds."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Models side by side."""

    models: tuple[str, ...]
    headline: Mapping[str, str]
    """Task to the score that it is ranked by."""
    scores: Mapping[str, Mapping[str, Spread]]
    """Task to model to the headline score over its runs."""
    ranks: Mapping[str, Mapping[str, float]]
    """Task to model to rank by the mean; 1 = best, equals share the mean of their ranks."""
    mean_rank: Mapping[str, float]
    """Model to its mean rank over the tasks."""

    @property
    def order(self) -> tuple[str, ...]:
        """The models, best mean rank first."""
        return tuple(sorted(self.models, key=lambda name: self.mean_rank[name]))

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "models": list(self.models),
            "tasks": {
                task: {
                    "score": self.headline[task],
                    "models": {
                        name: {"mean": s.mean, "min": s.low, "max": s.high, "runs": s.n,
                               "rank": self.ranks[task][name]}
                        for name, s in row.items()
                    },
                }
                for task, row in self.scores.items()
            },
            "mean_rank": dict(self.mean_rank),
        }  # fmt: skip


def compare_models(
    runs: Mapping[str, Sequence[Mapping[str, Mapping[str, Any]]]],
    *,
    headline: Mapping[str, str] | None = None,
) -> Comparison:
    """Rank models by their mean score over their runs, task by task, and by the mean of the ranks.

    Parameters
    ----------
    runs : mapping
        Model to its runs (seeds); a run is what a bundle's ``metrics`` and the ``tasks`` of a
        line of results hold, task to named scores. Tasks that not every run has are left out.
    headline : mapping, optional
        Task to the score to rank by; by default balanced accuracy or R².

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If the models share no task.

    Examples
    --------
    >>> found = compare_models({"a": [{"height": {"r2": 0.8}}], "b": [{"height": {"r2": 0.6}}]})
    >>> found.order, found.mean_rank["b"]
    (('a', 'b'), 2.0)
    """
    every = [run for found in runs.values() for run in found]
    tasks = [task for task in (every[0] if every else ()) if all(task in run for run in every)]
    if not tasks or not all(runs.values()):
        raise InputError(f"the models {', '.join(runs)} share no task, so nothing can be compared")
    chosen = {task: (headline or {}).get(task) or _headline(every[0][task]) for task in tasks}
    scores, ranks = {}, {}
    for task, score in chosen.items():
        scores[task] = {
            name: _spread([_known(run[task][score]) for run in found])
            for name, found in runs.items()
        }
        means = [scores[task][name].mean for name in runs]
        # A score that is not known is the worst.
        order = rankdata([-mean if np.isfinite(mean) else np.inf for mean in means])
        ranks[task] = dict(zip(runs, order.tolist(), strict=True))
    return Comparison(
        models=tuple(runs),
        headline=chosen,
        scores=scores,
        ranks=ranks,
        mean_rank={name: fmean(row[name] for row in ranks.values()) for name in runs},
    )


def _headline(scores: Mapping[str, Any]) -> str:
    return next(name for name in _HEADLINES if name in scores)


def _known(value: float | None) -> float:
    """Return a score; null in a line of results stands for NaN."""
    return float("nan") if value is None else float(value)


def _spread(values: Sequence[float]) -> Spread:
    return Spread(mean=fmean(values), low=min(values), high=max(values), n=len(values))

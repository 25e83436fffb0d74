"""Runs of several recipes side by side, from their lines of results: sizes, cost, scores, ranks."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from hsimap.errors import InputError, StorageError
from hsimap.evaluation._compare import Comparison, compare_models
from hsimap.evaluation._results import finite

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Line = dict[str, Any]
"""One line of results: who, what, how well."""
COSTS: Final = {
    "parameters": "parameters",
    "macs_per_pixel": "MACs/px",
    "cpu_seconds_per_epoch": "CPU s/epoch",
    "cpu_minutes": "CPU min",
}
"""What a model costs, and the heading of its column."""
_HEAD: Final = ("model", "task", "score", "mean", "min", "max", "runs", "rank", "of")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run that a comparison is made of."""

    model: str
    """Name of the recipe."""
    seed: int
    digest: str
    """Of the recipe with this seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a model stands in one task."""

    model: str
    task: str
    score: str
    mean: float
    low: float
    high: float
    runs: int
    rank: float
    """By the mean; 1 = best."""
    of: int
    """Models that were ranked."""

    def row(self) -> tuple[object, ...]:
        """Return it as a row of the CSV."""
        values = (f"{value:.6g}" for value in (self.mean, self.low, self.high))
        return self.model, self.task, self.score, *values, self.runs, f"{self.rank:g}", self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """Models side by side on one fold of the same scenes."""

    fold: str
    runs: Mapping[str, Sequence[Line]]
    """Model to its lines, in the order of the seeds."""
    comparison: Comparison
    """Of the models that have every task."""
    partial: Mapping[str, Comparison]
    """Model that lacks tasks to its comparison with all others in those that it has."""
    missing: tuple[Wanted, ...]
    """Runs that are still to be done."""

    @property
    def order(self) -> tuple[str, ...]:
        """Models of every task by their mean rank, then those that lack tasks."""
        return (*self.comparison.order, *self.partial)

    def places(self) -> Iterator[Place]:
        """Yield where each model stands in each of its tasks."""
        for model in self.order:
            found = self.partial.get(model, self.comparison)
            for task, row in found.scores.items():
                spread = row[model]
                yield Place(
                    model=model, task=task, score=found.headline[task], mean=spread.mean,
                    low=spread.low, high=spread.high, runs=spread.n,
                    rank=found.ranks[task][model], of=len(found.models),
                )  # fmt: skip

    def cost(self, model: str) -> dict[str, float | None]:
        """Return the means over the runs of what a model costs; None where it is not known."""
        costs = [_costs(line) for line in self.runs[model]]
        return {name: _mean([cost.get(name) for cost in costs]) for name in COSTS}

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        places: dict[str, dict[str, Any]] = {}
        for place in self.places():
            places.setdefault(place.model, {})[place.task] = {
                "score": place.score, "mean": place.mean, "min": place.low, "max": place.high,
                "rank": place.rank, "of": place.of,
            }  # fmt: skip
        models = {
            model: {
                "seeds": [line.get("seed") for line in self.runs[model]],
                "mean_rank": self.comparison.mean_rank.get(model),
                **self.cost(model),
                "tasks": places[model],
            }
            for model in self.order
        }
        missing = [{"model": run.model, "seed": run.seed} for run in self.missing]
        return {"fold": self.fold, "models": models, "missing": missing}

    def as_csv(self) -> str:
        """Return a row a model and task."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_HEAD)
        writer.writerows(place.row() for place in self.places())
        return text.getvalue()

    def as_text(self) -> str:
        """Return sizes and mean ranks, below them the scores, and what is not done yet."""
        return "\n".join([*_cost_table(self), "", *_score_table(self), "", *_notes(self)]) + "\n"

    def as_json(self) -> str:
        """Return :meth:`as_dict` as text."""
        return json.dumps(finite(self.as_dict()), indent=1, allow_nan=False) + "\n"


def read_results(path: Path) -> list[Line]:
    """Read a file of results; none where there is no file.

    Raises
    ------
    InputError
        If a line is no JSON object with ``tasks``.
    StorageError
        If the file cannot be read.
    """
    if not path.exists():
        return []
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read the results in {path}: {error}") from error
    return [_read(text, f"{path}, line {i}") for i, text in enumerate(texts, 1) if text.strip()]


def missing_runs(lines: Sequence[Line], wanted: Sequence[Wanted], *, fold: str) -> list[Wanted]:
    """Return the runs that no line tells of, in their order."""
    done = {line.get("recipe_digest") for line in lines if _network(line, fold)}
    return [run for run in wanted if run.digest not in done]


def make_board(
    lines: Sequence[Line], wanted: Sequence[Wanted], *, fold: str, data_digest: str
) -> Board:
    """Put runs side by side that are done; those still missing are named.

    Parameters
    ----------
    lines : sequence of dict
        As :func:`read_results` returns them; of two lines on one run the later counts. Lines with
        a ``model``, such as forests, are taken if their data and fold are the same.
    wanted : sequence of Wanted
        The runs to compare, in the order in which they are made.
    fold : str
        ``test`` or ``validation``.
    data_digest : str
        :attr:`hsimap.recipes.Recipe.data_digest` of all recipes.

    Raises
    ------
    InputError
        If nothing is done, or the models share no task.
    """
    by_digest = {line.get("recipe_digest"): line for line in lines if _network(line, fold)}
    runs: dict[str, list[Line]] = {}
    for run in wanted:
        if run.digest in by_digest:
            runs.setdefault(run.model, []).append(by_digest[run.digest])
    others: dict[tuple[str, Any], Line] = {
        (line["model"], line.get("seed")): line
        for line in lines
        if "model" in line and line.get("fold") == fold and line.get("data_digest") == data_digest
    }
    for (model, _), line in others.items():
        runs.setdefault(model, []).append(line)
    if not runs:
        raise InputError("no run of these recipes is done, so that nothing can be compared")
    tasks = {model: {t for line in found for t in line["tasks"]} for model, found in runs.items()}
    every = set().union(*tasks.values())
    whole = [model for model in runs if tasks[model] == every] or list(runs)
    scores = {model: [line["tasks"] for line in found] for model, found in runs.items()}
    against = {model: scores[model] for model in whole}
    return Board(
        fold=fold,
        runs=runs,
        comparison=compare_models(against),
        partial={
            model: compare_models({model: scores[model], **against})
            for model in runs
            if model not in whole
        },
        missing=tuple(missing_runs(lines, wanted, fold=fold)),
    )


def _read(text: str, where: str) -> Line:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where} is no JSON: {error}; mend or remove it") from error
    if not isinstance(line, dict) or not isinstance(line.get("tasks"), dict):
        raise InputError(f"{where} holds no result with tasks; mend or remove it")
    return line


def _network(line: Line, fold: str) -> bool:
    """Whether a line tells of a trained recipe, and of this fold."""
    return "model" not in line and line.get("fold") == fold


def _costs(line: Line) -> dict[str, float | None]:
    """Return the costs of one run; processor time counts, as a clock also sees other programs."""
    training, epochs = line.get("cpu_seconds"), line.get("epochs")
    finishing = line.get("cpu_seconds_finishing") or 0.0
    return {
        "parameters": line.get("parameters"),
        "macs_per_pixel": line.get("macs_per_pixel"),
        "cpu_seconds_per_epoch": training / epochs if training and epochs else None,
        "cpu_minutes": None if training is None else (training + finishing) / 60,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _cost_table(board: Board) -> Iterator[str]:
    rows = [("", "model", "runs", "mean rank", *COSTS.values())]
    for number, model in enumerate(board.order, 1):
        rank = board.comparison.mean_rank.get(model)
        cost = board.cost(model)
        rows.append(
            (
                f"{number}",
                model,
                f"{len(board.runs[model])}",
                "-" if rank is None else f"{rank:.2f}",
                *(_count(cost[name]) for name in ("parameters", "macs_per_pixel")),
                *(_decimal(cost[name]) for name in ("cpu_seconds_per_epoch", "cpu_minutes")),
            )
        )
    return _aligned(rows, left=(1,))


def _score_table(board: Board) -> Iterator[str]:
    """Yield a row a task and a column a model, by the numbers of the table of costs."""
    cells = {(place.task, place.model): place for place in board.places()}
    heads = {place.task: place.score for place in cells.values()}
    rows = [(f"{board.fold} fold", "", *(f"{i}" for i, _ in enumerate(board.order, 1)))]
    for task, score in heads.items():
        found = [cells.get((task, model)) for model in board.order]
        rows.append((task, score.replace("_", " "), *(_cell(p, "mean") for p in found)))
        if any(place.runs > 1 for place in found if place is not None):
            several = [place if place and place.runs > 1 else None for place in found]
            rows.append(("", "  min", *(_cell(place, "low") for place in several)))
            rows.append(("", "  max", *(_cell(place, "high") for place in several)))
    return _aligned(rows, left=(0, 1))


def _notes(board: Board) -> Iterator[str]:
    found = board.comparison
    yield f"mean rank: over {len(found.scores)} tasks and {len(found.models)} models, 1 = best"
    for model, own in board.partial.items():
        ranks = ", ".join(f"{row[model]:g} of {len(row)} in {t}" for t, row in own.ranks.items())
        yield f"{model} has some of the tasks: rank {ranks}"
    if board.missing:
        shown = ", ".join(f"{run.model} seed {run.seed}" for run in board.missing)
        yield f"{len(board.missing)} runs are still to be done: {shown}"


def _aligned(rows: Sequence[tuple[str, ...]], *, left: tuple[int, ...]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        texts = (
            f"{text:<{width}}" if i in left else f"{text:>{width}}"
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(texts).rstrip()


def _cell(place: Place | None, value: str) -> str:
    return "-" if place is None else f"{getattr(place, value):.3f}"


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}".replace(",", " ")


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"

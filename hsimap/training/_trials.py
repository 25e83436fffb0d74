"""The same recipe with several seeds, and what the trials have in common."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Final

from hsimap.errors import StorageError, UsageError
from hsimap.tasks import Kind
from hsimap.training._checkpoints import has_checkpoint
from hsimap.training._train import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hsimap.bundle import Bundle
    from hsimap.recipes import Recipe
    from hsimap.tasks import Task

_COUNTS: Final = frozenset({"n", "n_unmapped"})
"""Numbers in the metrics that are no scores."""
_BY: Final = {"pixel": "by pixel", "stand": "by stand"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialScore:
    """One score of one task over all trials."""

    task: Task
    by: str
    """``pixel`` or ``stand``: what was compared."""
    score: str
    """Name of the score, as in the bundle's metrics."""
    values: tuple[float, ...]
    """One a trial, in the order of the seeds; continuous scores are in the task's unit."""

    @property
    def mean(self) -> float:
        """Mean over the trials."""
        return fmean(self.values)

    @property
    def std(self) -> float | None:
        """Standard deviation over the trials (n - 1); None of one trial."""
        return stdev(self.values) if len(self.values) > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "task": self.task.name,
            "kind": self.task.kind.value,
            "unit": self.task.unit,
            "by": self.by,
            "score": self.score,
            "trials": len(self.values),
            "mean": self.mean,
            "min": min(self.values),
            "max": max(self.values),
            "std": self.std,
        }


def train_trials(
    recipe: Recipe,
    out: Path | None = None,
    *,
    seeds: int,
    overwrite: bool = False,
    progress: bool = True,
    finished: Callable[[Bundle], None] | None = None,
) -> tuple[Bundle, ...]:
    """Train a recipe with ``training.seed`` 0 to ``seeds`` - 1 and write the table of the trials.

    Trial k goes to ``<out>/seed-<k>``, its run to ``runs/<name of out>/seed-<k>``. Trials that are
    finished are taken as they are, one that was interrupted goes on from its checkpoint: the same
    call again does what is left. ``trials.txt``, ``.csv`` and ``.json`` in ``out`` hold mean,
    minimum, maximum and standard deviation of each score of each task on the test fold, laid out
    as Tables II and III of arXiv 2407.16384.

    Parameters
    ----------
    recipe : Recipe
        As :func:`hsimap.recipes.load_recipe` returns it; its own seed does not count.
    out : Path, optional
        Folder of the trials; ``models/<name>`` by default.
    seeds : int
        Number of trials.
    overwrite : bool
        Train all trials anew.
    progress : bool
        Draw a progress bar on standard error.
    finished : callable, optional
        Told each bundle that was not there before.

    Returns
    -------
    tuple of Bundle
        In the order of the seeds.

    Raises
    ------
    UsageError
        If the recipe asks for several devices, whose processes end with one run.
    HsimapError
        As :func:`hsimap.training.train`.
    """
    if recipe.training.devices > 1:
        raise UsageError(
            f"trials run on one device, not on {recipe.training.devices}; train them one by one"
            f" with --seed, or set training.devices=1"
        )
    out = out or Path("models") / recipe.name
    bundles = []
    for seed in range(seeds):
        trial = recipe.seeded(seed)
        folder, run = out / f"seed-{seed}", Path("runs") / out.name / f"seed-{seed}"
        fresh = overwrite or not folder.exists()
        resume = has_checkpoint(run) and not overwrite
        bundle = train(
            trial, folder, run=run, resume=resume, overwrite=overwrite, progress=progress
        )
        if fresh and finished is not None:
            finished(bundle)
        bundles.append(bundle)
    write_trials(out, bundles)
    return tuple(bundles)


def collect_scores(tasks: Sequence[Task], metrics: Sequence[Mapping[str, Any]]) -> list[TrialScore]:
    """Gather the scores of several models of the same tasks.

    Parameters
    ----------
    tasks : sequence of Task
        In the order of the table.
    metrics : sequence of mapping
        ``metrics`` of each bundle. Scores that are missing or not finite somewhere are left out.

    Returns
    -------
    list of TrialScore
        By pixel first, then by stand.
    """
    found = []
    for by in _BY:
        for task in tasks:
            parts = [_scores_by(trial.get(task.name, {}), by) for trial in metrics]
            for score in parts[0] if parts else ():
                if all(score in part for part in parts):
                    values = tuple(part[score] for part in parts)
                    found.append(TrialScore(task=task, by=by, score=score, values=values))
    return found


def format_trials(scores: Sequence[TrialScore]) -> str:
    """Return the scores as tables: a task a row, below its means the extremes and the deviations.

    The layout is that of Tables II (categorical) and III (continuous) of arXiv 2407.16384.
    """
    return "\n".join(
        "\n".join(_table(title, rows))
        for title, rows in _tables(scores)
    )  # fmt: skip


def write_trials(out: Path, bundles: Sequence[Bundle]) -> str:
    """Write ``trials.txt``, ``trials.csv`` and ``trials.json``; return the text.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    scores = collect_scores(bundles[0].manifest.tasks, [b.manifest.metrics for b in bundles])
    told = [bundle.manifest.provenance for bundle in bundles]
    text = format_trials(scores)
    record = {
        "recipe": told[0].get("recipe"),
        "trials": [
            {"seed": t.get("seed"), "recipe_digest": t.get("recipe_digest"), "bundle": b.digest}
            for t, b in zip(told, bundles, strict=True)
        ],
        "scores": [score.as_dict() | {"values": list(score.values)} for score in scores],
    }
    files = {
        "trials.txt": text,
        "trials.csv": _csv(scores, seeds=[t.get("seed") for t in told]),
        "trials.json": json.dumps(record, indent=1, allow_nan=False) + "\n",
    }
    try:
        for name, content in files.items():
            draft = out / f".{name}.part"
            draft.write_text(content, encoding="utf-8")
            draft.replace(out / name)
    except OSError as error:
        raise StorageError(f"cannot write the table of the trials to {out}: {error}") from error
    return text


def _scores_by(metrics: Mapping[str, Any], by: str) -> dict[str, float]:
    found = metrics if by == "pixel" else metrics.get("by_stand") or {}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and value == value and name not in _COUNTS  # noqa: PLR0124  # not NaN
    }


def _tables(scores: Sequence[TrialScore]) -> Iterator[tuple[str, list[TrialScore]]]:
    for by, said in _BY.items():
        for kind in (Kind.CATEGORICAL, Kind.CONTINUOUS):
            rows = [score for score in scores if score.by == by and score.task.kind is kind]
            if rows:
                trials = len(rows[0].values)
                yield f"{kind.value.capitalize()} tasks, {said}, {trials} trials", rows


def _table(title: str, rows: Sequence[TrialScore]) -> Iterator[str]:
    columns = list(dict.fromkeys(row.score for row in rows))
    labels = {row.task.name: _label(row.task) for row in rows}
    first = max(len(label) for label in labels.values())
    cells = {(row.task.name, row.score): row for row in rows}
    width = 2 + max(10, *(len(name) for name in columns))
    yield title
    yield " " * first + "".join(f"{name.replace('_', ' '):>{width}}" for name in columns)
    for task, label in labels.items():
        found = [cells[task, name].as_dict() if (task, name) in cells else {} for name in columns]
        for head, key in ((label, "mean"), ("  min", "min"), ("  max", "max"), ("  std", "std")):
            shown = [_number(record.get(key)) for record in found]
            yield f"{head:<{first}}" + "".join(f"{text:>{width}}" for text in shown)
    yield ""


def _label(task: Task) -> str:
    unit = f" [{task.unit}]" if task.unit not in {"", "1"} else ""
    return f"{task.label}{unit}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _csv(scores: Sequence[TrialScore], *, seeds: Sequence[object]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(scores[0].as_dict()) if scores else []
    writer.writerow([*names, *(f"seed_{seed}" for seed in seeds)])
    for score in scores:
        writer.writerow([*score.as_dict().values(), *score.values])
    return text.getvalue()

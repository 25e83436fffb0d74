"""An evaluation as files for programs: one JSON, and tables as CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import OutputExistsError, StorageError
from hsimap.evaluation._compare import compare_models
from hsimap.evaluation._results import finite
from hsimap.evaluation._scores import normalise_confusion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hsimap.evaluation._compare import Comparison
    from hsimap.evaluation._evaluate import ModelEvaluation
    from hsimap.evaluation._tasks import TaskScores
    from hsimap.tasks import Task

SCHEMA: Final = "hsimap-evaluation/1"
METRICS_JSON: Final = "metrics.json"
_SCORES_HEAD: Final = (
    "model", "task", "level", "score", "value", "standard_error", "unit", "n",
)  # fmt: skip
_CONFUSION_HEAD: Final = (
    "model", "task", "level", "true_code", "true_name", "mapped_code", "mapped_name", "count",
    "share_of_true",
)  # fmt: skip
_IN_UNIT: Final = {"rmse", "mae", "bias"}


def write_tables(
    folder: Path,
    evaluations: Sequence[ModelEvaluation],
    *,
    recipe: str,
    overwrite: bool = False,
) -> list[Path]:
    """Write ``metrics.json``, ``metrics.csv`` and ``confusion.csv``.

    Parameters
    ----------
    folder : Path
        Made where missing.
    evaluations : sequence of ModelEvaluation
        One a model.
    recipe : str
        Name of the recipe.
    overwrite : bool
        Replace the files that are there.

    Raises
    ------
    OutputExistsError
        If an evaluation is there.
    StorageError
        If the disk refuses.
    """
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "recipe": recipe,
        "models": [found.as_dict() for found in evaluations],
    }
    if len(evaluations) > 1:
        record["comparison"] = compare_evaluations(evaluations).as_dict()
    text = json.dumps(finite(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    contents = {
        METRICS_JSON: text,
        "metrics.csv": _csv(_SCORES_HEAD, _score_rows(evaluations)),
        "confusion.csv": _csv(_CONFUSION_HEAD, _confusion_rows(evaluations)),
    }
    return write_texts(folder, contents, overwrite=overwrite)


def write_texts(folder: Path, contents: Mapping[str, str], *, overwrite: bool) -> list[Path]:
    """Write text files into a folder; refuse to replace any unasked.

    Raises
    ------
    OutputExistsError, StorageError
        As :func:`write_tables`.
    """
    paths = [folder / name for name in contents]
    for path in paths:
        if path.exists() and not overwrite:
            raise OutputExistsError(f"{path} exists; choose another --out or use --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, contents.values(), strict=True):
            path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error}; choose another --out") from error
    return paths


def compare_evaluations(evaluations: Sequence[ModelEvaluation]) -> Comparison:
    """Rank evaluated models; each folder counts as a model of its own."""
    return compare_models(
        {
            found.label: [{task.task.name: task.scores("pixel") for task in found.tasks}]
            for found in evaluations
        }
    )


def _csv(head: Sequence[str], rows: Iterator[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()


def _score_rows(evaluations: Sequence[ModelEvaluation]) -> Iterator[tuple[object, ...]]:
    for found in evaluations:
        for task in found.tasks:
            unit = task.task.unit
            for level, scores in task.levels().items():
                for name, value in task.scores(level).items():
                    error = scores.standard_errors.get(name, float("nan"))
                    yield (
                        found.label, task.task.name, level, name, _number(value), _number(error),
                        unit if name in _IN_UNIT else "1", scores.n,
                    )  # fmt: skip
        for group, means in found.aggregate().items():
            for name, value in means.items():
                yield found.label, group, "aggregate", name, _number(value), "", "1", ""


def _confusion_rows(evaluations: Sequence[ModelEvaluation]) -> Iterator[tuple[object, ...]]:
    for found in evaluations:
        for task in found.tasks:
            for level, scores in task.levels().items():
                for row in _cells(task.task, scores):
                    yield found.label, task.task.name, level, *row


def _cells(task: Task, scores: TaskScores) -> Iterator[tuple[object, ...]]:
    if scores.confusion is None:
        return
    counts = np.array(scores.confusion, dtype=np.float64)
    shares = normalise_confusion(counts)
    for i, true in enumerate(task.classes):
        for j, mapped in enumerate(task.classes):
            yield (
                true.code, true.name, mapped.code, mapped.name, int(counts[i, j]),
                _number(shares[i, j]),
            )  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.6g}" if np.isfinite(value) else ""

"""``hsimap compare``: train recipes on the same data and rank them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hsimap.cli._logs import read_log
from hsimap.cli._options import Data, Json, Overrides, Quiet
from hsimap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hsimap.recipes import Recipe

TABLES: Final = ("comparison.txt", "comparison.csv", "comparison.json")
PAGE: Final = "comparison.html"
EXAMPLES: Final = """
hsimap compare pipelines/campaign/*.yaml --out comparison --seeds 3
hsimap compare pipelines/campaign/*.yaml --out comparison --seeds 3 --max-minutes 60
hsimap compare a.yaml b.yaml --results results.jsonl --max-minutes 0    print what is done"""


class ScoredFold(StrEnum):
    """Whose labels the scores are of."""

    TEST = "test"
    VALIDATION = "validation"


def run(
    recipes: Annotated[
        list[Path], typer.Argument(help="YAML recipes of the same data.", metavar="RECIPE...")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of models, logs and tables.", metavar="DIR")
    ] = Path("comparison"),
    results: Annotated[
        Path | None,
        typer.Option(
            help="JSON-lines file of the runs. Default: results.jsonl in --out.", metavar="FILE"
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Train each recipe with the seeds 0 to N-1.", min=1, metavar="N")
    ] = 1,
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Start no run after so many minutes.", min=0, metavar="M"),
    ] = None,
    fold: Annotated[
        ScoredFold, typer.Option("--evaluate-fold", help="Whose labels the scores are of.")
    ] = ScoredFold.TEST,
    data: Data = None,
    overrides: Overrides = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Train recipes on the same data and rank them, task by task.

    Runs that the results file tells of are taken from it; each other one is trained and appended,
    the first seed of all recipes first. The same command again does what is left.
    """
    from hsimap.evaluation import Wanted, make_board, missing_runs, read_results, write_texts
    from hsimap.evaluation.report import comparison_page

    loaded = _load(recipes, overrides=overrides or [], data=data)
    results = results or out / "results.jsonl"
    trials = [recipe.seeded(seed) for seed in range(seeds) for recipe in loaded]
    wanted = [Wanted(model=t.name, seed=t.training.seed, digest=t.digest) for t in trials]
    lines = read_results(results)
    digests = {run.digest for run in missing_runs(lines, wanted, fold=fold)}
    lacking = [t for t, one in zip(trials, wanted, strict=True) if one.digest in digests]
    if lacking:
        bench = {"folder": out, "results": results, "fold": fold.value, "minutes": max_minutes}
        _train(lacking, bench, progress=sys.stderr.isatty() and not quiet)
        lines = read_results(results)
    board = make_board(lines, wanted, fold=fold, data_digest=loaded[0].data_digest)
    texts = (board.as_text(), board.as_csv(), board.as_json())
    page = comparison_page(board, logs=_logs(out / "runs", board.order))
    write_texts(out, {**dict(zip(TABLES, texts, strict=True)), PAGE: page}, overwrite=True)
    typer.echo(texts[2] if as_json else texts[0], nl=False)


def _load(paths: list[Path], *, overrides: list[str], data: Path | None) -> list[Recipe]:
    """Load recipes that have names of their own and the same data."""
    from hsimap.recipes import load_recipe

    loaded = [load_recipe(path, overrides=overrides, data=data) for path in paths]
    first = loaded[0]
    for i, recipe in enumerate(loaded):
        if recipe.name in {other.name for other in loaded[:i]}:
            raise UsageError(f"two recipes are named {recipe.name}; give each a name of its own")
        if recipe.data_digest != first.data_digest:
            raise UsageError(
                f"recipes {first.name} and {recipe.name} have other scenes, labels, folds or tasks,"
                f" so that their scores cannot be compared; compare recipes that extend one"
            )
    return loaded


def _logs(runs: Path, models: Iterable[str]) -> dict[str, list[list[dict[str, Any]]]]:
    """Return the training logs that are there, those of each seed of a model."""
    return {model: [read_log(run) for run in sorted((runs / model).glob("*"))] for model in models}


def _train(lacking: list[Recipe], bench: dict[str, Any], *, progress: bool) -> None:
    from hsimap.training import Bench, train_missing

    def say(line: dict[str, Any]) -> None:
        typer.echo(f"{line['recipe']} seed {line['seed']}: done", err=True)

    train_missing(lacking, Bench(**bench), progress=progress, finished=say)

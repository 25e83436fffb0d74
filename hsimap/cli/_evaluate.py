"""``hsimap evaluate``: score models on labels and write a report."""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._logs import read_log
from hsimap.cli._options import Data, Json, Overrides, Overwrite

if TYPE_CHECKING:
    from hsimap.bundle import Bundle
    from hsimap.evaluation import ModelEvaluation
    from hsimap.recipes import Recipe

REPORT: Final = "report.html"
EXAMPLES: Final = """
hsimap evaluate models/berlin pipelines/berlin_hymap.yaml --data scenes --out reports/berlin
hsimap evaluate models/seed0 models/seed1 my.yaml --out reports/seeds
hsimap evaluate models/boreal-demo pipelines/boreal_demo.yaml --out reports/demo"""


class FoldName(StrEnum):
    """Which labels are used."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


def run(
    models: Annotated[
        list[Path], typer.Argument(help="One or more model folders.", metavar="MODEL...")
    ],
    recipe: Annotated[
        Path, typer.Argument(help="YAML recipe: scenes, labels and folds.", metavar="RECIPE")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the report.", metavar="DIR")],
    fold: Annotated[FoldName, typer.Option(help="Whose labels are used.")] = FoldName.TEST,
    data: Data = None,
    overrides: Overrides = None,
    runs: Annotated[
        Path,
        typer.Option(
            help="Where the training logs are: DIR/<name of the model folder>/log.jsonl.",
            metavar="DIR",
        ),
    ] = Path("runs"),
    threads: Annotated[int | None, typer.Option(help="Default: one a core.", min=1)] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Score models on a recipe's labels and write a report.

    Writes metrics.json, metrics.csv, confusion.csv and report.html. The first model is shown in
    detail; several, such as seeds, are compared.
    """
    from hsimap.bundle import Bundle
    from hsimap.evaluation import METRICS_JSON, write_tables, write_texts
    from hsimap.recipes import load_recipe

    bundles = [Bundle.load(path) for path in models]
    loaded = load_recipe(recipe, overrides=overrides or (), data=data)
    _refuse_existing(out, (METRICS_JSON, REPORT), overwrite=overwrite)
    found = [
        _evaluate(bundle, loaded, fold=fold, label=label, threads=threads)
        for bundle, label in zip(bundles, _labels(models), strict=True)
    ]
    from hsimap.evaluation.report import evaluation_page

    logs = {one.label: read_log(runs / path.name) for one, path in zip(found, models, strict=True)}
    logs = {label: records for label, records in logs.items() if records}
    page = evaluation_page(found, recipe=loaded.name, logs=logs)
    written = write_tables(out, found, recipe=loaded.name, overwrite=overwrite)
    written += write_texts(out, {REPORT: page}, overwrite=overwrite)
    if as_json:
        typer.echo((out / METRICS_JSON).read_text(encoding="utf-8"), nl=False)
        return
    _print(found)
    typer.echo(f"{out / REPORT}")


def _evaluate(
    bundle: Bundle, recipe: Recipe, *, fold: FoldName, label: str, threads: int | None
) -> ModelEvaluation:
    from hsimap.evaluation import evaluate_model
    from hsimap.labels import TEST, TRAIN, VALIDATION
    from hsimap.runtimes import open_runtime
    from hsimap.training import open_recipe

    folds = {FoldName.TRAIN: TRAIN, FoldName.VALIDATION: VALIDATION, FoldName.TEST: TEST}
    with (
        open_recipe(recipe, bundle.manifest.input) as opened,
        closing(open_runtime(bundle, threads=threads)) as runtime,
    ):
        return evaluate_model(
            bundle,
            runtime,
            opened.scenes,
            tasks=recipe.tasks_list(),
            fold=folds[fold],
            label=label,
        )


def _labels(models: list[Path]) -> list[str]:
    """Return the names of the folders, or the paths where two have one name."""
    names = [path.resolve().name for path in models]
    if len(set(names)) == len(names):
        return names
    return [path.as_posix() for path in models]


def _refuse_existing(out: Path, names: tuple[str, ...], *, overwrite: bool) -> None:
    from hsimap.errors import OutputExistsError

    for name in names:
        if (out / name).exists() and not overwrite:
            raise OutputExistsError(f"{out / name} exists; choose another --out or use --overwrite")


def _print(found: list[ModelEvaluation]) -> None:
    for one in found:
        typer.echo(f"{one.label}, {one.fold} fold")
        for task in one.tasks:
            for level in task.levels():
                scores = task.scores(level)
                names = (
                    ("overall_accuracy", "balanced_accuracy", "macro_f1", "kappa")
                    if task.task.classes
                    else ("r2", "rmse", "mae", "bias")
                )
                told = "  ".join(f"{name} {scores[name]:.3f}" for name in names)
                typer.echo(f"  {task.task.name:28} {level:6} {told}")

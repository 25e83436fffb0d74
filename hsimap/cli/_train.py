"""``hsimap train``: from a recipe to a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._options import Data, Overrides, Overwrite, Quiet
from hsimap.errors import UsageError

if TYPE_CHECKING:
    from hsimap.bundle import Bundle
    from hsimap.recipes import Recipe

PIPELINES: Final = Path("pipelines")
EXAMPLES: Final = """
hsimap train                        list the recipes under ./pipelines
hsimap train pipelines/berlin_hymap.yaml --data scenes --out models/berlin
hsimap train pipelines/taiga.yaml --data scenes --check
hsimap train my.yaml --set training.epochs=5 --set network.preset=tiny --seed 1
hsimap train my.yaml --seeds 10     ten trials and their mean, min, max and std"""


def run(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            help="YAML recipe; without one, those at hand are listed.", metavar="RECIPE"
        ),
    ] = None,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Model folder. Default: models/<name>.", metavar="DIR")
    ] = None,
    overrides: Overrides = None,
    seed: Annotated[
        int | None, typer.Option(help="The same as --set training.seed=SEED.", min=0)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Run the trials of seeds 0 to N-1, each into a folder of its own, and print their"
            " mean, min, max and std. Default: the recipe's seeds.",
            min=1,
            metavar="N",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = (
        False
    ),
    record: Annotated[
        Path | None,
        typer.Option(
            help="Append the results on the test fold to this JSON-lines file.", metavar="FILE"
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Say what the recipe's files hold, or what is missing; train nothing."
        ),
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Train the network of a recipe and write a model folder.

    An interrupted run goes on with --resume and ends in the same weights. Trials go on by
    themselves: the same command again does what is left.
    """
    if recipe is None:
        _list_recipes()
        return
    if seed is not None and seeds is not None:
        raise UsageError("--seed trains one model and --seeds several; give one of the two")
    from hsimap.recipes import load_recipe

    seeded = [] if seed is None else [f"training.seed={seed}"]
    loaded = load_recipe(recipe, overrides=[*(overrides or ()), *seeded], data=data)
    if check:
        _check(loaded)
        return

    from hsimap.evaluation import append_result
    from hsimap.training import result_of, train, train_trials

    def keep(bundle: Bundle) -> None:
        if record is not None:
            append_result(record, result_of(bundle))

    progress = sys.stderr.isatty() and not quiet
    trials = (seeds or loaded.seeds) if seed is None else None
    if trials is not None:
        bundles = train_trials(
            loaded, out, seeds=trials, overwrite=overwrite, progress=progress, finished=keep
        )
        folder = bundles[0].path.parent
        typer.echo((folder / "trials.txt").read_text(encoding="utf-8"))
        typer.echo(f"{folder}: {len(bundles)} trials, tables in trials.txt, .csv and .json")
        return
    bundle = train(loaded, out, resume=resume, overwrite=overwrite, progress=progress)
    keep(bundle)
    typer.echo(f"{bundle.path}: model {bundle.name}, digest {bundle.digest[:12]}")


def _check(recipe: Recipe) -> None:
    from hsimap.training import check_recipe

    for line in check_recipe(recipe):
        typer.echo(line)


def _list_recipes() -> None:
    from hsimap.recipes import list_recipes

    found = list_recipes(PIPELINES)
    width = max((len(str(path)) for path, _, _ in found), default=0)
    for path, name, description in found:
        typer.echo(f"{path!s:{width}}  {description or name}")
    if not found:
        typer.echo(
            f"there are no recipes under ./{PIPELINES}; hsimap config prints one to start from"
        )

"""``hsimap train``: from a recipe to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PIPELINES = Path("pipelines")


def run(
    recipe: Annotated[
        Path | None, typer.Argument(help="YAML recipe. Without one, those at hand are listed.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder that the recipe's paths start from.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Model folder. Default: models/<name>.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. training.epochs=5.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
    record: Annotated[
        Path | None, typer.Option(help="Append the test-fold results to this JSON-lines file.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an existing model folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train the multitask network of a recipe and write it as a model folder.

    Example: hsimap train pipelines/berlin_hymap.yaml --data ~/hyperspectral --set training.seed=1
    """
    from hsimap.recipes import list_recipes, load_recipe

    if recipe is None:
        found = list_recipes(PIPELINES)
        for path, name, description in found:
            typer.echo(f"{path!s:36} {name:18} {description}")
        if not found:
            typer.echo(f"there are no recipes under {PIPELINES}; name one")
        return
    loaded = load_recipe(recipe, overrides=overrides or (), data=data)

    from hsimap.evaluation import append_result
    from hsimap.training import result_of, train

    bundle = train(loaded, out, resume=resume, overwrite=overwrite, progress=not quiet)
    if record is not None:
        append_result(record, result_of(bundle))
    typer.echo(f"{bundle.path}: model {bundle.name}, digest {bundle.digest[:12]}")

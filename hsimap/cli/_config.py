"""``hsimap config``: print a recipe with every default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from hsimap.cli._options import Data, Overrides

EXAMPLES: Final = """
hsimap config > my_recipe.yaml
hsimap config pipelines/berlin_hymap.yaml --set training.epochs=5"""


def run(
    recipe: Annotated[
        Path | None,
        typer.Argument(help="A recipe; without one, an example is shown.", metavar="RECIPE"),
    ] = None,
    data: Data = None,
    overrides: Overrides = None,
) -> None:
    """Print a recipe with every default and what it means."""
    from hsimap.recipes import commented_recipe, load_recipe

    loaded = None
    if recipe is not None:
        loaded = load_recipe(recipe, overrides=overrides or (), data=data)
    typer.echo(commented_recipe(loaded))

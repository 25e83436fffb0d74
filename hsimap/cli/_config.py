"""``hsimap config``: print a recipe with every default and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    recipe: Annotated[
        Path | None, typer.Argument(help="YAML recipe; without one, an example is shown.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder that the recipe's paths start from.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="E.g. training.epochs=5.")
    ] = None,
) -> None:
    """Print a recipe in full, every default filled in and every field explained.

    Example: hsimap config > my_recipe.yaml
    """
    from hsimap.recipes import commented_recipe, load_recipe

    loaded = None
    if recipe is not None:
        loaded = load_recipe(recipe, overrides=overrides or (), data=data)
    typer.echo(commented_recipe(loaded))

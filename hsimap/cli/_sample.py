"""``hsimap sample``: write a synthetic flight line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

EXAMPLES: Final = """
hsimap sample forest --size 512 --seed 1"""


def run(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.", metavar="DIR")],
    size: Annotated[int, typer.Option(help="Side of the scene, in pixels of 0.7 m.", min=16)] = 256,
    seed: Annotated[int, typer.Option(help="Which forest.", min=0)] = 0,
) -> None:
    """Write a simulated boreal flight line with labels.

    Beside the scene: class maps, variables, stand numbers and a split, all on its grid.
    """
    from hsimap.synthetic import write_sample

    for path in write_sample(folder, size=size, seed=seed).values():
        typer.echo(str(path))

"""``hsimap sample``: write a synthetic flight line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    folder: Annotated[Path, typer.Argument(help="Where to.")],
    size: Annotated[int, typer.Option(help="Side of the scene, px.", min=16)] = 256,
    seed: Annotated[int, typer.Option(help="Which forest.", min=0)] = 0,
) -> None:
    """Write a simulated boreal flight line with its labels, stands and split.

    Example: hsimap sample /tmp/forest --size 512 --seed 1
    """
    from hsimap.synthetic import write_sample

    written = write_sample(folder, size=size, seed=seed)
    paths = written.values() if isinstance(written, dict) else written
    for path in paths:
        typer.echo(str(path))

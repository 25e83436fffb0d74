"""``hsimap sample``: write synthetic flight lines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from hsimap.errors import UsageError

EXAMPLES: Final = """
hsimap sample forest --size 512 --seed 1
hsimap sample taiga --layout taiga
hsimap sample flights --campaign 6 --size 1024 --format envi"""


class Layout(StrEnum):
    """Which files are written."""

    HSIMAP = "hsimap"
    TAIGA = "taiga"


class Format(StrEnum):
    """Format of a campaign's scenes."""

    GEOTIFF = "geotiff"
    ENVI = "envi"


def run(
    folder: Annotated[Path, typer.Argument(help="Folder to write into.", metavar="DIR")],
    size: Annotated[
        int, typer.Option(help="Side of the scene or forest, in pixels of 0.7 m.", min=16)
    ] = 256,
    seed: Annotated[int, typer.Option(help="Which forest.", min=0)] = 0,
    layout: Annotated[
        Layout, typer.Option(help="taiga: a miniature in the files and encodings of TAIGA.")
    ] = Layout.HSIMAP,
    campaign: Annotated[
        int | None,
        typer.Option(
            help="So many overlapping lines, each turned its own way, and the truth below.",
            metavar="N",
        ),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(
            help="Share of a line's width that a campaign's next line sees, too. Default: 0.23.",
            min=0,
            max=0.9,
        ),
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="Format of a campaign's scenes.")
    ] = Format.GEOTIFF,
) -> None:
    """Write simulated boreal flight lines with labels.

    Beside a scene: class maps, variables, stand numbers and a split, all on its grid.
    """
    from hsimap import synthetic

    if campaign is not None and layout is Layout.TAIGA:
        raise UsageError("--campaign and --layout taiga exclude each other; give one of them")
    if overlap is not None and campaign is None:
        raise UsageError("--overlap is of a campaign's lines; give --campaign N, too")
    if campaign is not None:
        written = synthetic.write_campaign(
            folder, size=size, seed=seed, lines=campaign, form=form.value, overlap=overlap
        )
        paths = [path for files in written.values() for path in files.values()]
    elif layout is Layout.TAIGA:
        paths = list(synthetic.write_taiga(folder, size=size, seed=seed).values())
    else:
        paths = list(synthetic.write_sample(folder, size=size, seed=seed).values())
    for path in paths:
        typer.echo(str(path))

"""``hsimap verify``: check a model folder or a folder of maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

EXAMPLES: Final = """
hsimap verify maps/line1
hsimap verify models/boreal-demo"""


def run(
    folder: Annotated[
        Path, typer.Argument(help="A model folder, or a folder of finished maps.", metavar="DIR")
    ],
) -> None:
    """Check every file of a folder against its manifest.

    Exit code 30 (maps) or 12 (model) if a file was altered or the run did not finish.

    A .aux.xml that QGIS or GDAL touched is a warning.
    """
    from hsimap.products import is_map_folder, is_unfinished, verify_folder

    if is_map_folder(folder) or is_unfinished(folder):
        for warning in verify_folder(folder):
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"{folder}: maps verified")
        return
    from hsimap.bundle import Bundle

    bundle = Bundle.load(folder)
    typer.echo(f"{folder}: model {bundle.name} verified, digest {bundle.digest[:12]}")

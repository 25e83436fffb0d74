"""``hsimap verify``: check a model folder or a folder of maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    folder: Annotated[Path, typer.Argument(help="A model folder, or a folder of finished maps.")],
) -> None:
    """Check every file of a folder against its manifest; exit 30 (maps) or 12 (model) if altered.

    Example: hsimap verify maps/line1
    """
    from hsimap.products import is_map_folder, verify_folder

    if is_map_folder(folder):
        for warning in verify_folder(folder):
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"{folder}: maps verified")
        return
    from hsimap.bundle import Bundle

    bundle = Bundle.load(folder)
    typer.echo(f"{folder}: model {bundle.name} verified, digest {bundle.digest[:12]}")

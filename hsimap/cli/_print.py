"""``hsimap print``: maps on pages."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from hsimap.cli._options import Overwrite

EXAMPLES: Final = """
hsimap print maps/line1 --out pages
hsimap print maps/mosaic --out pages --only mean_height --format png"""


class Format(StrEnum):
    """What a page is written as."""

    PDF = "pdf"
    PNG = "png"


def run(
    maps: Annotated[Path, typer.Argument(help="A folder of finished maps.", metavar="MAPS")],
    out: Annotated[Path, typer.Option(help="Folder of the pages.", metavar="DIR")],
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a map; may be repeated. Default: all.")
    ] = None,
    kind: Annotated[Format, typer.Option("--format", help="What is written.")] = Format.PDF,
    overwrite: Overwrite = False,
) -> None:
    """Draw every map on a page, ready to be printed.

    A4 with coordinates, scale bar, north arrow and legend.
    """
    from hsimap.errors import OutputExistsError, UsageError
    from hsimap.products import open_maps, write_sheet

    folder = open_maps(maps)
    known = {layer.name: layer for layer in folder.layers}
    for name in only or ():
        if name not in known:
            raise UsageError(f"{maps} has no map {name!r}; it has {', '.join(known)}")
    wanted = only or [name for name, layer in known.items() if layer.kind != "probabilities"]
    out.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        path = out / f"{name}.{kind.value}"
        if path.exists() and not overwrite:
            raise OutputExistsError(f"{path} exists; use --overwrite or choose another --out")
        write_sheet(path, folder, known[name])
    typer.echo(f"{out}: {len(wanted)} pages")

"""``hsimap project``: one QGIS project of several folders of maps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from hsimap.cli._options import Overwrite

EXAMPLES: Final = """
hsimap project maps/line1 maps/line2 --out maps/maps.qgs
hsimap project maps/mosaic --lines maps --out campaign.qgs"""


def run(
    maps: Annotated[
        list[Path], typer.Argument(help="Folders of finished maps; a mosaic.", metavar="MAPS")
    ],
    out: Annotated[Path, typer.Option(help="The .qgs file.", metavar="FILE")],
    lines: Annotated[
        Path | None,
        typer.Option(help="Folder of the flight lines' folders, for a mosaic.", metavar="DIR"),
    ] = None,
    title: Annotated[str, typer.Option(help="Default: the name of the file's folder.")] = "",
    overwrite: Overwrite = False,
) -> None:
    """Make one QGIS project of several folders of maps.

    Every layer has its style; paths are relative. The outlines of the scenes lie beside it.
    """
    from hsimap.errors import OutputExistsError, UsageError
    from hsimap.products import is_map_folder, open_folders, write_project

    if out.suffix != ".qgs":
        raise UsageError(f"a project is a .qgs file, got --out {out}")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} exists; use --overwrite or choose another --out")
    folders = open_folders(maps)
    own = {path.resolve() for path in maps}
    found = sorted(path for path in lines.iterdir() if is_map_folder(path)) if lines else []
    strips = open_folders([path for path in found if path.resolve() not in own])
    out.parent.mkdir(parents=True, exist_ok=True)
    named = title or out.resolve().parent.name
    written = write_project(out, folders, title=named, lines=strips)
    typer.echo(f"{written[0]}: {sum(len(f.layers) for f in (*folders, *strips))} maps")

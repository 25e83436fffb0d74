"""``hsimap mosaic``: one map of many lines."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._options import Json, Overwrite, Quiet
from hsimap.cli._progress import progress_of

if TYPE_CHECKING:
    from hsimap.flightlines import MosaicReport


class Method(StrEnum):
    """How overlapping lines become one map."""

    NADIR = "nadir"
    FEATHER = "feather"
    BEST = "best"


EXAMPLES: Final = """
hsimap mosaic maps/line1 maps/line2 maps/line3 --out maps/all
hsimap mosaic maps/* --mosaic feather --grid orthophoto.tif --out all
hsimap mosaic maps/* --zenith 'obs/{line}_obs' --out all"""


def run(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders of maps that hsimap predict wrote.", metavar="DIR"),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the mosaic.", metavar="DIR")],
    mosaic: Annotated[
        Method,
        typer.Option(
            help="nadir: the line that looks down steepest; feather: a mean, weighted by the"
            " distance to the line's edge; best: the line of the highest probability."
        ),
    ] = Method.NADIR,
    grid: Annotated[
        Path | None,
        typer.Option(
            help="Raster whose grid is taken. Default: north-up, pixels of the finest line.",
            metavar="TEMPLATE",
        ),
    ] = None,
    zenith: Annotated[
        str | None,
        typer.Option(
            help="For nadir: layer of the view's zenith angle; {line} stands for the line's name."
            " Default: the distance to the line's middle.",
            metavar="PATH",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put the maps of many lines together on one grid.

    Overlaps are compared: maps and a table say how far the lines agree.
    """
    from hsimap import flightlines

    settings = flightlines.MosaicSettings(
        method=flightlines.Method(mosaic.value), template=grid, zenith=zenith, overwrite=overwrite
    )
    with progress_of("mosaic", "strips", quiet=quiet or as_json) as progress:
        report = flightlines.mosaic(folders, out, settings=settings, progress=progress)
    print_mosaic(report, as_json=as_json)


def print_mosaic(report: MosaicReport, *, as_json: bool) -> None:
    """Say what became of a mosaic."""
    facts = report.facts()
    if as_json:
        typer.echo(json.dumps(facts))
        return
    n, size = len(report.lines), f"{report.grid.width} x {report.grid.height} px"
    maps = sum(name.endswith(".tif") for name in report.files)
    told = "already complete" if report.already_complete else f"made in {report.seconds:.1f} s"
    typer.echo(f"{report.folder}: {maps} maps of {n} lines, {size}, {told}")
    for row in report.agreement:
        if row["line_a"] == "all":
            typer.echo(f"{row['variable']!s:>32}  {_told(row)}  {row['pairs']} pairs of pixels")
    sys.stdout.flush()


def _told(row: dict[str, object]) -> str:
    if row["rmsd"] is None:
        return f"{float(str(row['agreement'])):7.1%} equal"
    return f"RMSD {float(str(row['rmsd'])):.4g} {row['unit']}"

"""``hsimap convert``: finished maps as Zarr."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

EXAMPLES: Final = """
hsimap convert maps/line1 --out line1_zarr
hsimap convert maps/mosaic --to zarr3 --out mosaic_zarr"""


class Target(StrEnum):
    """What finished maps are turned into."""

    ZARR2 = "zarr2"
    ZARR3 = "zarr3"


def run(
    maps: Annotated[Path, typer.Argument(help="A folder of finished maps.", metavar="MAPS")],
    out: Annotated[Path, typer.Option(help="A new folder.", metavar="DIR")],
    to: Annotated[
        Target,
        typer.Option(help="zarr2: for GDAL, QGIS and xarray; zarr3: GeoZarr, with overviews."),
    ] = Target.ZARR2,
) -> None:
    """Turn finished maps into Zarr, number by number.

    Version 2 comes with a .vrt and a .qml a variable, which QGIS opens.
    """
    from hsimap.products import open_maps, verify_folder
    from hsimap.products import write_zarr as write

    verify_folder(maps)
    written = write(out, open_maps(maps), zarr_format=2 if to is Target.ZARR2 else 3)
    typer.echo(f"{written[0]}: {sum(p.suffix == '.vrt' for p in written) or 'all'} maps")

"""``hsimap stands``: what the maps say of each stand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._options import Overwrite

if TYPE_CHECKING:
    from hsimap.products import MapFolder

EXAMPLES: Final = """
hsimap stands maps/line1 stands.gpkg --out line1_stands.gpkg
hsimap stands maps/mosaic crowns.shp --out crowns.gpkg --buffer -0.5"""


def run(
    maps: Annotated[Path, typer.Argument(help="A folder of finished maps.", metavar="MAPS")],
    polygons: Annotated[
        Path, typer.Argument(help="Stands, plots or crowns: GeoPackage, Shapefile, GeoJSON.")
    ],
    out: Annotated[Path, typer.Option(help="The .gpkg file.", metavar="FILE")],
    layer: Annotated[str | None, typer.Option(help="Where the file has several layers.")] = None,
    buffer: Annotated[
        float, typer.Option(help="Grow stands by so many map units; negative shrinks.")
    ] = 0.0,
    overwrite: Overwrite = False,
) -> None:
    """Say what the maps hold in every stand: means, shares, n.

    A GeoPackage with its style, a CSV, and a QGIS project of stands and maps.
    """
    from hsimap.errors import OutputExistsError, UsageError
    from hsimap.products import open_maps

    if out.suffix != ".gpkg":
        raise UsageError(f"stands are written to a .gpkg file, got --out {out}")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} exists; use --overwrite or choose another --out")
    if out.resolve() == polygons.resolve():
        raise UsageError(f"--out {out} is the file of the stands; choose another")
    out.parent.mkdir(parents=True, exist_ok=True)
    _write(open_maps(maps), polygons, out=out, layer=layer, buffer=buffer)


def _write(maps: MapFolder, polygons: Path, *, out: Path, layer: str | None, buffer: float) -> None:
    import numpy as np

    from hsimap.evaluation import stand_statistics
    from hsimap.labels import read_features, read_table
    from hsimap.products import write_project, write_stands

    grid = min((made.grid for made in maps.layers), key=lambda g: g.pixel_area)
    features = read_features(
        polygons, grid=grid, field=None, layer=layer, buffer=buffer, overlaps=True
    )
    for note in features.notes:
        typer.echo(f"note: {note}", err=True)
    columns = stand_statistics(maps, features.shapes, grid=grid)
    table = read_table(polygons, layer=layer)
    kept = features.values.astype(int) - 1
    files, entry = write_stands(
        out,
        table.shapes[kept],
        attributes={name: values[kept] for name, values in table.fields.items()},
        columns=columns,
        crs=table.crs or grid.crs,
        maps=maps,
    )
    project = out.with_suffix(".qgs")
    write_project(project, [maps], title=f"{maps.name}, {polygons.stem}", extra=[entry])
    empty = int(np.sum(columns["n"] == 0))
    typer.echo(
        f"{out}: {kept.size} stands, {empty} without data, {len(columns)} columns; also"
        f" {', '.join(path.name for path in (*files[1:], project))}"
    )

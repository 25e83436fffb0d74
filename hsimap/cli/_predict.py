"""``hsimap predict``: map scenes with a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._events import event_log
from hsimap.cli._jobs import (
    Aoi,
    Batch,
    Bbox,
    Compile,
    Device,
    DryRun,
    Force,
    Intervals,
    Job,
    LogJson,
    Model,
    Nodata,
    Precision,
    Probabilities,
    Resample,
    Resampling,
    Runtime,
    Scale,
    Show,
    area_of,
    print_mapped,
)
from hsimap.cli._options import Json, Overwrite, Quiet
from hsimap.cli._other_grid import OtherGrid, at_first
from hsimap.cli._progress import parse_bytes, tile_progress
from hsimap.cli._spread import map_spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsimap.bundle import Bundle
    from hsimap.cli._events import Log
    from hsimap.mapping import MapReport, MapSettings
    from hsimap.scenes import Scene

EXAMPLES: Final = """
hsimap predict line1.tif --out maps
hsimap predict line1.img line2.img --model models/boreal-demo --out maps
hsimap predict line1.tif --out maps --aoi stands.gpkg --bbox 24.1,60.9,24.2,61,EPSG:4326
hsimap predict line1.img --out maps --grid north-up
hsimap predict line1.tif --out maps --memory 2GiB --probabilities none --dry-run"""


def run(
    scenes: Annotated[
        list[Path], typer.Argument(help="GeoTIFF, COG or ENVI rasters.", metavar="SCENE")
    ],
    out: Annotated[Path, typer.Option(help="Where each scene gets a folder.", metavar="DIR")],
    model: Model = None,
    runtime: Annotated[
        Runtime, typer.Option(help="What runs the network; auto: ONNX where the model has it.")
    ] = Runtime.AUTO,
    precision: Annotated[
        Precision,
        typer.Option(help="auto: the fastest that the model was accepted for (hsimap export)."),
    ] = Precision.AUTO,
    device: Annotated[
        Device, typer.Option(help="Where; one that is asked for and absent is an error.")
    ] = Device.AUTO,
    threads: Annotated[int | None, typer.Option(help="Default: one a core.", min=1)] = None,
    compiled: Compile = False,
    tile: Annotated[
        int | None, typer.Option(help="Kept side of a tile, px. Default: by memory.", min=1)
    ] = None,
    batch: Batch = None,
    trim: Annotated[
        int | None,
        typer.Option(help="Context cut off on each side, px. Default: the model's.", min=0),
    ] = None,
    ramp: Annotated[
        int | None, typer.Option(help="Cross-fade between tiles, px. Default: the model's.", min=0)
    ] = None,
    memory: Annotated[
        str, typer.Option(help="Budget of the whole process, as 800MiB.", metavar="SIZE")
    ] = "4GiB",
    workers: Annotated[
        int, typer.Option(help="Processes; --memory and --threads are each one's.", min=1)
    ] = 1,
    probabilities: Annotated[
        Probabilities,
        typer.Option(help="Of a class map: a band a class, the highest only, or none."),
    ] = Probabilities.ALL,
    intervals: Intervals = None,
    bbox: Bbox = None,
    aoi: Aoi = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="Also put the maps on another grid: north-up, or that of a raster.",
            metavar="north-up|RASTER",
        ),
    ] = None,
    resample: Resampling = Resample.AUTO,
    scale: Scale = None,
    nodata: Nodata = None,
    force: Force = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    log_json: LogJson = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Map scenes: a COG and a QGIS style for every variable.

    An interrupted run is resumed by the same command; a finished one is left as it is.
    """
    from hsimap.mapping import MapSettings, output_folders

    with event_log(log_json) as log:
        settings = MapSettings(
            runtime=runtime.value,
            precision=precision.value,
            device=device.value,
            threads=threads,
            compiled=compiled,
            tile=tile,
            batch=batch,
            trim=trim,
            ramp=ramp,
            memory=parse_bytes(memory),
            probabilities=probabilities.value,
            intervals=intervals,
            resample=resample.value,
            force=force,
            overwrite=overwrite,
            area=area_of(bbox, aoi),
        )
        show = Show(as_json=as_json, quiet=quiet)
        folders = output_folders(scenes, out)
        other = OtherGrid.of(grid, settings)
        if other is not None:
            settings = other.settings
        jobs = [
            Job(path=path, folder=at_first(folder, other), model=model, scale=scale, nodata=nodata)
            for path, folder in zip(scenes, folders, strict=True)
        ]
        _map_all(jobs, settings, workers=1 if dry_run else workers, dry_run=dry_run,
                 show=show, log=log)  # fmt: skip
        if other is not None and not dry_run:
            other.put(folders, show=show)


def _map_all(
    jobs: list[Job],
    settings: MapSettings,
    *,
    workers: int,
    dry_run: bool,
    show: Show,
    log: Log,
) -> None:
    if workers > 1:
        map_spread(jobs, settings, workers=workers, show=show, log=log)
        return
    for job in jobs:
        if dry_run:
            _plan_one(job, settings, show=show)
        else:
            _map_one(job, settings, show=show, log=log)


def _map_one(job: Job, settings: MapSettings, *, show: Show, log: Log) -> None:
    from hsimap.mapping import choose_model, map_scene

    def listen(event: str, facts: Mapping[str, object]) -> None:
        log(event, {"scene": job.path.name, **facts})

    with job.open() as scene:
        bundle = choose_model(scene, job.model)
        with tile_progress(scene.name, quiet=show.quiet or show.as_json) as progress:
            report = map_scene(
                scene, bundle, settings=settings, out=job.folder, progress=progress, listen=listen
            )
    _print_report(report, as_json=show.as_json)


def _plan_one(job: Job, settings: MapSettings, *, show: Show) -> None:
    from hsimap.mapping import choose_model

    with job.open() as scene:
        bundle = choose_model(scene, job.model)
        _print_plan(scene, bundle, settings, folder=job.folder, as_json=show.as_json)


def _print_plan(
    scene: Scene, bundle: Bundle, settings: MapSettings, *, folder: Path, as_json: bool
) -> None:
    from hsimap.mapping import estimate_run

    plan, seconds = estimate_run(scene, bundle, settings)
    facts = {"out": str(folder), **plan.describe(), "estimated_seconds": round(seconds, 1)}
    if as_json:
        typer.echo(json.dumps({**facts, "notes": list(plan.notes)}))
        return
    for key, value in facts.items():
        shown = f"{float(str(value)) / 2**20:.0f} MiB" if key.endswith("_bytes") else value
        typer.echo(f"{key.removesuffix('_bytes').replace('_', ' '):>20}  {shown}")
    for note in plan.notes:
        typer.echo(f"note: {note}", err=True)


def _print_report(report: MapReport, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**report.facts(), "notes": list(report.notes)}))
        return
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    print_mapped(
        report.folder,
        sum(name.endswith(".tif") for name in report.files),
        pixels=report.pixels,
        seconds=report.seconds,
        strips=None
        if report.already_complete
        else (report.strips_resumed, report.plan.tiles.n_rows),
    )

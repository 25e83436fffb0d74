"""``hsimap batch``: map the lines of a campaign, on one machine or on a cluster."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
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
    LogJson,
    Model,
    Nodata,
    Precision,
    Probabilities,
    Resample,
    Resampling,
    Runtime,
    Scale,
    area_of,
)
from hsimap.cli._lines_progress import lines_progress
from hsimap.cli._mosaic import print_mosaic
from hsimap.cli._options import Json, Overwrite, Quiet
from hsimap.cli._progress import parse_bytes, progress_of
from hsimap.errors import BatchError

if TYPE_CHECKING:
    from hsimap.flightlines import BatchPlan, BatchReport, BatchSettings


class Mosaic(StrEnum):
    """How the lines become one map."""

    NADIR = "nadir"
    FEATHER = "feather"
    BEST = "best"
    NONE = "none"


EXAMPLES: Final = """
hsimap batch flights --model models/boreal-demo --out maps
hsimap batch 'flights/*/scene.bil' --out maps --workers 4
hsimap batch flights --out maps --aoi stands.gpkg
hsimap batch --lines lines.txt --out maps --scheduler tcp://node1:8786
hsimap batch --stac items.json --out maps --dry-run"""


def run(
    out: Annotated[Path, typer.Option(help="Where each line gets a folder.", metavar="DIR")],
    lines: Annotated[
        list[str] | None,
        typer.Argument(help="Rasters, patterns, or folders of rasters.", metavar="LINE"),
    ] = None,
    listed: Annotated[
        Path | None, typer.Option("--lines", help="Text file, a line each.", metavar="FILE")
    ] = None,
    stac: Annotated[
        Path | None, typer.Option(help="STAC items whose assets are the lines.", metavar="FILE")
    ] = None,
    model: Model = None,
    scheduler: Annotated[
        str,
        typer.Option(help="local, slurm, or a dask scheduler's address.", metavar="WHERE"),
    ] = "local",
    workers: Annotated[
        int, typer.Option(help="Processes that are started, here or by SLURM.", min=1)
    ] = 1,
    retries: Annotated[
        int, typer.Option(help="Tries more of a part that failed by chance.", min=0)
    ] = 2,
    allow_mixed: Annotated[
        bool,
        typer.Option("--allow-mixed", help="Take workers that differ; bytes may differ, too."),
    ] = False,
    mosaic: Annotated[
        Mosaic, typer.Option(help="How the lines become one map; see hsimap mosaic.")
    ] = Mosaic.NADIR,
    grid: Annotated[
        Path | None, typer.Option(help="Raster whose grid the mosaic takes.", metavar="TEMPLATE")
    ] = None,
    zenith: Annotated[
        str | None,
        typer.Option(
            help="For nadir: layer of the view's zenith angle, {line} = its name.", metavar="PATH"
        ),
    ] = None,
    runtime: Annotated[Runtime, typer.Option(help="As for predict.")] = Runtime.AUTO,
    precision: Annotated[Precision, typer.Option(help="As for predict.")] = Precision.AUTO,
    device: Annotated[Device, typer.Option(help="cuda: one GPU of each worker.")] = Device.AUTO,
    threads: Annotated[
        int | None,
        typer.Option(help="Of each worker. Default: cores over workers, then as begun.", min=1),
    ] = None,
    compiled: Compile = False,
    tile: Annotated[int | None, typer.Option(help="As for predict.", min=1)] = None,
    batch: Batch = None,
    memory: Annotated[
        str, typer.Option(help="Budget of each worker, as 800MiB.", metavar="SIZE")
    ] = "4GiB",
    probabilities: Annotated[
        Probabilities, typer.Option(help="A mosaic of classes needs all.")
    ] = Probabilities.ALL,
    intervals: Intervals = None,
    bbox: Bbox = None,
    aoi: Aoi = None,
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
    """Map all lines of a campaign and put the mosaic together.

    All lines are checked first. A line that fails does not stop the others (exit code 40). The same
    command again does only what is missing.
    """
    from hsimap import flightlines as fl
    from hsimap.mapping import MapSettings

    chosen = None
    if mosaic is not Mosaic.NONE:
        chosen = fl.MosaicSettings(method=fl.Method(mosaic.value), template=grid, zenith=zenith)
    settings = fl.BatchSettings(
        mapping=MapSettings(
            runtime=runtime.value,
            precision=precision.value,
            device=device.value,
            threads=threads,
            compiled=compiled,
            tile=tile,
            batch=batch,
            memory=parse_bytes(memory),
            probabilities=probabilities.value,
            intervals=intervals,
            resample=resample.value,
            force=force,
            overwrite=overwrite,
            area=area_of(bbox, aoi),
        ),
        spread=fl.SpreadSettings(
            scheduler=scheduler, workers=workers, retries=retries, mixed=allow_mixed
        ),
        scale=scale,
        nodata=nodata,
        mosaic=chosen,
    )
    sure, maybe = fl.find_lines(lines or [], listed=listed, stac=stac)
    plan = fl.check_lines(sure, maybe, model=model, settings=settings, out=out)
    _print_plan(plan, as_json=as_json, dry_run=dry_run)
    if not dry_run:
        _work(plan, settings, out, log_json=log_json, quiet=quiet or as_json, as_json=as_json)


def _work(
    plan: BatchPlan,
    settings: BatchSettings,
    out: Path,
    *,
    log_json: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from hsimap import flightlines as fl

    pixels = {line.name: line.pixels for line in plan.sound}
    with event_log(log_json) as log:
        with lines_progress(pixels, quiet=quiet, log=log) as tell:
            results = fl.run_lines(plan, settings, out, tell=tell)
        with progress_of("mosaic", "strips", quiet=quiet) as progress:
            report = fl.finish_batch(plan, settings, results, progress=progress)
    _print_report(report, as_json=as_json)
    if report.failed:
        names = ", ".join(line.name for line in report.failed)
        raise BatchError(
            f"{len(report.failed)} of {len(report.lines)} lines failed: {names}; mend them and run"
            f" the same command again"
        )
    if report.no_mosaic:
        raise BatchError(f"all lines are complete, but there is no mosaic: {report.no_mosaic}")


def _print_plan(plan: BatchPlan, *, as_json: bool, dry_run: bool) -> None:
    if as_json and not dry_run:
        return
    if as_json:
        lines = [line.facts() for line in plan.lines]
        facts = {"model": plan.bundle.name, "needed_bytes": plan.needed_bytes, "lines": lines}
        typer.echo(json.dumps({**facts, "outside": list(plan.outside)}))
        return
    width = max(len(line.name) for line in plan.lines)
    for line in plan.lines:
        if line.problem is not None:
            typer.echo(f"{line.name:<{width}}  cannot be mapped: {line.problem}")
            continue
        size = f"{line.height} x {line.width} px, {line.bands} bands, {line.crs}"
        typer.echo(f"{line.name:<{width}}  {size}, {line.strips} strips")
        for note in line.notes if dry_run else ():
            typer.echo(f"{line.name}: note: {note}", err=True)
    total = sum(line.pixels for line in plan.sound) / 1e6
    typer.echo(
        f"{len(plan.sound)} of {len(plan.lines)} lines, {total:.3g} Mpx, model {plan.bundle.name};"
        f" {plan.needed_bytes / 2**30:.2f} GiB needed, {plan.free_bytes / 2**30:.1f} GiB free"
    )
    if plan.skipped:
        typer.echo(f"{len(plan.skipped)} other rasters in the folders do not fit the model")
    if plan.outside:
        typer.echo(f"note: outside the area and left out: {', '.join(plan.outside)}", err=True)
    sys.stdout.flush()


def _print_report(report: BatchReport, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.facts()))
        return
    width = max((len(line.name) for line in report.lines), default=4)
    typer.echo(f"{'line':<{width}}  {'state':<17} {'strips':>11} {'seconds':>8}  maps")
    for line in report.lines:
        state = "failed" if line.error else "complete"
        state = "already complete" if line.already_complete else state
        strips = f"{line.strips_computed} of {line.strips}"
        typer.echo(
            f"{line.name:<{width}}  {state:<17} {strips:>11} {line.seconds:>8.1f}  {len(line.maps)}"
        )
    pixels = sum(line.pixels for line in report.lines) / 1e6
    speed = pixels / max(report.seconds, 1e-9)
    typer.echo(f"{pixels:.3g} Mpx in {report.seconds:.1f} s, {speed:.3g} Mpx/s with the mosaic")
    if report.mosaic is not None:
        print_mosaic(report.mosaic, as_json=False)
    sys.stdout.flush()

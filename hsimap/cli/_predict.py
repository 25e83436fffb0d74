"""``hsimap predict``: map scenes with a model."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._events import event_log
from hsimap.cli._options import Json, Overwrite, Quiet
from hsimap.cli._progress import parse_bytes, tile_progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsimap.bundle import Bundle
    from hsimap.cli._events import Log
    from hsimap.mapping import MapReport, MapSettings
    from hsimap.scenes import Scene


class Runtime(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


class Precision(StrEnum):
    """What the network computes in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"
    INT8 = "int8"


class Device(StrEnum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Resample(StrEnum):
    """What is done where the scene has other bands than the model."""

    NEVER = "never"
    AUTO = "auto"
    ALWAYS = "always"


class Probabilities(StrEnum):
    """Which probability maps are written."""

    ALL = "all"
    MAX = "max"
    NONE = "none"


EXAMPLES: Final = """
hsimap predict line1.tif --out maps
hsimap predict line1.img line2.img --model models/boreal-demo --out maps
hsimap predict line1.tif --out maps --memory 2GiB --probabilities none --dry-run"""


def run(
    scenes: Annotated[
        list[Path], typer.Argument(help="GeoTIFF, COG or ENVI rasters.", metavar="SCENE")
    ],
    out: Annotated[Path, typer.Option(help="Where each scene gets a folder.", metavar="DIR")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="Model folder. Default: $HSIMAP_MODEL, else the one under ./models that fits.",
            metavar="DIR",
        ),
    ] = None,
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
    tile: Annotated[
        int | None, typer.Option(help="Kept side of a tile, px. Default: by memory.", min=1)
    ] = None,
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
    probabilities: Annotated[
        Probabilities,
        typer.Option(help="Of a class map: a band a class, the highest only, or none."),
    ] = Probabilities.ALL,
    intervals: Annotated[
        int | None,
        typer.Option(
            help="Also map both ends of the prediction interval of each value, as 90.",
            metavar="PERCENT",
            min=1,
            max=99,
        ),
    ] = None,
    resample: Annotated[
        Resample,
        typer.Option(help="Of bands; auto: only those that are not near enough to the model's."),
    ] = Resample.AUTO,
    scale: Annotated[
        float | None,
        typer.Option(help="Reflectance of one stored unit, as 0.0001. Default: what is stated."),
    ] = None,
    nodata: Annotated[
        float | None, typer.Option(help="Stored value of a missing sample. Default: as stated.")
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Map a scene that does not look like the training scenes."),
    ] = False,
    overwrite: Overwrite = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, memory and time; write nothing.")
    ] = False,
    log_json: Annotated[
        Path | None,
        typer.Option(
            "--log-json", help="Append a JSON line an event to this file.", metavar="FILE"
        ),
    ] = None,
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
            tile=tile,
            trim=trim,
            ramp=ramp,
            memory=parse_bytes(memory),
            probabilities=probabilities.value,
            intervals=intervals,
            resample=resample.value,
            force=force,
            overwrite=overwrite,
        )
        show = _Show(as_json=as_json, quiet=quiet)
        for path, folder in zip(scenes, output_folders(scenes, out), strict=True):
            job = _Job(path=path, folder=folder, model=model, scale=scale, nodata=nodata)
            if dry_run:
                _plan_one(job, settings, show=show)
            else:
                _map_one(job, settings, show=show, log=log)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Show:
    """How much is printed."""

    as_json: bool
    quiet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One scene, where its maps go, and what the user states of it."""

    path: Path
    folder: Path
    model: Path | None
    scale: float | None
    nodata: float | None

    def open(self) -> Scene:
        from hsimap.scenes import open_scene

        return open_scene(self.path, nodata=self.nodata, scale=self.scale)


def _map_one(job: _Job, settings: MapSettings, *, show: _Show, log: Log) -> None:
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


def _plan_one(job: _Job, settings: MapSettings, *, show: _Show) -> None:
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
    maps = sum(name.endswith(".tif") for name in report.files)
    if report.already_complete:
        typer.echo(f"{report.folder}: already complete, {maps} maps")
    else:
        speed = report.pixels / report.seconds / 1e6
        typer.echo(
            f"{report.folder}: {maps} maps in {report.seconds:.1f} s, {speed:.3g} Mpx/s,"
            f" {report.strips_resumed} of {report.plan.tiles.n_rows} strips resumed"
        )
    sys.stdout.flush()

"""``hsimap predict``: map scenes with a model."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hsimap.cli._progress import parse_bytes, tile_progress

if TYPE_CHECKING:
    from hsimap.bundle import Bundle
    from hsimap.mapping import MapReport, MapSettings
    from hsimap.scenes import Scene


class Runtime(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"


class Device(StrEnum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Probabilities(StrEnum):
    """Which probability maps are written."""

    ALL = "all"
    MAX = "max"
    NONE = "none"


def run(
    scenes: Annotated[list[Path], typer.Argument(help="GeoTIFF, COG or ENVI rasters.")],
    out: Annotated[Path, typer.Option(help="Folder; each scene gets one in it.")],
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder. Default: $HSIMAP_MODEL, else what fits in ./models."),
    ] = None,
    runtime: Annotated[Runtime, typer.Option(help="What runs the network.")] = Runtime.AUTO,
    device: Annotated[Device, typer.Option(help="Asked for and not got = error.")] = Device.AUTO,
    threads: Annotated[int | None, typer.Option(help="Default: one a core.")] = None,
    tile: Annotated[int | None, typer.Option(help="Kept side of a tile, px.")] = None,
    trim: Annotated[int | None, typer.Option(help="Context cut off each side, px.")] = None,
    ramp: Annotated[int | None, typer.Option(help="Cross-fade between tiles, px.")] = None,
    memory: Annotated[str, typer.Option(help="Budget of the whole process.")] = "4GiB",
    probabilities: Annotated[
        Probabilities, typer.Option(help="A band a class, the highest, or none.")
    ] = Probabilities.ALL,
    overwrite: Annotated[bool, typer.Option(help="Replace another run's maps.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Print plan, memory and time only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line a scene.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Map scenes: a COG, a QGIS style and a legend for every variable of the model.

    An interrupted run is resumed by the same command; a finished one is left as it is.

    Example: hsimap predict line1.tif line2.img --model models/boreal-demo --out maps/
    """
    from hsimap.mapping import MapSettings, choose_model, map_scene, output_folders
    from hsimap.scenes import open_scene

    settings = MapSettings(
        runtime=runtime.value,
        device=device.value,
        threads=threads,
        tile=tile,
        trim=trim,
        ramp=ramp,
        memory=parse_bytes(memory),
        probabilities=probabilities.value,
        overwrite=overwrite,
    )
    for path, folder in zip(scenes, output_folders(scenes, out), strict=True):
        with open_scene(path) as scene:
            bundle = choose_model(scene, model)
            if dry_run:
                _print_plan(scene, bundle, settings, folder=folder, as_json=as_json)
                continue
            with tile_progress(scene.name, quiet=quiet or as_json) as progress:
                report = map_scene(scene, bundle, settings=settings, out=folder, progress=progress)
            _print_report(report, as_json=as_json)


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
    maps = [name for name in report.files if name.endswith(".tif")]
    if as_json:
        facts = {
            "out": str(report.folder),
            "maps": maps,
            "already_complete": report.already_complete,
            "seconds": round(report.seconds, 3),
            "notes": list(report.notes),
        }
        typer.echo(json.dumps(facts))
        return
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
    if report.already_complete:
        typer.echo(f"{report.folder}: already complete, {len(maps)} maps")
    else:
        typer.echo(f"{report.folder}: {len(maps)} maps in {report.seconds:.1f} s")
    sys.stdout.flush()

"""``hsimap style``: colours, names and units for rasters in QGIS and GDAL."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from hsimap.tasks import Task

EXAMPLES: Final = """
hsimap style maps/line1/*.tif
hsimap style site.tif --classes site.yaml
hsimap style height.tif --range 0,35 --ramp ylgn --unit m
hsimap style old/*.tif --model models/boreal-demo"""


class Ramp(StrEnum):
    """Colours of values, from low to high."""

    VIRIDIS = "viridis"
    MAGMA = "magma"
    CIVIDIS = "cividis"
    YLGN = "ylgn"
    GREYS = "greys"


def run(
    maps: Annotated[list[Path], typer.Argument(help="GeoTIFF or ENVI rasters.", metavar="MAP")],
    classes: Annotated[
        Path | None,
        typer.Option(help="YAML of `code: name` or `code: {name, color}`.", metavar="FILE"),
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option("--range", help="Values of the ramp's ends, as 0,35.", metavar="LOW,HIGH"),
    ] = None,
    ramp: Annotated[Ramp | None, typer.Option(help="Colours of values.")] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of values, as m2 ha-1.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Model folder whose task of the file's name is taken.", metavar="DIR"),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Name of the model's task, if another.")] = None,
) -> None:
    """Style any raster of classes or values for QGIS and GDAL.

    Names, colours and units are the raster's own, its manifest's, a model's or given; the raster
    itself stays as it is.
    """
    from hsimap.errors import UsageError
    from hsimap.products import RAMPS, restyle, task_of_raster
    from hsimap.tasks import Kind

    given = [name for name, value in (("--classes", classes), ("--model", model)) if value]
    if len(given) > 1 or (classes and (limits or ramp or unit)):
        raise UsageError("--classes goes with neither --model nor --range, --ramp and --unit")
    for path in maps:
        made, source = _given_task(path, classes, model, task) or task_of_raster(path)
        if unit is not None or ((limits or ramp) and made.kind is Kind.CATEGORICAL and not model):
            made = _as_values(made, unit)
        written = restyle(
            path, made, limits=_pair(limits), ramp=RAMPS[ramp.value] if ramp else None
        )
        typer.echo(f"{path}: styled by {source}, wrote {', '.join(p.name for p in written)}")


def _given_task(
    path: Path, classes: Path | None, model: Path | None, task: str | None
) -> tuple[Task, str] | None:
    """Return the task that the options name, and where it is from."""
    from hsimap.config import load_yaml
    from hsimap.products import names_and_colors, task_name
    from hsimap.tasks import task_from_mapping

    if classes is not None:
        mapping = names_and_colors(load_yaml(classes))
        return task_from_mapping(task_name(path), mapping), classes.name
    if model is None:
        return None
    return _model_task(model, task or task_name(path)), model.name


def _model_task(model: Path, name: str) -> Task:
    from hsimap.bundle import Bundle
    from hsimap.errors import UsageError

    tasks = {task.name: task for task in Bundle.load(model).manifest.tasks}
    if name not in tasks:
        raise UsageError(
            f"{model} has no task {name!r}; name one of {', '.join(tasks)} with --task"
        )
    return tasks[name]


def _as_values(task: Task, unit: str | None) -> Task:
    from hsimap.tasks import Kind, Task

    return Task(
        name=task.name,
        kind=Kind.CONTINUOUS,
        title=task.title,
        unit=task.unit if unit is None else unit,
        range=task.range,
    )


def _pair(text: str | None) -> tuple[float, float] | None:
    from hsimap.errors import UsageError

    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--range takes two numbers as 0,35, got {text!r}") from None
    if not low < high:
        raise UsageError(f"--range must rise, got {text!r}")
    return low, high

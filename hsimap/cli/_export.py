"""``hsimap export``: make and measure the faster routes through a model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._jobs import Device
from hsimap.cli._options import Data

if TYPE_CHECKING:
    from collections.abc import Callable

    from hsimap.bundle import Acceptance, Bundle

EXAMPLES: Final = """
hsimap export models/net                            measure the memory of a forward
hsimap export models/net --calibrate line1.tif      int8 and bf16, compared with float32
hsimap export models/net --recipe my.yaml           the same, with validation scores"""


def run(
    model: Annotated[Path, typer.Argument(help="A model folder.", metavar="MODEL")],
    calibrate: Annotated[
        Path | None,
        typer.Option(help="A scene to calibrate int8 on and to compare on.", metavar="SCENE"),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            help="Instead, the recipe: int8 is calibrated on training pixels, and validation"
            " pixels and scores are compared.",
            metavar="RECIPE",
        ),
    ] = None,
    data: Data = None,
    device: Annotated[Device, typer.Option(help="Whose routes are measured.")] = Device.AUTO,
    accept_unproven: Annotated[
        bool,
        typer.Option(
            "--accept-unproven",
            help="Allow what falls short, as for a benchmark; the model and each run say so.",
        ),
    ] = False,
) -> None:
    """Make and measure the faster routes through a model.

    A reduced precision is offered by `hsimap predict` only where its maps agree with those of
    float32. The figures are kept in the model folder, for each kind of CPU and GPU.
    """
    from hsimap.bundle import Bundle
    from hsimap.errors import UsageError
    from hsimap.mapping import SceneSamples, export_routes
    from hsimap.scenes import open_scene

    if calibrate and recipe:
        raise UsageError("--calibrate and --recipe were both given; give one of them")
    bundle = Bundle.load(model)
    export = partial(export_routes, device=device.value, waive=accept_unproven)
    if recipe:
        bundle, speed = _with_recipe(bundle, recipe, data, export)
    elif calibrate:
        with open_scene(calibrate) as scene:
            bundle, speed = export(bundle, SceneSamples(bundle, scene))
    else:
        bundle, speed = export(bundle, None)
    needed = bundle.manifest.activation_bytes_per_px
    typer.echo(f"{bundle.path}: digest {bundle.digest[:12]}")
    typer.echo(f"memory of a forward: {needed or 0:.0f} bytes a pixel beside its input")
    if calibrate or recipe:
        _print(bundle, speed)


def _with_recipe(
    bundle: Bundle, path: Path, data: Path | None, export: Callable[..., tuple[Bundle, float]]
) -> tuple[Bundle, float]:
    from hsimap.evaluation import FoldSamples, validation_scores
    from hsimap.recipes import load_recipe
    from hsimap.training import open_recipe

    recipe = load_recipe(path, data=data)
    tasks = recipe.tasks_list()
    with open_recipe(recipe, bundle.manifest.input) as opened:
        samples = FoldSamples(bundle, opened.scenes, name=f"the validation fold of {recipe.name}")
        return export(
            bundle,
            samples,
            scores=lambda runtime: validation_scores(bundle, runtime, opened.scenes, tasks=tasks),
        )


def _print(bundle: Bundle, speed: float) -> None:
    head = f"{'route':<16}{'Mpx/s':>7}{'agreement':>11}{'rmse':>8}{'p99.9':>8}{'points':>8}"
    typer.echo(f"{head}  verdict")
    typer.echo(f"{'fp32':<16}{speed:>7.2f}")
    for record in bundle.manifest.acceptance:
        typer.echo(_line(record))
        for fault in record.faults:
            typer.echo(f"    {fault}")
    if any(record.metrics == "not measured" for record in bundle.manifest.acceptance):
        typer.echo("points: the change of the validation scores needs labels; give --recipe.")


def _line(record: Acceptance) -> str:
    """Return the worst figures of a record as a line of the table."""
    found = record.tasks.values()
    agreement = min((f["agreement"] for f in found if "agreement" in f), default=1.0)
    rmse, p999 = (max((f[key] for f in found if key in f), default=0.0) for key in ("rmse", "p999"))
    points = "-"
    if record.metrics != "not measured":
        changes = [change for scores in record.metrics.values() for change in scores.values()]
        points = f"{min(changes, default=0.0):+.2f}"
    return (
        f"{record.runtime + ' ' + record.precision:<16}{record.mpx_per_s:>7.2f}{agreement:>11.4f}"
        f"{rmse:>8.3f}{p999:>8.3f}{points:>8}  {record.verdict} on {record.pixels} px of"
        f" {record.scene}"
    )

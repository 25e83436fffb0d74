"""``hsimap export``: make and measure the faster routes through a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from hsimap.bundle import Acceptance

EXAMPLES: Final = """
hsimap export models/net                            measure the memory of a forward
hsimap export models/net --calibrate line1.tif      int8 and bf16, compared with float32"""


def run(
    model: Annotated[Path, typer.Argument(help="A model folder.", metavar="MODEL")],
    calibrate: Annotated[
        Path | None,
        typer.Option(help="A scene to calibrate int8 on and to compare on.", metavar="SCENE"),
    ] = None,
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
    float32. The figures are kept in the model folder, for each kind of CPU.
    """
    from contextlib import nullcontext

    from hsimap.bundle import Bundle
    from hsimap.mapping import export_routes
    from hsimap.scenes import open_scene

    bundle = Bundle.load(model)
    with open_scene(calibrate) if calibrate else nullcontext() as scene:
        bundle, speed = export_routes(bundle, scene, waive=accept_unproven)
    needed = bundle.manifest.activation_bytes_per_px
    typer.echo(f"{bundle.path}: digest {bundle.digest[:12]}")
    typer.echo(f"memory of a forward: {needed or 0:.0f} bytes a pixel beside its input")
    if scene is None:
        return
    typer.echo(f"{'route':<16}{'Mpx/s':>7}{'agreement':>11}{'rmse':>8}{'p99.9':>8}  verdict")
    typer.echo(f"{'fp32':<16}{speed:>7.2f}")
    for record in bundle.manifest.acceptance:
        typer.echo(_line(record))
        for fault in record.faults:
            typer.echo(f"    {fault}")
    typer.echo("Change of the validation metrics: not measured, that needs labels.")


def _line(record: Acceptance) -> str:
    """Return the worst figures of a record as a line of the table."""
    found = record.tasks.values()
    agreement = min((f["agreement"] for f in found if "agreement" in f), default=1.0)
    rmse, p999 = (max((f[key] for f in found if key in f), default=0.0) for key in ("rmse", "p999"))
    return (
        f"{record.runtime + ' ' + record.precision:<16}{record.mpx_per_s:>7.2f}{agreement:>11.4f}"
        f"{rmse:>8.3f}{p999:>8.3f}  {record.verdict} on {record.pixels} px of {record.scene}"
    )

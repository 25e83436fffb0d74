"""``hsimap import``: make a model folder of an ONNX network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from hsimap.cli._options import Overwrite

EXAMPLES: Final = """
hsimap import net.onnx --manifest net.yaml --out models/net"""


def run(
    network: Annotated[Path, typer.Argument(help="An ONNX file.", metavar="NETWORK")],
    manifest: Annotated[
        Path,
        typer.Option(help="YAML that names bands, tasks, outputs and alignment.", metavar="YAML"),
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.", metavar="DIR")],
    overwrite: Overwrite = False,
) -> None:
    """Make a model folder of an ONNX network.

    A network that was trained elsewhere is then mapped by this engine like any other.
    """
    from hsimap.runtimes import import_onnx, measure_activations

    bundle = import_onnx(network, manifest, out, overwrite=overwrite)
    if bundle.manifest.activation_bytes_per_px is None:
        bundle = bundle.rewrite(measure_activations(bundle))
    typer.echo(f"{bundle.path}: model {bundle.name}, digest {bundle.digest[:12]}")

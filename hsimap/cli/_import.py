"""``hsimap import``: make a model folder of an ONNX network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    network: Annotated[Path, typer.Argument(help="An ONNX file.")],
    manifest: Annotated[Path, typer.Option(help="YAML: bands, tasks, outputs, alignment.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    overwrite: Annotated[bool, typer.Option(help="Replace an existing model folder.")] = False,
) -> None:
    """Take in a network that was trained elsewhere, so that it is mapped by this engine.

    Example: hsimap import net.onnx --manifest net.yaml --out models/net
    """
    from hsimap.runtimes import import_onnx

    bundle = import_onnx(network, manifest, out, overwrite=overwrite)
    typer.echo(f"{bundle.path}: model {bundle.name}, digest {bundle.digest[:12]}")

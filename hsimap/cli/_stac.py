"""``hsimap stac``: a catalogue of finished maps."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hsimap.cli._options import Overwrite

if TYPE_CHECKING:
    from hsimap.products import MapFolder

EXAMPLES: Final = """
hsimap stac maps/line1 maps/line2 --out catalogue --model models/boreal-demo
hsimap stac maps/mosaic --out catalogue --time 2026-07-01T08:00:00Z/2026-07-01T11:30:00Z"""
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def run(
    maps: Annotated[list[Path], typer.Argument(help="Folders of finished maps.", metavar="MAPS")],
    out: Annotated[Path, typer.Option(help="The catalogue's folder.", metavar="DIR")],
    model: Annotated[
        Path | None, typer.Option(help="Model folder, to be an item too.", metavar="DIR")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="When it was flown, UTC: one moment, or FIRST/LAST.", metavar="TIME"),
    ] = None,
    title: Annotated[str, typer.Option(help="Default: the name of the folder.")] = "",
    overwrite: Overwrite = False,
) -> None:
    """Write a STAC catalogue of finished maps.

    A collection of STAC 1.1, with an item a folder, checksums and classes.
    """
    from hsimap.errors import OutputExistsError
    from hsimap.products import open_folders, write_catalogue

    if (out / "collection.json").exists() and not overwrite:
        raise OutputExistsError(f"{out} holds a catalogue; use --overwrite or another --out")
    folders = open_folders(maps)
    when = _span(time)
    if when is None:
        typer.echo("note: --time is not given; the items have the time of mapping", err=True)
    item = None if model is None else _model_item(model, out, folders)
    named = title or out.resolve().name
    written = write_catalogue(out, folders, title=named, when=when, model=item)
    typer.echo(f"{written[0]}: {len(written) - 1} items")


def _model_item(model: Path, out: Path, folders: list[MapFolder]) -> dict[str, Any]:
    """Return the model's item; one that none of the maps was made with is said to be so."""
    from hsimap.bundle import Bundle, model_item
    from hsimap.errors import MismatchError

    bundle = Bundle.load(model)
    for folder in folders:
        digest = folder.layers[0].tags.get("HSIMAP_MODEL_DIGEST", bundle.digest)
        if digest != bundle.digest:
            raise MismatchError(
                f"{folder.path} was mapped with the model {digest[:12]} and {model} is"
                f" {bundle.digest[:12]}; name the model that it was mapped with"
            )
    item = model_item(bundle, href="")
    href = os.path.relpath(model, out / str(item["id"])).replace(os.sep, "/")
    return model_item(bundle, href=href)


def _span(text: str | None) -> tuple[str, str] | None:
    from hsimap.errors import UsageError

    if text is None:
        return None
    parts = text.split("/")
    if len(parts) > 2 or not all(_MOMENT.fullmatch(part) for part in parts):  # noqa: PLR2004  # a pair
        raise UsageError(f"--time must be as 2026-07-01T08:00:00Z, or two of them; got {text!r}")
    return parts[0], parts[-1]

"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the recipe's files are in. Default: $HSIMAP_DATA, else the recipe's own.",
        metavar="DIR",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one field of the recipe; may be repeated."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another run wrote.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Draw no progress.")]

"""What verbs that map scenes have in common."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hsimap.labels import AreaSpec
    from hsimap.scenes import Scene


class Runtime(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"
    NCNN = "ncnn"


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


Model = Annotated[
    Path | None,
    typer.Option(
        help="Model folder. Default: $HSIMAP_MODEL, else the one under ./models that fits.",
        metavar="DIR",
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(help="Tiles in one forward. Default: 1; on a GPU by its memory.", min=1),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Have torch compile the network first (minutes, once): for long runs with torch.",
    ),
]
Intervals = Annotated[
    int | None,
    typer.Option(
        help="Also map both ends of the prediction interval of each value, as 90.",
        metavar="PERCENT",
        min=1,
        max=99,
    ),
]
Resampling = Annotated[
    Resample,
    typer.Option(help="Of bands; auto: only those that are not near enough to the model's."),
]
Scale = Annotated[
    float | None,
    typer.Option(help="Reflectance of one stored unit, as 0.0001. Default: what is stated."),
]
Nodata = Annotated[
    float | None, typer.Option(help="Stored value of a missing sample. Default: as stated.")
]
Bbox = Annotated[
    str | None,
    typer.Option(
        help="Map only this part: west,south,east,north in the scene's CRS, or with another behind"
        " (…,EPSG:4326).",
        metavar="BOX",
    ),
]
Aoi = Annotated[
    Path | None,
    typer.Option(help="Map only inside these polygons, in any CRS.", metavar="POLYGONS"),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Map a scene that does not look like the training scenes."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check the scenes and print the plan; write nothing.")
]
LogJson = Annotated[
    Path | None,
    typer.Option("--log-json", help="Append a JSON line an event to this file.", metavar="FILE"),
]


def area_of(bbox: str | None, aoi: Path | None) -> AreaSpec | None:
    """Return the area that the options state; None = the whole scene.

    Raises
    ------
    UsageError
        If the box is none, or the file is not there.
    """
    if bbox is None and aoi is None:
        return None
    from hsimap.errors import UsageError
    from hsimap.labels import AreaSpec, parse_bbox

    if aoi is not None and not aoi.exists():
        raise UsageError(f"there is no file {str(aoi)!r}; check --aoi")
    box, crs = (None, None) if bbox is None else parse_bbox(bbox)
    return AreaSpec(bbox=box, crs=crs, polygons=None if aoi is None else aoi.resolve())


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How much is printed."""

    as_json: bool
    quiet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One scene, where its maps go, and what the user states of it."""

    path: Path
    folder: Path
    model: Path | None
    scale: float | None
    nodata: float | None

    def open(self) -> Scene:
        """Open the scene."""
        from hsimap.scenes import open_scene

        return open_scene(self.path, nodata=self.nodata, scale=self.scale)


def print_mapped(
    folder: str | Path,
    maps: int,
    *,
    pixels: int,
    seconds: float,
    strips: tuple[int, int] | None,
) -> None:
    """Print the line of a scene that is mapped.

    Parameters
    ----------
    folder : str or Path
        Where its maps are.
    maps : int
        How many.
    pixels : int
        That this call mapped.
    seconds : float
        That it took.
    strips : tuple of int
        Those that were there before, and all; None = the maps were there before.
    """
    if strips is None:
        typer.echo(f"{folder}: already complete, {maps} maps")
    else:
        speed = pixels / max(seconds, 1e-9) / 1e6
        typer.echo(
            f"{folder}: {maps} maps in {seconds:.1f} s, {speed:.3g} Mpx/s,"
            f" {strips[0]} of {strips[1]} strips resumed"
        )
    sys.stdout.flush()

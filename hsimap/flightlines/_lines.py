"""Finished folders of maps, as the mosaic reads them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hsimap.errors import MismatchError, UsageError
from hsimap.products import Layer, MapFile, open_map, read_manifest
from hsimap.tasks import Kind, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hsimap.geometry import Grid

MAX_LINES: Final = 254
"""``source_line`` is a map of uint8 codes."""
_OPEN: Final = 256
"""Files that are open at once."""
_SUFFIX: Final = "_probability"
_RERUN: Final = "map the line again with --probabilities all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable of a mosaic."""

    task: Task
    name: str
    """Name of the map that holds codes or values."""
    stride: int
    """Pixels of the mosaic's grid per pixel of this variable, along each axis."""
    bands: tuple[str, ...]
    """Of the map that is blended: a class each, or the value."""

    @property
    def is_classes(self) -> bool:
        """Whether probabilities are blended, and not values."""
        return self.task.kind is Kind.CATEGORICAL

    @property
    def blended(self) -> str:
        """Name of the map whose numbers are blended."""
        return self.name + _SUFFIX if self.is_classes else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedLine:
    """A flight line that was mapped."""

    name: str
    folder: Path
    digest: str
    """Of the hashes of all its files."""
    scene: Path | None
    model: str
    """Digest of the model that mapped it."""
    model_name: str
    variables: tuple[Variable, ...]
    grid: Grid
    """The finest of its maps' grids."""


class FilePool:
    """Keeps the maps open that were read last."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, MapFile] = OrderedDict()

    def get(self, path: Path) -> MapFile:
        """Return a map, opened if need be."""
        if path not in self._open:
            if len(self._open) >= _OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[path] = open_map(path)
        self._open.move_to_end(path)
        return self._open[path]

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()


def read_lines(folders: Sequence[Path]) -> list[MappedLine]:
    """Read the manifests of finished folders, in the order of their names.

    Raises
    ------
    UsageError
        If a folder is not finished, is named twice, or has no probability maps.
    MismatchError
        If the lines were not mapped by one model, or do not have the same variables.
    """
    if not 1 <= len(folders) <= MAX_LINES:
        raise UsageError(f"a mosaic has 1 to {MAX_LINES} lines, got {len(folders)} folders")
    real = [folder.resolve() for folder in folders]
    if len(set(real)) < len(real):
        twice = next(f for f, r in zip(folders, real, strict=True) if real.count(r) > 1)
        raise UsageError(f"{twice} is named twice; name each line once")
    named = sorted(zip(line_names(real), folders, strict=True))
    lines = [_read_line(name, folder) for name, folder in named]
    first = lines[0]
    for line in lines[1:]:
        if line.model != first.model:
            raise MismatchError(
                f"{line.folder} was mapped with the model {line.model[:12]} and {first.folder} with"
                f" {first.model[:12]}; map all lines with one model"
            )
        if line.variables != first.variables:
            raise MismatchError(
                f"{line.folder} and {first.folder} do not hold the same maps; map both with the"
                f" same options"
            )
    return lines


def line_names(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder: its own, with as many of its parents as tell it apart.

    Examples
    --------
    >>> from pathlib import Path
    >>> line_names([Path("maps/a/line"), Path("maps/b/line")])
    ['a_line', 'b_line']
    """
    depth = max(len(folder.parts) for folder in folders)
    for n in range(1, depth + 1):
        names = ["_".join(part.strip("/") for part in folder.parts[-n:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise UsageError(f"the folders {', '.join(map(str, folders))} are not all different")


def _read_line(name: str, folder: Path) -> MappedLine:
    manifest = read_manifest(folder)
    layers = manifest.get("layers")
    if layers is None or "mosaic" in manifest["identity"]:
        what = (
            "was written by an older hsimap; remove it and map the line again"
            if layers is None
            else "is a mosaic; name folders that hsimap predict wrote"
        )
        raise UsageError(f"{folder} {what}")
    grids = {key: _grid(folder / f"{key}.tif") for key in layers}
    finest = min(grids.values(), key=pixel_size)
    variables = []
    for key, entry in layers.items():
        task = Task.model_validate(entry["task"])
        if entry["kind"] == "probabilities":
            continue
        blended = layers.get(key + _SUFFIX) if entry["kind"] == "classes" else entry
        if blended is None or (len(blended["bands"]) == 1 < len(task.classes)):
            raise UsageError(
                f"{folder} has no map of all probabilities of {key}, and codes are not averaged;"
                f" {_RERUN}"
            )
        stride = round(pixel_size(grids[key]) / pixel_size(finest))
        bands = tuple(blended["bands"])
        variables.append(Variable(task=task, name=key, stride=stride, bands=bands))
    scene = manifest["scene"]["path"]
    files = json.dumps(manifest["files"], sort_keys=True).encode()
    return MappedLine(
        name=name,
        folder=folder,
        digest=hashlib.sha256(files).hexdigest(),
        scene=folder.__class__(scene) if scene else None,
        model=manifest["model"]["digest"],
        model_name=manifest["model"]["name"],
        variables=tuple(variables),
        grid=finest,
    )


def _grid(path: Path) -> Grid:
    with open_map(path) as file:
        return file.grid


def pixel_size(grid: Grid) -> float:
    """Return the side of a square of a pixel's area, in units of the CRS."""
    t = grid.transform
    return float(abs(t.a * t.e - t.b * t.d) ** 0.5)


def layer_on(grid: Grid, variable: Variable, *, tags: dict[str, str]) -> list[Layer]:
    """Return the maps of a variable on the grid of a mosaic."""
    on = grid.coarsen(variable.stride)
    if not variable.is_classes:
        return [value_layer(variable.task, on, name=variable.name, tags=tags)]
    codes = Layer(
        name=variable.name,
        kind="classes",
        grid=on,
        task=variable.task,
        bands=(variable.name,),
        dtype="uint8",
        nodata=255,
        tags=tags,
    )
    shares = Layer(
        name=variable.blended,
        kind="probabilities",
        grid=on,
        task=variable.task,
        bands=variable.bands,
        dtype="uint16",
        nodata=65535,
        scale=1 / 65534,
        tags=tags,
    )
    return [codes, shares]


def value_layer(
    task: Task, grid: Grid, *, name: str, tags: dict[str, str], bands: tuple[str, ...] = ()
) -> Layer:
    """Return a map of float32 values."""
    return Layer(
        name=name,
        kind="values",
        grid=grid,
        task=task,
        bands=bands or (name,),
        dtype="float32",
        nodata=float("nan"),
        tags=tags,
    )

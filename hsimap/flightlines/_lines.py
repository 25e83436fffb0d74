"""Finished folders of maps, as the mosaic reads them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from hsimap.errors import MismatchError, UsageError
from hsimap.products import Layer, MapFolder, RasterFile, folder_names, open_maps
from hsimap.tasks import CLASS_NODATA, PROBABILITY_NODATA, PROBABILITY_STEPS, Kind, Task

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hsimap.geometry import Grid
    from hsimap.products import Group

MAX_LINES: Final = 254
"""``source_line`` is a map of uint8 codes."""
_OPEN: Final = 64
"""Files that are open at once; each holds some MiB of decoded tiles and codecs."""
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
    part: str = ""
    """What of the variable it shows, where that is not the variable itself."""

    @property
    def is_classes(self) -> bool:
        """Whether probabilities are blended, and not values."""
        return self.task.kind is Kind.CATEGORICAL

    @property
    def comparison(self) -> Task:
        """What the map of the lines' agreement shows."""
        label = f"{self.task.label}, {self.part}" if self.part else self.task.label
        if self.is_classes:
            return Task(
                name=f"{self.name}_agreement",
                kind=Kind.CONTINUOUS,
                title=f"{label}, share of the lines' pairs that agree",
                unit="1",
                range=(0, 1),
            )
        return Task(
            name=f"{self.name}_difference",
            kind=Kind.CONTINUOUS,
            title=f"{label}, difference of the lines",
            unit=self.task.unit,
        )

    @property
    def blended(self) -> str:
        """Name of the map whose numbers are blended."""
        return self.name + _SUFFIX if self.is_classes else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedLine:
    """A flight line that was mapped."""

    name: str
    maps: MapFolder
    digest: str
    """Of the hashes of all its maps."""
    scene: Path | None
    model: str
    """Digest of the model that mapped it."""
    model_name: str
    variables: tuple[Variable, ...]
    grid: Grid
    """The finest of its maps' grids."""
    is_part: bool = False
    """Whether an area of its scene was mapped, and not all."""
    nodata: float | None = None
    """Stored value of a missing sample of the scene."""
    flags: Layer | None = None
    """Its map of quality flags."""

    @property
    def folder(self) -> Path:
        """Where its maps lie."""
        return self.maps.path


class FilePool:
    """Keeps the maps open that were read last.

    Parameters
    ----------
    at_once : int
        Maps that are used side by side, and so stay open in any case.
    """

    def __init__(self, at_once: int = 0) -> None:
        self._most = max(_OPEN, at_once)
        self._open: OrderedDict[Path, RasterFile] = OrderedDict()

    def get(self, path: Path) -> RasterFile:
        """Return a map, opened if need be."""
        if path not in self._open:
            if len(self._open) >= self._most:
                self._open.popitem(last=False)[1].close()
            self._open[path] = RasterFile(path)
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
    named = sorted(zip(folder_names(real), folders, strict=True))
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


def _read_line(name: str, folder: Path) -> MappedLine:
    maps = open_maps(folder)
    manifest = maps.manifest
    if "mosaic" in manifest["identity"]:
        raise UsageError(f"{folder} is a mosaic; name folders that hsimap predict wrote")
    finest = min((layer.grid for layer in maps.layers), key=lambda grid: grid.pixel_size)
    scene = manifest["scene"]["path"]
    found = {file: entry for file, entry in manifest["files"].items() if file.endswith(".tif")}
    return MappedLine(
        name=name,
        maps=replace(maps, name=name),
        digest=hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest(),
        scene=folder.__class__(scene) if scene else None,
        model=manifest["model"]["digest"],
        model_name=manifest["model"]["name"],
        variables=tuple(_variables(maps, finest)),
        grid=finest,
        is_part="area" in manifest["identity"],
        nodata=_nodata(manifest["identity"]),
        flags=next((layer for layer in maps.layers if layer.kind == "flags"), None),
    )


def _nodata(identity: Mapping[str, Any]) -> float | None:
    stated = identity.get("reading", {}).get("nodata", "None")
    return None if stated == "None" else float(stated)


def _variables(maps: MapFolder, finest: Grid) -> Iterator[Variable]:
    """Yield what a mosaic can be made of: classes with their probabilities, and values."""
    layers = {layer.name: layer for layer in maps.layers}
    for layer in maps.layers:
        if layer.kind not in {"classes", "values"}:
            continue
        blended = layers.get(layer.name + _SUFFIX) if layer.kind == "classes" else layer
        if blended is None or (len(blended.bands) == 1 < len(layer.task.classes)):
            raise UsageError(
                f"{maps.path} has no map of all probabilities of {layer.name}, and codes are not"
                f" averaged; {_RERUN}"
            )
        yield Variable(
            task=layer.task,
            name=layer.name,
            stride=round(layer.grid.pixel_size / finest.pixel_size),
            bands=blended.bands,
            part=layer.part,
        )


def layers_on(grid: Grid, variable: Variable, *, tags: dict[str, str]) -> list[Layer]:
    """Return the maps of a variable on the grid of a mosaic, that of the lines' agreement last."""
    on = grid.coarsen(variable.stride)
    compared = _value_layer(variable.comparison, on, tags=tags, group="Confidence")
    if not variable.is_classes:
        layer = _value_layer(variable.task, on, tags=tags, name=variable.name)
        return [replace(layer, part=variable.part), compared]
    codes = code_layer(variable.task, on, tags=tags, name=variable.name)
    shares = Layer(
        name=variable.blended,
        kind="probabilities",
        grid=on,
        task=variable.task,
        bands=variable.bands,
        dtype="uint16",
        nodata=PROBABILITY_NODATA,
        scale=1 / PROBABILITY_STEPS,
        tags=tags,
    )
    return [codes, shares, compared]


def shared_flags(lines: Sequence[MappedLine], grid: Grid, *, tags: dict[str, str]) -> list[Layer]:
    """Return the map of flags of a mosaic; none where lines have none, or different ones."""
    first = lines[0].flags
    if first is None or any(line.flags is None or line.flags.task != first.task for line in lines):
        return []
    return [replace(first, grid=grid, tags=tags)]


def code_layer(
    task: Task, grid: Grid, *, tags: dict[str, str], name: str = "", group: Group | None = None
) -> Layer:
    """Return a map of uint8 codes."""
    base = _value_layer(task, grid, tags=tags, name=name, group=group)
    return replace(base, kind="classes", dtype="uint8", nodata=CLASS_NODATA)


def _value_layer(
    task: Task, grid: Grid, *, tags: dict[str, str], name: str = "", group: Group | None = None
) -> Layer:
    """Return a map of float32 values."""
    return Layer(
        name=name or task.name,
        kind="values",
        grid=grid,
        task=task,
        bands=(name or task.name,),
        dtype="float32",
        nodata=float("nan"),
        tags=tags,
        group=group,
    )

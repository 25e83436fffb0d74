"""What one map file is, and the same as plain JSON data in a manifest."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from affine import Affine

from hsimap.errors import UsageError
from hsimap.geometry import Grid
from hsimap.tasks import ClassLabel, Kind, Task, default_colors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LayerKind = Literal["classes", "values", "probabilities", "flags"]
Group = Literal["Classes", "Variables", "Confidence", "QA"]
GROUPS: Final[tuple[Group, ...]] = ("Classes", "Variables", "Confidence", "QA")
"""Groups of a project, the first on top."""
_SHELVES: Final[dict[LayerKind, Group]] = {
    "classes": "Classes",
    "values": "Variables",
    "probabilities": "Confidence",
    "flags": "QA",
}
BLOCK: Final = 512
"""Side of the tiles of a map, in pixels."""
CODED: Final = frozenset({"classes", "flags"})
"""Kinds of layer whose numbers stand for something."""
QA: Final = "qa"
"""Name of the layer of quality flags."""
_MOST_FLAGS: Final = 7
"""Bits 0 to 6, so that no set of flags is 255, which is nodata."""
_NO_FLAG: Final = "#ffffff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One raster file for the user."""

    name: str
    """Stem of the file."""
    kind: LayerKind
    grid: Grid
    task: Task
    """Of flags: a categorical task whose codes are the masks 1, 2, 4 …"""
    bands: tuple[str, ...]
    """Description of each band."""
    dtype: str
    """uint8 classes and flags, float32 values, uint16 probabilities."""
    nodata: float
    """255 classes and flags, NaN values, 65535 probabilities."""
    scale: float = 1.0
    """Physical value = stored value * scale."""
    part: str = ""
    """What of the variable it shows, where that is not the variable itself."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Provenance; holds no clock, so that bytes repeat."""
    group: Group | None = None
    """Where it stands in a project; None = by its kind."""

    @property
    def shelf(self) -> Group:
        """The group of a project that it belongs to."""
        if self.group is not None:
            return self.group
        if self.kind == "values" and self.name != self.task.name:
            return "Confidence"  # the spread or a bound of a variable
        return _SHELVES[self.kind]

    @property
    def unit(self) -> str:
        """The unit of the values as people read it; empty for pure numbers and codes."""
        return "" if self.kind != "values" or self.task.unit == "1" else self.task.unit

    @property
    def label(self) -> str:
        """What people read over the legend: title, and unit in brackets."""
        if self.kind == "probabilities":
            return f"{self.task.label}, probability"
        name = f"{self.task.label}, {self.part}" if self.part else self.task.label
        return f"{name} [{self.unit}]" if self.unit else name


def flag_layer(
    grid: Grid,
    flags: Sequence[str],
    *,
    colors: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> Layer:
    """Return the layer ``qa``: one byte a pixel, a bit a flag, 0 = nothing to say, 255 = no data.

    Parameters
    ----------
    grid : Grid
        Of the maps that it speaks of.
    flags : sequence of str
        Name of each bit, the lowest first; the lowest that is set decides the colour. An empty
        name keeps a bit free.
    colors : sequence of str, optional
        ``#rrggbb`` of each flag.
    tags : mapping, optional
        Provenance.

    Raises
    ------
    UsageError
        If there are more than seven flags, or none.
    """
    if not 1 <= len(flags) <= _MOST_FLAGS:
        raise UsageError(f"a byte holds 1 to {_MOST_FLAGS} flags beside nodata, got {len(flags)}")
    classes = tuple(
        ClassLabel(code=1 << bit, name=name, color=color)
        for bit, (name, color) in enumerate(
            zip(flags, colors or default_colors(len(flags)), strict=True)
        )
        if name
    )
    task = Task(name="quality", kind=Kind.CATEGORICAL, title="Quality flags", classes=classes)
    return Layer(
        name=QA,
        kind="flags",
        grid=grid,
        task=task,
        bands=(QA,),
        dtype="uint8",
        nodata=255,
        tags=dict(tags or {}),
    )


def legend_of(layer: Layer) -> list[tuple[int, str, str]]:
    """Return code, name and colour of what may stand in a layer of classes or flags.

    A pixel with several flags is named after all and coloured after the lowest.

    Examples
    --------
    >>> from affine import Affine
    >>> place = Grid(height=1, width=1, transform=Affine.identity(), crs=None)
    >>> [name for _, name, _ in legend_of(flag_layer(place, ["cloud", "shadow"]))]
    ['no flag', 'cloud', 'shadow', 'cloud + shadow']
    """
    classes = layer.task.classes
    if layer.kind != "flags":
        return [(label.code, label.name, label.color) for label in classes]
    legend = [(0, "no flag", _NO_FLAG)]
    known = sum(label.code for label in classes)
    for code in range(1, known + 1):
        if code & ~known:
            continue  # a bit that is kept free
        held = [label for label in classes if label.code & code]
        legend.append((code, " + ".join(label.name for label in held), held[0].color))
    return legend


def describe_codes(layer: Layer) -> dict[str, str]:
    """Return the CF attributes of a layer's numbers as texts (CF conventions 1.12, section 3.5)."""
    facts = {"long_name": layer.task.label}
    if layer.kind == "values" and layer.task.unit:
        facts["units"] = layer.task.unit
    if layer.kind in CODED:
        key = "flag_values" if layer.kind == "classes" else "flag_masks"
        facts[key] = " ".join(str(label.code) for label in layer.task.classes)
        facts["flag_meanings"] = " ".join(meaning(label.name) for label in layer.task.classes)
    return facts


def meaning(name: str) -> str:
    """Return a class's name as one word of CF's ``flag_meanings``.

    Examples
    --------
    >>> meaning("Norway spruce & fir")
    'Norway_spruce_fir'
    """
    return re.sub(r"[^A-Za-z0-9_.+@-]+", "_", name).strip("_") or "class"


def describe_layers(layers: Sequence[Layer]) -> dict[str, object]:
    """Return layers as plain JSON data: ``grids``, and ``layers`` that name theirs by number.

    Together with the maps themselves this is all that a project, a catalogue, a table of stands
    or a Zarr store needs to know; :func:`layers_of` reads it back.
    """
    grids: list[Grid] = []
    records = []
    for layer in layers:
        if layer.grid not in grids:
            grids.append(layer.grid)
        records.append(
            {
                "name": layer.name,
                "kind": layer.kind,
                "grid": grids.index(layer.grid),
                "task": layer.task.model_dump(mode="json"),
                "bands": list(layer.bands),
                "dtype": layer.dtype,
                "nodata": None if math.isnan(layer.nodata) else layer.nodata,
                "scale": layer.scale,
                "part": layer.part,
                "tags": dict(layer.tags),
                "group": layer.group,
            }
        )
    places = [
        {"height": g.height, "width": g.width, "transform": list(g.transform)[:6], "crs": g.crs}
        for g in grids
    ]
    return {"grids": places, "layers": records}


def layers_of(manifest: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Return the layers that a manifest describes; see :func:`describe_layers`."""
    grids = [
        Grid(**{**place, "transform": Affine(*place["transform"])})
        for place in manifest.get("grids", ())
    ]
    return tuple(
        Layer(
            name=record["name"],
            kind=record["kind"],
            grid=grids[record["grid"]],
            task=Task.model_validate(record["task"]),
            bands=tuple(record["bands"]),
            dtype=record["dtype"],
            nodata=float("nan") if record["nodata"] is None else record["nodata"],
            scale=record["scale"],
            part=record["part"],
            tags=record["tags"],
            group=record["group"],
        )
        for record in manifest.get("layers", ())
    )

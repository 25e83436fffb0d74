"""What one map file is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsimap.geometry import Grid
    from hsimap.tasks import Task

LayerKind = Literal["classes", "values", "probabilities"]
BLOCK: Final = 512
"""Side of the tiles of a map, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One raster file for the user."""

    name: str
    """Stem of the file."""
    kind: LayerKind
    grid: Grid
    task: Task
    bands: tuple[str, ...]
    """Description of each band."""
    dtype: str
    """uint8 classes, float32 values, uint16 probabilities."""
    nodata: float
    """255 classes, NaN values, 65535 probabilities."""
    scale: float = 1.0
    """Physical value = stored value * scale."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Provenance; holds no clock, so that bytes repeat."""

    @property
    def label(self) -> str:
        """What people read over the legend: title, and unit in brackets."""
        if self.kind == "probabilities":
            return f"{self.task.label}, probability"
        plain = self.task.unit in {"", "1"}
        return self.task.label if plain else f"{self.task.label} [{self.task.unit}]"


def describe_layer(layer: Layer) -> dict[str, object]:
    """Return what a manifest says of a map beside what its file holds, as plain JSON data."""
    return {
        "kind": layer.kind,
        "bands": list(layer.bands),
        "task": layer.task.model_dump(mode="json"),
    }

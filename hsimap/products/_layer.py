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
    part: str = ""
    """What of the variable it shows, where that is not the variable itself."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Provenance; holds no clock, so that bytes repeat."""

    @property
    def label(self) -> str:
        """What people read over the legend: title, and unit in brackets."""
        if self.kind == "probabilities":
            return f"{self.task.label}, probability"
        name = f"{self.task.label}, {self.part}" if self.part else self.task.label
        return name if self.task.unit in {"", "1"} else f"{name} [{self.task.unit}]"

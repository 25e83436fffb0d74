"""What a user may ask of a campaign."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hsimap.flightlines._compose import MosaicSettings
from hsimap.mapping import MapSettings
from hsimap.scenes import open_scene

if TYPE_CHECKING:
    from pathlib import Path

    from hsimap.scenes import Scene

LOCAL: Final = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadSettings:
    """Where lines are computed."""

    scheduler: str = LOCAL
    """``local``, ``slurm`` or an address."""
    workers: int = 1
    retries: int = 2
    mixed: bool = False
    """Whether workers may differ in processor or versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """The options of ``hsimap batch`` beside the lines."""

    mapping: MapSettings = field(default_factory=MapSettings)
    spread: SpreadSettings = field(default_factory=SpreadSettings)
    scale: float | None = None
    """Reflectance of one stored unit of every line; None = what each states."""
    nodata: float | None = None
    """Stored value of a missing sample of every line; None = as each states."""
    mosaic: MosaicSettings | None = field(default_factory=MosaicSettings)
    """None = no mosaic."""

    def open(self, path: Path) -> Scene:
        """Open a line as the user states that it is to be read."""
        return open_scene(path, nodata=self.nodata, scale=self.scale)

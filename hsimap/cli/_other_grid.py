"""``hsimap predict --grid``: the maps of a scene on another grid."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import typer

from hsimap.cli._progress import progress_of
from hsimap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.cli._jobs import Show
    from hsimap.mapping import MapSettings

NORTH_UP: Final = "north-up"
_OWN: Final = "scene_grid"
"""Folder of the maps on the scene's own grid, inside that of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherGrid:
    """The grid that maps are put on, and how the scene is mapped for it."""

    template: Path | None
    """Raster whose grid is taken; None = north-up."""
    settings: MapSettings
    """With all probabilities, of which the classes are made."""
    shares: bool
    """Whether probabilities are kept."""

    @classmethod
    def of(cls, grid: str | None, settings: MapSettings) -> Self | None:
        """Return what an option asks for; None where it is not given.

        Raises
        ------
        UsageError
            If there is no such raster, or highest probabilities alone are asked for.
        """
        if grid is None:
            return None
        if settings.probabilities == "max":
            raise UsageError("--grid writes all probabilities or none, not --probabilities max")
        template = None if grid == NORTH_UP else Path(grid)
        if template is not None and not template.exists():
            raise UsageError(f"--grid is {NORTH_UP} or a raster, and there is no file {grid!r}")
        return cls(
            template=template,
            settings=replace(settings, probabilities="all"),
            shares=settings.probabilities == "all",
        )

    def put(self, folders: Sequence[Path], *, show: Show) -> None:
        """Put the maps of each scene on the grid; print a line, or JSON, of each."""
        from hsimap import flightlines

        for folder in folders:
            quiet = show.quiet or show.as_json
            with progress_of(f"{folder.name} on its grid", "strips", quiet=quiet) as progress:
                report = flightlines.regrid(
                    at_first(folder, self),
                    folder,
                    template=self.template,
                    shares=self.shares,
                    overwrite=self.settings.overwrite,
                    progress=progress,
                )
            if show.as_json:
                typer.echo(json.dumps(report.facts()))
                continue
            maps = sum(name.endswith(".tif") for name in report.files)
            size = f"{report.grid.width} x {report.grid.height} px"
            done = "complete" if report.already_complete else f"made in {report.seconds:.1f} s"
            typer.echo(f"{folder}: {maps} maps on the other grid, {size}, {done}")


def at_first(folder: Path, other: OtherGrid | None) -> Path:
    """Return where a scene's maps on its own grid go."""
    return folder if other is None else folder / _OWN

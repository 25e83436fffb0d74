"""Look at every line before the work begins: does it fit the model, and is there room."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hsimap.errors import (
    HsimapError,
    InputError,
    MismatchError,
    OutsideError,
    StorageError,
    UsageError,
)
from hsimap.flightlines._grid import shared_grid
from hsimap.mapping.adapter import SceneAdapter
from hsimap.mapping.commit import read_finished
from hsimap.mapping.prepare import plan_scene
from hsimap.mapping.select import choose_model
from hsimap.products import RUN_FOLDER, folder_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.flightlines._settings import BatchSettings
    from hsimap.geometry import Grid

_DISK_FACTOR: Final = 3.7
"""Strips, tiles with overviews, and the same again while a map is copied; one line at a time."""
_KEPT: Final = 1.34
"""Maps with their overviews."""
RESERVED: Final = "mosaic"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedLine:
    """One line and what is known of it before it is mapped."""

    name: str
    path: Path
    out: Path
    height: int = 0
    width: int = 0
    bands: int = 0
    grid: Grid | None = None
    strips: int = 0
    output_bytes: int = 0
    problem: str | None = None
    """Why it cannot be mapped."""
    is_outside: bool = False
    """Whether no part of it lies in the area that is mapped."""
    exit_code: int = 0
    notes: tuple[str, ...] = ()

    @property
    def crs(self) -> str:
        """Name of its reference system, or ``none``."""
        parts = ((self.grid.crs if self.grid else None) or "none").split('"')
        return parts[1] if len(parts) > 1 else parts[0]

    @property
    def pixels(self) -> int:
        """Pixels of the line that are mapped."""
        return self.height * self.width

    def facts(self) -> dict[str, object]:
        """Return it as plain JSON data."""
        return {
            "line": self.name,
            "path": str(self.path),
            "height": self.height,
            "width": self.width,
            "bands": self.bands,
            "crs": self.crs,
            "strips": self.strips,
            "output_bytes": self.output_bytes,
            "problem": self.problem,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPlan:
    """What a batch is going to do."""

    lines: tuple[CheckedLine, ...]
    bundle: Bundle
    skipped: tuple[Path, ...]
    """Rasters in the named folders that the model does not fit."""
    outside: tuple[str, ...]
    """Names of the lines of which no part lies in the area that is mapped."""
    needed_bytes: int
    free_bytes: int

    @property
    def sound(self) -> list[CheckedLine]:
        """The lines that can be mapped."""
        return [line for line in self.lines if line.problem is None]


def check_lines(
    sure: Sequence[Path],
    maybe: Sequence[Path],
    *,
    model: Path | None,
    settings: BatchSettings,
    out: Path,
) -> BatchPlan:
    """Open every line, lay its tiles, and see whether the disk has room.

    Parameters
    ----------
    sure : sequence of Path
        Lines that were named; one that does not fit is a failed line.
    maybe : sequence of Path
        Rasters of folders; one that does not fit is none of the lines.
    model : Path, optional
        As for :func:`hsimap.mapping.choose_model`.
    settings : BatchSettings
        How lines are read and mapped.
    out : Path
        Where each line gets a folder.

    Raises
    ------
    UsageError
        If no raster fits, or two lines would get one folder.
    InputError
        If all lines lie outside the area that is to be mapped.
    StorageError
        If the disk has no room for what is still to be mapped.
    """
    bundle = _bundle([*sure, *maybe], model, settings)
    fitting = [path for path in maybe if _fits(path, bundle, settings)]
    paths = [*sure, *fitting]
    if not paths:
        raise UsageError(
            f"none of the {len(maybe)} rasters that were found has the bands of {bundle.name}"
        )
    names = _names(paths)
    if RESERVED in names:
        raise UsageError(f"a line must not be named {RESERVED!r}; rename it")
    checked = [
        _check(name, path, bundle, settings=settings, out=out / name)
        for name, path in zip(names, paths, strict=True)
    ]
    lines = tuple(line for line in checked if not line.is_outside)
    if not lines:
        raise InputError(
            f"no part of the area lies on any of the {len(checked)} lines; check the coordinates"
            f" and their reference system"
        )
    needed, free = _room(lines, out)
    return BatchPlan(
        lines=lines,
        bundle=bundle,
        skipped=tuple(path for path in maybe if path not in set(fitting)),
        outside=tuple(line.name for line in checked if line.is_outside),
        needed_bytes=needed,
        free_bytes=free,
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a name for each line: its file's, with the suffix where that alone tells it apart."""
    plain = [path.resolve().with_suffix("") for path in paths]
    count = Counter(plain)
    full = [
        short.with_name(f"{short.name}_{path.suffix[1:]}") if count[short] > 1 else short
        for short, path in zip(plain, paths, strict=True)
    ]
    return folder_names(full)


def _bundle(paths: Sequence[Path], model: Path | None, settings: BatchSettings) -> Bundle:
    """Return the model: the named one, or the one that fits the first raster that any fits."""
    problem: HsimapError | None = None
    for path in paths:
        try:
            with settings.open(path) as scene:
                return choose_model(scene, model)
        except HsimapError as error:
            problem = problem or error
    raise problem or UsageError("no line is named")


def _fits(path: Path, bundle: Bundle, settings: BatchSettings) -> bool:
    try:
        with settings.open(path) as scene:
            SceneAdapter(scene, bundle.manifest.input, resample=settings.mapping.resample)
    except HsimapError:
        return False
    return True


def _check(
    name: str, path: Path, bundle: Bundle, *, settings: BatchSettings, out: Path
) -> CheckedLine:
    try:
        with settings.open(path) as scene:
            adapter = SceneAdapter(scene, bundle.manifest.input, resample=settings.mapping.resample)
            plan = plan_scene(scene, adapter, bundle, settings.mapping)
            part = plan.grid(scene.grid)
            return CheckedLine(
                name=name,
                path=path.resolve(),
                out=out,
                height=part.height,
                width=part.width,
                bands=scene.bands.n,
                grid=part,
                strips=plan.tiles.n_rows,
                output_bytes=plan.output_bytes,
                notes=(*adapter.notes, *plan.notes),
            )
    except OutsideError:
        return CheckedLine(name=name, path=path, out=out, is_outside=True)
    except HsimapError as error:
        return CheckedLine(
            name=name, path=path, out=out, problem=str(error), exit_code=error.exit_code
        )


def _room(lines: Sequence[CheckedLine], out: Path) -> tuple[int, int]:
    """Return what is still to be written and what is free, in bytes; refuse too little."""
    missing = [line for line in lines if line.problem is None and not _is_there(line.out)]
    largest = max((line.output_bytes for line in missing), default=0)
    needed = int(_KEPT * sum(line.output_bytes for line in missing))
    needed += int((_DISK_FACTOR - _KEPT) * largest)
    place = out
    while not place.exists():
        place = place.parent
    held = sum(
        path.stat().st_blocks * 512
        for line in missing
        for path in (line.out / RUN_FOLDER).glob("*")
    )
    free = shutil.disk_usage(place).free + held
    if free < needed:
        raise StorageError(
            f"{out} has {free / 2**30:.1f} GiB free and {len(missing)} lines need about"
            f" {needed / 2**30:.1f} GiB; free some space or choose another --out"
        )
    return needed, free


def _is_there(folder: Path) -> bool:
    try:
        return bool(read_finished(folder))
    except HsimapError:
        return False


def one_place(lines: Sequence[CheckedLine]) -> None:
    """Refuse to make a mosaic of lines that have no common place.

    Raises
    ------
    MismatchError
        If some have a CRS and others have none, or they lie far apart.
    """
    bare = [line.name for line in lines if line.crs == "none"]
    if bare and len(bare) < len(lines):
        raise MismatchError(
            f"{bare[0]} has no CRS and other lines have one, so there is no mosaic of them; give it"
            f" one, or use --mosaic none"
        )
    try:
        shared_grid([line.grid for line in lines if line.grid is not None])
    except MismatchError as error:
        raise MismatchError(f"{error}, or use --mosaic none") from None

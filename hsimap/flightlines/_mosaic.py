"""Finished folders of maps to one mosaic, block by block, in memory that knows no campaign."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hsimap._version import __version__
from hsimap.errors import MismatchError, UsageError
from hsimap.flightlines._agreement import TABLE, Sums, as_csv, tabulate
from hsimap.flightlines._angles import angles_of
from hsimap.flightlines._compose import Composer, MosaicSettings
from hsimap.flightlines._grid import bounds_on, check_places, shared_grid
from hsimap.flightlines._lines import FilePool, read_lines
from hsimap.flightlines._weights import Equal, Method, weight_of
from hsimap.labels import Area
from hsimap.mapping.checks import is_finished, make_folder
from hsimap.mapping.commit import Beside, finalise, read_finished
from hsimap.mapping.journal import RunFolder, locked
from hsimap.mapping.strips import StripBook
from hsimap.products import RasterFile
from hsimap.scenes import bound_cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hsimap.flightlines._angles import SceneAngles
    from hsimap.flightlines._lines import MappedLine
    from hsimap.flightlines._weights import Weight
    from hsimap.geometry import Grid
    from hsimap.mapping.strips import Piece

    Progress = Callable[[int, int], None]
_CACHE: Final = 128 << 20
"""What the file library may keep of the lines' maps, in bytes: the tiles around a few blocks."""
_ZENITH: Final = "{line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MosaicReport:
    """What became of a mosaic."""

    folder: Path
    files: tuple[str, ...]
    lines: tuple[str, ...]
    """Names; ``source_line`` counts them from 1 on."""
    grid: Grid
    agreement: list[dict[str, object]]
    """The table's rows; the first ones are over all pairs of lines."""
    already_complete: bool
    seconds: float

    def facts(self) -> dict[str, object]:
        """Return what a program wants to know of it, as plain JSON data."""
        return {
            "out": str(self.folder),
            "maps": [name for name in self.files if name.endswith(".tif")],
            "lines": list(self.lines),
            "height": self.grid.height,
            "width": self.grid.width,
            "already_complete": self.already_complete,
            "seconds": round(self.seconds, 3),
            "agreement": [row for row in self.agreement if row["line_a"] == "all"],
        }


def mosaic(
    folders: Sequence[Path],
    out: Path,
    *,
    settings: MosaicSettings,
    progress: Progress = lambda done, total: None,  # noqa: ARG005  # a silent default
) -> MosaicReport:
    """Put finished folders of maps together on one grid; resume where that was interrupted.

    Parameters
    ----------
    folders : sequence of Path
        Folders that ``hsimap predict`` wrote; their order is no matter.
    out : Path
        Where the mosaic goes.
    settings : MosaicSettings
        How.
    progress : callable
        Called with the number of finished and of all strips.

    Raises
    ------
    UsageError, MismatchError
        If the folders do not go together.
    OutputExistsError, LockedError, StorageError, VerificationError
        See :mod:`hsimap.errors`.
    """
    started = time.monotonic()
    bound_cache(_CACHE)
    lines = read_lines(folders)
    grid = _grid(lines, settings)
    zenith = _zenith(lines, settings)
    with ExitStack() as stack:
        angles = _angles(lines, settings, stack)
        identity = _identity(lines, grid, settings, zenith) | {"angles": angles is not None}
        make_folder(out)
        stack.enter_context(locked(out))
        already = is_finished(out, identity, overwrite=settings.overwrite)
        if not already:
            pool = FilePool(2 * len(lines[0].variables) + 1)
            stack.callback(pool.close)
            run = RunFolder(out, identity, overwrite=settings.overwrite)
            stack.callback(run.close)
            weights: Sequence[Weight] = angles or [
                Equal()
                if settings.alone
                else weight_of(settings.method, line, pool=pool, scratch=run.path, zenith=layer)
                for line, layer in zip(lines, zenith, strict=True)
            ]
            work = Composer(lines, weights, grid=grid, settings=settings, pool=pool)
            book = StripBook(work.tiles, work.products(), run)
            stack.callback(book.close)
            table = _compute(work, book, run.path, progress)
            record = _record(lines, identity, out=out, table=table, grid=grid)
            beside = Beside() if settings.alone else _beside(lines, table, run.path / "products")
            record |= _of_line(lines[0]) if settings.alone else {}
            finalise(out, run, book.stores, record=record, started=started, beside=beside)
    manifest = read_finished(out)
    return MosaicReport(
        folder=out,
        files=tuple(sorted(manifest["files"])),
        lines=tuple(line.name for line in lines),
        grid=grid,
        agreement=manifest["agreement"],
        already_complete=already,
        seconds=time.monotonic() - started,
    )


def _grid(lines: Sequence[MappedLine], settings: MosaicSettings) -> Grid:
    if settings.template is None:
        grid = shared_grid([line.grid for line in lines])
        return grid if settings.area is None else grid.crop(Area(settings.area, grid).window)
    with RasterFile(settings.template) as file:
        check_places([file.grid, *(line.grid for line in lines)])
        if settings.alone and bounds_on(file.grid, lines[0].grid).is_empty:
            raise MismatchError(
                f"no part of {lines[0].folder} lies on {settings.template}; take another grid"
            )
        return file.grid


def _beside(lines: Sequence[MappedLine], table: list[dict[str, object]], staging: Path) -> Beside:
    """Write the table of the lines' agreement; return what is published beside the maps."""
    staging.mkdir(exist_ok=True)
    (staging / TABLE).write_text(as_csv(table))
    return Beside(files=(staging / TABLE,), lines=tuple(line.maps for line in lines))


def _of_line(line: MappedLine) -> dict[str, object]:
    """Return what the manifest of a line says, for its maps on another grid."""
    manifest = line.maps.manifest
    told = {name: manifest[name] for name in ("scene", "notes") if name in manifest}
    return {**told, "resampled_from": {"digest": line.digest}}


def _angles(
    lines: Sequence[MappedLine], settings: MosaicSettings, stack: ExitStack
) -> list[SceneAngles] | None:
    """Return the angles that the scenes come with, where these are to decide."""
    if settings.alone or settings.method is not Method.NADIR or settings.zenith is not None:
        return None
    return angles_of(lines, stack)


def _zenith(lines: Sequence[MappedLine], settings: MosaicSettings) -> list[Path | None]:
    """Return the layer of angles of each line."""
    if settings.zenith is None:
        return [None] * len(lines)
    if _ZENITH not in settings.zenith and len(lines) > 1:
        raise UsageError(
            f"--zenith must hold {_ZENITH} where each line's name goes, got {settings.zenith!r}"
        )
    make = type(lines[0].folder)
    found = [make(settings.zenith.replace(_ZENITH, line.name)) for line in lines]
    for path in found:
        if not path.exists():
            raise UsageError(f"there is no layer of zenith angles {str(path)!r}; check --zenith")
    return list(found)


def _identity(
    lines: Sequence[MappedLine],
    grid: Grid,
    settings: MosaicSettings,
    zenith: Sequence[Path | None],
) -> dict[str, object]:
    plain: dict[str, object] = json.loads(
        json.dumps(
            {
                "hsimap": __version__,
                "regridded" if settings.alone else "mosaic": (
                    settings.shares if settings.alone else settings.method.value
                ),
                "lines": {line.name: line.digest for line in lines},
                "grid": {
                    "height": grid.height,
                    "width": grid.width,
                    "transform": list(grid.transform)[:6],
                    "crs": grid.crs,
                },
                "zenith": [
                    None if p is None else [p.name, p.stat().st_size, p.stat().st_mtime_ns]
                    for p in zenith
                ],
            }
        )
    )
    return plain


def _record(
    lines: Sequence[MappedLine],
    identity: dict[str, object],
    *,
    out: Path,
    table: list[dict[str, object]],
    grid: Grid,
) -> dict[str, object]:
    return {
        "identity": identity,
        "scene": {"name": out.name, "path": None},
        "model": {"name": lines[0].model_name, "digest": lines[0].model},
        "plan": {"height": grid.height, "width": grid.width, "lines": len(lines)},
        "notes": [],
        "agreement": table,
    }


def _counted(pieces: Iterator[Piece], sums: Sums, path: Path) -> Iterator[Piece]:
    """Yield the pieces of a strip, and keep their counts before the strip is journalled."""
    yield from pieces
    sums.save(path)


def _compute(
    work: Composer, book: StripBook, run: Path, progress: Progress
) -> list[dict[str, object]]:
    """Compute what is missing; return the table of agreement."""
    total = work.tiles.n_rows
    progress(total - len(book.wanted), total)
    book.start(len(book.wanted))
    for done, index in enumerate(book.wanted, total - len(book.wanted) + 1):
        sums = Sums()
        book.take(index, _counted(work.blocks(index, sums), sums, run / f"sums.{index}.json"))
        progress(done, total)
    whole = Sums()
    for index in range(total):
        whole.merge(Sums.load(run / f"sums.{index}.json"))
    return tabulate(whole, work.variables, work.names)

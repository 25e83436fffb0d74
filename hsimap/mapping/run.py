"""Map one scene into one folder: plan, compute, commit."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hsimap.crashpoints import crash_point, planned_crash
from hsimap.mapping.adapter import RecyclingSource, SceneAdapter
from hsimap.mapping.checks import check_room, check_unchanged, is_finished, make_folder
from hsimap.mapping.commit import finalise, read_finished
from hsimap.mapping.engine import Engine, rows_needed
from hsimap.mapping.events import Listener, ignore
from hsimap.mapping.identity import identity_of, maps_of, record_of
from hsimap.mapping.journal import RunFolder, locked
from hsimap.mapping.prepare import look_at, middle_tile, open_route, pixels_of, plan_scene
from hsimap.mapping.probe import resolve_route
from hsimap.mapping.strips import StripBook
from hsimap.mapping.tiling import READ_AHEAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.mapping.adapter import Pixels
    from hsimap.mapping.settings import MapPlan, MapSettings
    from hsimap.runtimes import Runtime
    from hsimap.scenes import Scene

    Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReport:
    """What became of a mapping run."""

    folder: Path
    """Where the maps are."""
    files: tuple[str, ...]
    """Names of the files of the finished folder."""
    plan: MapPlan
    already_complete: bool
    """Whether the folder held the finished result of the same run before."""
    seconds: float
    pixels: int
    """Pixels that this call mapped; those of resumed strips are not among them."""
    strips_resumed: int
    """Strips that an interrupted run had left finished."""
    notes: tuple[str, ...]
    """What was guessed, rounded or assumed, a sentence each."""

    def facts(self) -> dict[str, object]:
        """Return what a program wants to know of it, as plain JSON data."""
        return {
            "out": str(self.folder),
            "maps": [name for name in self.files if name.endswith(".tif")],
            "already_complete": self.already_complete,
            "seconds": round(self.seconds, 3),
            "pixels": self.pixels,
            "pixels_per_second": round(self.pixels / max(self.seconds, 1e-9)),
            "strips": self.plan.tiles.n_rows,
            "strips_resumed": self.strips_resumed,
        }


def map_scene(
    scene: Scene,
    bundle: Bundle,
    *,
    settings: MapSettings,
    out: Path,
    progress: Progress = lambda done, total: None,  # noqa: ARG005  # a silent default
    listen: Listener = ignore,
) -> MapReport:
    """Map a scene with a bundle into ``out``; resume where an equal run was interrupted.

    Parameters
    ----------
    scene : Scene
        The raster.
    bundle : Bundle
        The model.
    settings : MapSettings
        Runtime, tile, memory and what is written.
    out : Path
        Folder of this scene's maps.
    progress : callable
        Called with the number of finished and of all tiles.
    listen : callable
        Called with each event; see :data:`hsimap.mapping.events.Listener`.

    Raises
    ------
    MismatchError
        If the scene does not fit the model.
    InputError
        If the scene's files change while they are read.
    OutputExistsError
        If ``out`` holds the result of a different run and ``settings.overwrite`` is False.
    LockedError, StorageError, ResourceError, VerificationError
        See :mod:`hsimap.errors`.
    """
    started = time.monotonic()
    planned_crash()
    adapter = SceneAdapter(scene, bundle.manifest.input, resample=settings.resample)
    plan = plan_scene(scene, adapter, bundle, settings)
    sample = partial(middle_tile, adapter, plan)
    route, told = resolve_route(bundle, settings, out=out, sample=sample)
    wanted, notes = list[int](), (*adapter.notes, *plan.notes, *told)
    with ExitStack() as stack:
        runtime = stack.enter_context(closing(open_route(bundle, settings, route)))
        identity = identity_of(adapter, bundle, plan, runtime=runtime, settings=settings)
        make_folder(out)
        stack.enter_context(locked(out))
        _tell_start(listen, out, plan, identity=identity, notes=notes)
        already = is_finished(out, identity, overwrite=settings.overwrite)
        if not already:
            check_room(out, plan)
            looks = look_at(adapter, bundle.manifest.input, force=settings.force)
            notes += looks.notes
            run = RunFolder(out, identity, overwrite=settings.overwrite)
            stack.callback(run.close)
            maps = maps_of(scene, bundle, plan, settings=settings)
            book = stack.enter_context(closing(StripBook(plan.tiles, maps, run, listen=listen)))
            wanted = book.wanted
            _Job(plan, book, bundle).compute(pixels_of(adapter, plan), runtime, progress)
            check_unchanged(scene, identity)
            record = record_of(scene, bundle, plan, identity=identity, notes=notes) | looks.facts
            finalise(out, run, book.stores, record=record, started=started)
    report = MapReport(
        folder=out,
        files=tuple(sorted(read_finished(out)["files"])),
        plan=plan,
        already_complete=already,
        seconds=time.monotonic() - started,
        pixels=plan.pixels(wanted),
        strips_resumed=0 if already else plan.tiles.n_rows - len(wanted),
        notes=notes,
    )
    listen("finish", {**report.facts(), "exit_code": 0})
    return report


def _tell_start(
    listen: Listener,
    out: Path,
    plan: MapPlan,
    *,
    identity: dict[str, object],
    notes: tuple[str, ...],
) -> None:
    listen("start", {"out": str(out), "plan": plan.describe(), "identity": identity})
    for note in notes:
        listen("warning", {"message": note})


class _Job:
    """The strips that are still to be computed, and where they go."""

    def __init__(self, plan: MapPlan, book: StripBook, bundle: Bundle) -> None:
        self._tiles, self._at_once, self._book = plan.tiles, plan.at_once, book
        self._area = plan.area
        self._outputs = bundle.manifest.outputs

    def _tile_counter(self, progress: Progress) -> Callable[[], None]:
        """Return what the engine calls after each tile."""
        total = len(self._book.wanted) * self._tiles.n_cols
        count = 0

        def step() -> None:
            nonlocal count
            count = min(count + 1, total)
            progress(count, total)

        return step

    def compute(self, source: Pixels, runtime: Runtime, progress: Progress) -> None:
        """Compute, encode, write and journal what is missing; writing overlaps computing."""
        engine = Engine(
            self._tiles,
            RecyclingSource(source, READ_AHEAD + 1),
            runtime=runtime,
            outputs=self._outputs,
            on_tile=self._tile_counter(progress),
            at_once=self._at_once,
            area=self._area,
        )
        wanted = self._book.wanted
        self._book.start(len(rows_needed(self._tiles, wanted)))
        self._book.fill(engine.squares(wanted))
        crash_point("strips-complete")

"""Map one scene into one folder: plan, compute, commit."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hsimap.crashpoints import crash_point, planned_crash
from hsimap.mapping.checks import check_unchanged, is_finished, make_folder
from hsimap.mapping.commit import finalise, load_for_finish, read_finished
from hsimap.mapping.engine import rows_needed
from hsimap.mapping.events import Listener, ignore
from hsimap.mapping.identity import record_of
from hsimap.mapping.journal import locked
from hsimap.mapping.opening import begin_run, engine_of, open_run
from hsimap.mapping.prepare import open_route
from hsimap.runtimes import give_back_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.mapping.opening import OpenRun
    from hsimap.mapping.settings import MapPlan, MapSettings
    from hsimap.mapping.strips import StripBook
    from hsimap.runtimes import Route, Runtime
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
    wanted = list[int]()
    with ExitStack() as stack, ExitStack() as networks:
        network = partial(_open, networks, bundle, settings)
        opened = open_run(scene, bundle, settings, out=out, network=network)
        plan, notes, identity = opened.plan, opened.notes, opened.identity
        make_folder(out)
        stack.enter_context(locked(out))
        _tell_start(listen, out, plan, identity=identity, notes=notes)
        already = is_finished(out, identity, overwrite=settings.overwrite)
        if not already:
            begun = begin_run(stack, opened, out=out, listen=listen)
            notes += begun.looks.notes
            wanted = begun.book.wanted
            _Job(opened, begun.book).compute(progress)
            networks.close()  # what follows needs memory, too
            check_unchanged(scene, identity)
            record = record_of(scene, bundle, plan, identity=identity, notes=notes)
            finalise(
                out,
                begun.folder,
                begun.book.stores,
                record=record | begun.looks.facts,
                started=started,
            )
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


def _open(
    stack: ExitStack, bundle: Bundle, settings: MapSettings, route: Route, streams: int
) -> Runtime:
    runtime = open_route(bundle, settings, route, stay=True, streams=streams)
    stack.callback(give_back_memory)
    return stack.enter_context(closing(runtime))


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

    def __init__(self, opened: OpenRun, book: StripBook) -> None:
        self._opened, self._book = opened, book
        self._tiles = opened.plan.tiles

    def _tile_counter(self, progress: Progress) -> Callable[[], None]:
        """Return what the engine calls after each tile."""
        total = len(self._book.wanted) * self._tiles.n_cols
        count = 0

        def step() -> None:
            nonlocal count
            count = min(count + 1, total)
            progress(count, total)

        return step

    def compute(self, progress: Progress) -> None:
        """Compute, encode, write and journal what is missing; writing overlaps computing."""
        engine = engine_of(self._opened, self._tile_counter(progress))
        wanted = self._book.wanted
        self._book.start(len(rows_needed(self._tiles, wanted)))
        with ThreadPoolExecutor(1, thread_name_prefix="load") as pool:
            pool.submit(load_for_finish)
            self._book.fill(engine.squares(wanted), streams=self._opened.plan.streams)
        crash_point("strips-complete")

"""A mapping run in parts that any process can do: prepare, some strips, commit.

The parts know one another through the output folder alone, which all of them see. Each may be done
twice: the same bytes go to the same place. The caller holds the lock of the output folder and
writes the journal.
"""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from hsimap.bundle import MANIFEST, Bundle
from hsimap.errors import MismatchError
from hsimap.mapping.checks import check_unchanged, is_finished
from hsimap.mapping.commit import finalise, read_finished
from hsimap.mapping.identity import maps_of, record_of
from hsimap.mapping.journal import RunFolder, differing_fields
from hsimap.mapping.opening import OpenRun, begin_run, engine_of, open_book, open_run
from hsimap.mapping.prepare import open_route
from hsimap.mapping.settings import MapPlan, MapSettings
from hsimap.mapping.stripfile import StripFile
from hsimap.mapping.strips import make_durable, open_strips, pour
from hsimap.products import RUN_FOLDER
from hsimap.scenes import open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hsimap.runtimes import Route, Runtime

Receipts = dict[int, dict[str, int]]
"""Strip to map to CRC-32 of what is durable."""
_HARDWARE: Final = ("runtime", "versions")
"""Fields of the identity in which workers may differ where that is allowed."""
_one_at_a_time: Final = threading.Lock()
"""The memory was planned for one part in a process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineJob:
    """One scene to be mapped, in words that can be sent to another machine."""

    scene: Path
    model: Path
    settings: MapSettings
    out: Path
    """On a file system that all workers share."""
    scale: float | None = None
    """Reflectance of one stored unit; None = what is stated."""
    nodata: float | None = None
    """Stored value of a missing sample; None = as stated."""
    mixed: bool = False
    """Whether workers may differ in processor or versions; then bytes may, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedLine:
    """What stands before the first strip."""

    job: LineJob
    """With runtime, precision and threads resolved."""
    identity: dict[str, object]
    plan: MapPlan
    notes: tuple[str, ...]
    facts: dict[str, object]
    """What the scene looks like beside the model's training scenes."""
    wanted: tuple[int, ...]
    """Strips that are not on the disk yet; none where the folder is finished."""
    already_complete: bool


def prepare_line(job: LineJob) -> PreparedLine:
    """Resolve route and identity, open the run folder, and see what is there already.

    Raises
    ------
    MismatchError, OutputExistsError, StorageError, ResourceError
        As :func:`hsimap.mapping.map_scene`.
    """
    with _one_at_a_time, ExitStack() as stack:
        opened = _open(stack, job)
        route = opened.route
        settings = replace(job.settings, runtime=route.runtime, precision=route.precision)
        wanted, facts, notes = list[int](), dict[str, object](), opened.notes
        already = is_finished(job.out, opened.identity, overwrite=settings.overwrite)
        if not already:
            begun = begin_run(stack, opened, out=job.out)
            facts, notes = begun.looks.facts, (*notes, *begun.looks.notes)
            wanted = begun.book.wanted
        return PreparedLine(
            job=replace(job, settings=settings),
            identity=opened.identity,
            plan=opened.plan,
            notes=notes,
            facts=facts,
            wanted=tuple(wanted),
            already_complete=already,
        )


def map_strips(line: PreparedLine, strips: Sequence[int]) -> Receipts:
    """Compute strips into the run folder; the receipts are for the journal.

    Raises
    ------
    MismatchError
        If this process would not give the same bytes as the one that prepared the line.
    """
    with _one_at_a_time, ExitStack() as stack:
        opened = _open_same(stack, line)
        plan = opened.plan
        products = maps_of(opened.scene, opened.bundle, plan, settings=line.job.settings)
        run = line.job.out / RUN_FOLDER
        files = [(p, open_strips(run, p, plan.tiles, StripFile)) for p in products]
        for _, file in files:
            stack.callback(file.close)
        engine = engine_of(opened)

        def settle(strip: int) -> tuple[int, dict[str, int]]:
            return strip, make_durable(plan.tiles, files, strip)

        squares = engine.squares(strips)
        poured = pour(plan.tiles, files, squares, settle, streams=plan.streams)
        with closing(poured) as settled:
            return dict(settled)


def commit_line(line: PreparedLine, seconds: float) -> tuple[int, ...]:
    """Make the maps of journalled strips; return strips that turn out not to be on the disk.

    Parameters
    ----------
    line : PreparedLine
        What was prepared.
    seconds : float
        Since the line was begun, for the manifest.
    """
    started = time.monotonic() - seconds
    job = line.job
    with _one_at_a_time, ExitStack() as stack:
        if read_finished(job.out).get("identity") == line.identity:
            return ()  # a worker that was lost after it had done this
        opened = _open_same(stack, line)
        run = RunFolder(job.out, line.identity, overwrite=False)
        stack.callback(run.close)
        book = open_book(stack, opened, run)
        if book.wanted:
            return tuple(book.wanted)
        check_unchanged(opened.scene, line.identity)
        record = record_of(
            opened.scene, opened.bundle, opened.plan, identity=line.identity, notes=line.notes
        )
        finalise(job.out, run, book.stores, record=record | line.facts, started=started)
    return ()


def _open(stack: ExitStack, job: LineJob) -> OpenRun:
    """Open scene, model and network."""
    settings = job.settings
    scene = stack.enter_context(open_scene(job.scene, nodata=job.nodata, scale=job.scale))
    bundle = Bundle.load(job.model)
    stamp = (job.model / MANIFEST).stat().st_mtime_ns

    def network(route: Route, streams: int) -> Runtime:
        wanted = MapSettings(
            device=settings.device, threads=settings.threads, compiled=settings.compiled
        )
        return _network((job.model, stamp, bundle.digest), wanted, route, streams)

    return open_run(scene, bundle, settings, out=job.out, network=network)


@lru_cache(maxsize=1)
def _network(
    model: tuple[Path, int, str], settings: MapSettings, route: Route, streams: int
) -> Runtime:
    """Open a network once a process; the model's time and digest tell a replaced one apart."""
    return open_route(Bundle.load(model[0]), settings, route, stay=True, streams=streams)


def _open_same(stack: ExitStack, line: PreparedLine) -> OpenRun:
    opened = _open(stack, line.job)
    mine: dict[str, Any] = opened.identity
    other: dict[str, Any] = line.identity
    if line.job.mixed:
        mine, other = ({k: v for k, v in i.items() if k not in _HARDWARE} for i in (mine, other))
    if mine != other:
        fields = ", ".join(differing_fields(mine, other))
        raise MismatchError(
            f"this worker is not like the one that began {line.job.scene.name} (differs in:"
            f" {fields}), so its bytes may differ; use equal workers, or --allow-mixed"
        )
    return opened

"""A whole campaign: check, map every line, put the mosaic together, say what became of it."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hsimap._version import __version__
from hsimap.bundle import Bundle
from hsimap.errors import HsimapError
from hsimap.flightlines._check import RESERVED, one_place
from hsimap.flightlines._mosaic import MosaicReport, mosaic
from hsimap.flightlines._pool import open_pool
from hsimap.flightlines._settings import LOCAL
from hsimap.flightlines._spread import LineResult, Spread
from hsimap.mapping.checks import make_folder
from hsimap.mapping.parts import LineJob
from hsimap.mapping.probe import stored_identity, stored_route
from hsimap.mapping.run import map_scene
from hsimap.runtimes import choices
from hsimap.scenes import open_scene
from hsimap.streams import available_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hsimap.flightlines._check import BatchPlan
    from hsimap.flightlines._settings import BatchSettings, SpreadSettings

    Told = Callable[[str, "Mapping[str, object]"], None]
    Progress = Callable[[int, int], None]
CAMPAIGN: Final = "campaign.json"
_SCHEMA: Final = "hsimap-campaign/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What became of a campaign."""

    folder: Path
    lines: tuple[LineResult, ...]
    mosaic: MosaicReport | None
    no_mosaic: str | None
    """Why there is none though one was asked for."""
    seconds: float

    @property
    def failed(self) -> list[LineResult]:
        """The lines that were not mapped."""
        return [line for line in self.lines if line.error]

    def facts(self) -> dict[str, object]:
        """Return what ``campaign.json`` says, as plain JSON data."""
        return {
            "out": str(self.folder),
            "complete": not self.failed and self.no_mosaic is None,
            "lines": [line.facts() for line in self.lines],
            "mosaic": self.mosaic.facts() if self.mosaic else None,
            "no_mosaic": self.no_mosaic,
            "seconds": round(self.seconds, 3),
        }


def threads_for(asked: int | None, folders: Sequence[Path], *, workers: int) -> int:
    """Return the threads of each worker: as asked, as an earlier run here had, or a share of cores.

    They are a part of what decides the bytes, so they must not follow the number of workers.
    """
    if asked is not None:
        return asked
    for folder in folders:
        runtime = stored_identity(folder).get("runtime", {})
        if str(runtime.get("threads", "")).isdecimal():
            return int(runtime["threads"])
    return max(1, available_cpus() // workers)


def map_lines(
    jobs: Sequence[LineJob], spread: SpreadSettings, *, tell: Told
) -> Iterator[LineResult]:
    """Map lines and yield each one's result as it ends.

    One local worker is this process; anything else is a dask cluster.

    Parameters
    ----------
    jobs : sequence of LineJob
        With threads resolved.
    spread : SpreadSettings
        Where.
    tell : callable
        Called with events: cluster, start, warning, strips, finish, error.
    """
    pin = _pin(jobs)
    if spread.scheduler == LOCAL and spread.workers == 1:
        yield from (_map_here(pin(job) if pin else job, tell) for job in jobs)
        return
    device = jobs[0].settings.device if jobs else "auto"
    with ExitStack() as stack:
        pool = stack.enter_context(
            open_pool(
                spread.scheduler, workers=spread.workers, retries=spread.retries, device=device
            )
        )
        tell("cluster", {"dashboard": pool.dashboard, "workers": pool.expected})
        yield from Spread(pool, jobs, tell=tell, pin=pin).results()


def _pin(jobs: Sequence[LineJob]) -> Callable[[LineJob], LineJob] | None:
    """Return what gives a job the route of the first line that has one; None where all are alike.

    Where several routes are allowed the fastest is found by timing, which may end differently from
    line to line; a campaign takes one.
    """
    if len({job.model for job in jobs}) != 1:
        return None
    asked, bundle = jobs[0].settings, Bundle.load(jobs[0].model)
    allowed = choices(bundle, runtime=asked.runtime, precision=asked.precision)
    if len(allowed) == 1:
        return None

    def pin(job: LineJob) -> LineJob:
        found = (stored_route(other.out) for other in jobs)
        route = next((r for r in found if r in allowed), None)
        if route is None:
            return job
        settings = replace(job.settings, runtime=route.runtime, precision=route.precision)
        return replace(job, settings=settings)

    return pin


def _map_here(job: LineJob, tell: Told) -> LineResult:
    """Map one line in this process."""
    name, started = job.out.name, time.monotonic()

    def listen(event: str, facts: Mapping[str, object]) -> None:
        if event == "strip":
            tell("strips", {"line": name, "done": [facts["strip"]], "pixels": facts["pixels"]})
        elif event == "start":
            tell("start", {"line": name, "pixels_done": 0})
        elif event == "warning":
            tell("warning", {"line": name, **facts})

    try:
        with open_scene(job.scene, nodata=job.nodata, scale=job.scale) as scene:
            bundle = Bundle.load(job.model)
            report = map_scene(scene, bundle, settings=job.settings, out=job.out, listen=listen)
    except Exception as error:  # noqa: BLE001  # whatever it is, the other lines go on
        code = error.exit_code if isinstance(error, HsimapError) else HsimapError.exit_code
        text = str(error) if isinstance(error, HsimapError) else f"{type(error).__name__}: {error}"
        tell("error", {"line": name, "message": text, "exit_code": code})
        return LineResult(
            name=name,
            folder=str(job.out),
            error=text,
            exit_code=code,
            seconds=time.monotonic() - started,
        )
    strips = report.plan.tiles.n_rows
    result = LineResult(
        name=name,
        folder=str(job.out),
        already_complete=report.already_complete,
        strips=strips,
        strips_computed=0 if report.already_complete else strips - report.strips_resumed,
        pixels=report.pixels,
        seconds=report.seconds,
        maps=tuple(file for file in report.files if file.endswith(".tif")),
        notes=report.notes,
    )
    tell("finish", {**result.facts()})
    return result


def run_lines(plan: BatchPlan, settings: BatchSettings, out: Path, *, tell: Told) -> BatchReport:
    """Map every sound line of a plan; the report of the lines is written as they end.

    Parameters
    ----------
    plan : BatchPlan
        Of :func:`check_lines`.
    settings : BatchSettings
        How.
    out : Path
        Each line's folder, ``mosaic`` and ``campaign.json`` go here.
    tell : callable
        As for :func:`map_lines`.
    """
    started = time.monotonic()
    if settings.mosaic is not None and settings.mosaic.template is None:
        one_place(plan.sound)
    done = [
        LineResult(name=c.name, folder=str(c.out), error=c.problem, exit_code=c.exit_code)
        for c in plan.lines
        if c.problem is not None
    ]
    order = {line.name: i for i, line in enumerate(plan.lines)}
    make_folder(out)

    def report() -> BatchReport:
        return BatchReport(
            folder=out,
            lines=tuple(sorted(done, key=lambda line: order[line.name])),
            mosaic=None,
            no_mosaic="the lines are being mapped",
            seconds=time.monotonic() - started,
        )

    _save(out, plan, report())
    jobs = _jobs(plan, settings, out)
    for result in map_lines(jobs, settings.spread, tell=tell):
        done.append(result)
        _save(out, plan, report())
    return report()


def finish_batch(
    plan: BatchPlan,
    settings: BatchSettings,
    report: BatchReport,
    *,
    progress: Progress = lambda done, total: None,  # noqa: ARG005  # a silent default
) -> BatchReport:
    """Make the mosaic if all lines are complete, and write ``campaign.json``.

    Parameters
    ----------
    plan, settings
        As for :func:`run_lines`.
    report : BatchReport
        What :func:`run_lines` gave.
    progress : callable
        Called with the finished and all strips of the mosaic.
    """
    started = time.monotonic()
    made, why = _mosaic(report.lines, settings, report.folder, progress)
    seconds = report.seconds + time.monotonic() - started
    whole = replace(report, mosaic=made, no_mosaic=why, seconds=seconds)
    _save(report.folder, plan, whole)
    return whole


def _jobs(plan: BatchPlan, settings: BatchSettings, out: Path) -> list[LineJob]:
    """Return the jobs; what an earlier call resolved is kept, so that bytes stay the same."""
    folders = [line.out for line in plan.sound]
    mapping = settings.mapping
    threads = threads_for(mapping.threads, folders, workers=settings.spread.workers)
    return [
        LineJob(
            scene=line.path,
            model=plan.bundle.path.resolve(),
            settings=replace(mapping, threads=threads),
            out=(out / line.name).resolve(),
            mixed=settings.spread.mixed,
            scale=settings.scale,
            nodata=settings.nodata,
        )
        for line in plan.sound
    ]


def _mosaic(
    lines: Sequence[LineResult], settings: BatchSettings, out: Path, progress: Progress
) -> tuple[MosaicReport | None, str | None]:
    if settings.mosaic is None:
        return None, None
    failed = sum(line.error is not None for line in lines)
    if failed:
        return None, f"{failed} of {len(lines)} lines failed; run the same command again"
    try:
        # A mosaic of fewer lines, which an earlier call made, is replaced.
        chosen = replace(settings.mosaic, overwrite=True, area=settings.mapping.area)
        folders = [out / line.name for line in lines]
        return mosaic(folders, out / RESERVED, settings=chosen, progress=progress), None
    except HsimapError as error:
        return None, str(error)


def _save(out: Path, plan: BatchPlan, report: BatchReport) -> None:
    """Write ``campaign.json`` in one step."""
    content = {
        "schema": _SCHEMA,
        "hsimap": __version__,
        "model": {"name": plan.bundle.name, "digest": plan.bundle.digest},
        **report.facts(),
        "skipped": [str(path) for path in plan.skipped],
        "outside": list(plan.outside),
    }
    draft = out / f".{CAMPAIGN}"
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(out / CAMPAIGN)

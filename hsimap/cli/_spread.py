"""``hsimap predict --workers``: the strips of each scene on several processes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from hsimap.cli._jobs import print_mapped
from hsimap.cli._lines_progress import lines_progress
from hsimap.errors import BatchError, HsimapError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.cli._events import Log
    from hsimap.cli._jobs import Job, Show
    from hsimap.flightlines import LineResult
    from hsimap.mapping import MapSettings


def map_spread(
    wanted: Sequence[Job], settings: MapSettings, *, workers: int, show: Show, log: Log
) -> None:
    """Map scenes on several processes of this machine; print a line, or JSON, of each.

    Raises
    ------
    HsimapError
        As the scene's own where one is mapped; a BatchError where some of several failed.
    """
    from hsimap import flightlines as fl
    from hsimap.mapping import choose_model
    from hsimap.mapping.parts import LineJob

    threads = fl.threads_for(settings.threads, [job.folder for job in wanted], workers=workers)
    jobs, pixels = [], {}
    for job in wanted:
        with job.open() as scene:
            bundle = choose_model(scene, job.model)
            pixels[job.folder.name] = scene.grid.height * scene.grid.width
        jobs.append(
            LineJob(
                scene=job.path.resolve(),
                model=bundle.path.resolve(),
                settings=replace(settings, threads=threads),
                out=job.folder.resolve(),
                scale=job.scale,
                nodata=job.nodata,
            )
        )
    spread = fl.SpreadSettings(workers=workers)
    with lines_progress(pixels, quiet=show.quiet or show.as_json, log=log) as tell:
        results = list(fl.map_lines(jobs, spread, tell=tell))
    for result in results:
        _print(result, as_json=show.as_json)
    _raise_failed([result for result in results if result.error], len(wanted))


def _print(result: LineResult, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result.facts()))
    elif not result.error:
        strips = (result.strips - result.strips_computed, result.strips)
        print_mapped(
            result.folder,
            len(result.maps),
            pixels=result.pixels,
            seconds=result.seconds,
            strips=None if result.already_complete else strips,
        )


def _raise_failed(failed: Sequence[LineResult], total: int) -> None:
    if not failed:
        return
    if total > 1:
        names = ", ".join(result.name for result in failed)
        raise BatchError(f"{len(failed)} of {total} scenes failed: {names}")
    code = failed[0].exit_code
    kind = next((k for k in HsimapError.__subclasses__() if k.exit_code == code), HsimapError)
    raise kind(failed[0].error)

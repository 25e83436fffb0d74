"""Spread lines over a pool: a line is begun, its runs of strips are computed, it is committed."""

from __future__ import annotations

import heapq
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from hsimap.errors import HsimapError
from hsimap.flightlines._pool import Failure
from hsimap.mapping.checks import make_folder
from hsimap.mapping.commit import read_finished
from hsimap.mapping.journal import RunFolder, locked
from hsimap.mapping.parts import commit_line, map_strips, prepare_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hsimap.flightlines._pool import Pool
    from hsimap.mapping.parts import LineJob, PreparedLine, Receipts

    Told = Callable[[str, "Mapping[str, object]"], None]
Step = Literal["prepare", "strips", "commit"]
_ORDER: Final[dict[Step, int]] = {"commit": 0, "strips": 1, "prepare": 2}
_LEAST: Final = 4
"""Strips of a run: each run computes one tile row twice."""
_MOST: Final = 16
"""Strips of a run: what a lost worker, or the caller's end, costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult:
    """What became of one line."""

    name: str
    folder: str
    error: str | None = None
    exit_code: int = 0
    already_complete: bool = False
    strips: int = 0
    strips_computed: int = 0
    """In this call; the others were there already."""
    pixels: int = 0
    """In this call."""
    seconds: float = 0.0
    maps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, object]:
        """Return it as plain JSON data."""
        return {
            "line": self.name,
            "out": self.folder,
            "state": "failed" if self.error else "complete",
            "error": self.error,
            "exit_code": self.exit_code,
            "already_complete": self.already_complete,
            "strips": self.strips,
            "strips_computed": self.strips_computed,
            "pixels": self.pixels,
            "seconds": round(self.seconds, 3),
            "maps": list(self.maps),
            "notes": list(self.notes),
        }


@dataclass(slots=True, kw_only=True)
class _Line:
    """A line that is under way."""

    index: int
    job: LineJob
    held: ExitStack = field(default_factory=ExitStack)
    """Lock and journal."""
    started: float = 0.0
    prepared: PreparedLine | None = None
    run: RunFolder | None = None
    missing: int = 0
    """Runs of strips that have not come back."""
    computed: int = 0

    @property
    def name(self) -> str:
        return self.job.out.name


def runs_of(wanted: Sequence[int], *, workers: int, after: int = 0) -> list[tuple[int, ...]]:
    """Part the strips of a line into runs of neighbours.

    A run computes one tile row more than its strips need, and the last one decides when all is
    done. So no run is longer than a worker's share of what is left when it is begun, and the runs
    of a line of few strips are equally long; those of a longer one become shorter to its end.

    Parameters
    ----------
    wanted : sequence of int
        In rising order.
    workers : int
        That compute side by side.
    after : int
        Strips of the lines that are begun later.

    Examples
    --------
    >>> runs_of([0, 1, 2, 3, 4, 5, 6, 9], workers=2)
    [(0, 1, 2, 3), (4, 5, 6), (9,)]
    >>> runs_of([0, 1, 2, 3, 4, 5, 6, 9], workers=2, after=8)
    [(0, 1, 2, 3, 4, 5, 6), (9,)]
    """
    runs: list[list[int]] = []
    room = 0
    for done, strip in enumerate(wanted):
        if not room or strip != runs[-1][-1] + 1:
            left = len(wanted) if len(wanted) <= _MOST else len(wanted) - done
            share = -(-(left + after) // workers)
            pieces = -(-left // min(max(share, _LEAST), _MOST))
            room = -(-left // pieces)
            runs.append([])
        runs[-1].append(strip)
        room -= 1
    return [tuple(run) for run in runs]


class Spread:
    """Maps lines on a pool; the caller's process holds locks and journals and computes nothing.

    Parameters
    ----------
    pool : Pool
        Where parts are computed.
    jobs : sequence of LineJob
        In the order in which they are begun.
    tell : callable
        Called with an event and its facts: start, strips, finish and error, each with its line.
    pin : callable, optional
        Gives a job what the first line has resolved; the others wait for that.
    """

    def __init__(
        self,
        pool: Pool,
        jobs: Sequence[LineJob],
        *,
        tell: Told = lambda event, facts: None,  # noqa: ARG005  # a silent default
        pin: Callable[[LineJob], LineJob] | None = None,
    ) -> None:
        self._pin, self._resolved = pin, pin is None
        self._pool, self._tell, self._n = pool, tell, len(jobs)
        self._waiting = deque(_Line(index=i, job=job) for i, job in enumerate(jobs))
        self._ready: list[tuple[int, int, int, Step, _Line, tuple[int, ...]]] = []
        self._count = 0
        self._open: dict[int, _Line] = {}

    def results(self) -> Iterator[LineResult]:
        """Yield each line's result as it ends; a failed line does not stop the others."""
        try:
            while self._waiting or self._ready or self._pool.busy:
                yield from self._fill()
                if self._pool.busy:
                    tag, result = self._pool.next()
                    yield from self._take(tag, result)
        finally:
            for line in self._open.values():
                line.held.close()

    def _fill(self) -> Iterator[LineResult]:
        """Hand in parts until the pool has as many as it takes.

        That is one a worker where it can be: what waited would go before what is handed in later,
        as the strips of later lines before a line's last step.
        """
        while self._pool.busy < self._pool.at_once:
            if not self._ready and not self._waiting:
                return
            if not self._ready:
                if not self._resolved and self._pool.busy:
                    return
                failed = self._begin(self._waiting.popleft())
                if failed is not None:
                    yield failed
                    continue
            _, _, _, step, line, strips = heapq.heappop(self._ready)
            self._submit(step, line, strips)

    def _begin(self, line: _Line) -> LineResult | None:
        line.started = time.monotonic()
        line.job = line.job if self._pin is None else self._pin(line.job)
        self._open[line.index] = line
        try:
            make_folder(line.job.out)
            line.held.enter_context(locked(line.job.out))
        except HsimapError as error:
            return self._fail(line, Failure(message=str(error), exit_code=error.exit_code))
        self._push("prepare", line)
        return None

    def _push(self, step: Step, line: _Line, strips: tuple[int, ...] = ()) -> None:
        self._count += 1
        heapq.heappush(self._ready, (line.index, _ORDER[step], self._count, step, line, strips))

    def _submit(self, step: Step, line: _Line, strips: tuple[int, ...]) -> None:
        tag, priority = (line.index, step, strips), -line.index
        if step == "prepare":
            self._pool.submit(tag, prepare_line, line.job, priority=priority)
        elif step == "strips":
            self._pool.submit(tag, map_strips, line.prepared, strips, priority=priority)
        else:
            seconds = time.monotonic() - line.started
            self._pool.submit(tag, commit_line, line.prepared, seconds, priority=priority)

    def _take(self, tag: Any, result: Any) -> Iterator[LineResult]:  # noqa: ANN401  # any part's
        index, step, _ = tag
        line = self._open[index]
        try:
            if isinstance(result, Failure):
                yield self._fail(line, result)
            elif step == "prepare":
                yield from self._prepared(line, result)
            elif step == "strips":
                self._journal(line, result)
            elif result:
                self._again(line, result)
            else:
                yield self._finish(line)
        except (HsimapError, OSError) as error:
            code = error.exit_code if isinstance(error, HsimapError) else 20
            yield self._fail(line, Failure(message=str(error), exit_code=code))

    def _prepared(self, line: _Line, prepared: PreparedLine) -> Iterator[LineResult]:
        line.prepared, self._resolved = prepared, True
        tiles = prepared.plan.tiles
        facts = {"strips": tiles.n_rows, "strips_done": tiles.n_rows - len(prepared.wanted)}
        pixels = prepared.plan.pixels(range(tiles.n_rows))
        done = pixels - prepared.plan.pixels(prepared.wanted)
        self._say("start", line, {**facts, "pixels": pixels, "pixels_done": done})
        for note in prepared.notes:
            self._say("warning", line, {"message": note})
        if prepared.already_complete:
            yield self._finish(line)
            return
        self._plan_runs(line, prepared, prepared.wanted)

    def _plan_runs(self, line: _Line, prepared: PreparedLine, wanted: Sequence[int]) -> None:
        line.run = RunFolder(line.job.out, prepared.identity, overwrite=False)
        line.held.callback(line.run.close)
        after = (self._n - line.index - 1) * prepared.plan.tiles.n_rows
        runs = runs_of(wanted, workers=self._pool.expected, after=after)
        line.missing = len(runs)
        for run in runs:
            self._push("strips", line, run)
        if not runs:
            self._commit(line)

    def _commit(self, line: _Line) -> None:
        """Let go of the journal: a worker removes it with the run folder."""
        if line.run is not None:
            line.run.close()
        self._push("commit", line)

    def _journal(self, line: _Line, receipts: Receipts) -> None:
        if line.run is None or line.prepared is None:
            return
        line.run.record(receipts)
        line.computed += len(receipts)
        line.missing -= 1
        pixels = line.prepared.plan.pixels(sorted(receipts))
        self._say("strips", line, {"done": sorted(receipts), "pixels": pixels})
        if not line.missing:
            self._commit(line)

    def _again(self, line: _Line, strips: Sequence[int]) -> None:
        """Compute again what the disk has lost."""
        text = f"{len(strips)} strips did not read back as they were written and are computed again"
        self._say("warning", line, {"message": text})
        if line.prepared is not None:
            self._plan_runs(line, line.prepared, strips)

    def _finish(self, line: _Line) -> LineResult:
        prepared = line.prepared
        files = read_finished(line.job.out).get("files", {})
        tiles = prepared.plan.tiles if prepared else None
        computed = line.computed
        result = LineResult(
            name=line.name,
            folder=str(line.job.out),
            already_complete=bool(prepared and prepared.already_complete),
            strips=tiles.n_rows if tiles else 0,
            strips_computed=computed,
            pixels=prepared.plan.pixels(prepared.wanted) if prepared else 0,
            seconds=time.monotonic() - line.started,
            maps=tuple(sorted(name for name in files if name.endswith(".tif"))),
            notes=prepared.notes if prepared else (),
        )
        self._close(line)
        self._say("finish", line, result.facts())
        return result

    def _fail(self, line: _Line, failure: Failure) -> LineResult:
        self._pool.forget(lambda tag: tag[0] == line.index)  # type: ignore[index]
        self._ready = [entry for entry in self._ready if entry[4] is not line]
        heapq.heapify(self._ready)
        result = LineResult(
            name=line.name,
            folder=str(line.job.out),
            error=failure.message,
            exit_code=failure.exit_code,
            strips_computed=line.computed,
            seconds=time.monotonic() - line.started,
        )
        self._close(line)
        self._say("error", line, {"message": failure.message, "exit_code": failure.exit_code})
        return result

    def _close(self, line: _Line) -> None:
        line.held.close()
        self._open.pop(line.index, None)

    def _say(self, event: str, line: _Line, facts: Mapping[str, object]) -> None:
        self._tell(event, {"line": line.name, **facts})

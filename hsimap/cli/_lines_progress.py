"""Progress of many lines: a bar a line and one over all, or a printed line where no one watches."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hsimap.cli._events import Log

    Told = Callable[[str, "Mapping[str, object]"], None]


@contextmanager
def lines_progress(pixels: Mapping[str, int], *, quiet: bool, log: Log) -> Iterator[Told]:
    """Give what is told of events.

    Parameters
    ----------
    pixels : mapping
        Line to its pixels.
    quiet : bool
        Draw and print nothing but warnings of failures.
    log : callable
        Gets every event as well.
    """
    with ExitStack() as stack:
        if quiet or not sys.stderr.isatty():
            shown: Told = _Lines(len(pixels), quiet=quiet)
        else:
            shown = stack.enter_context(_bars(pixels))

        def tell(event: str, facts: Mapping[str, object]) -> None:
            log(event, facts)
            shown(event, facts)

        yield tell


class _Lines:
    """One printed line for each event that ends something."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        self._total, self._quiet, self._count = total, quiet, 0

    def __call__(self, event: str, facts: Mapping[str, object]) -> None:
        if event in {"finish", "error"}:
            self._count += 1
        text = told(event, facts)
        if text and not (self._quiet and event != "error"):
            place = f"[{self._count}/{self._total}] " if event in {"finish", "error"} else ""
            typer.echo(place + text, err=True)


def told(event: str, facts: Mapping[str, object]) -> str:
    """Return an event in words; empty where there is nothing to say."""
    text = {
        "cluster": "{workers} workers, dashboard {dashboard}",
        "error": "{line}: failed: {message}",
        "warning": "{line}: note: {message}",
        "finish": "{line}: {strips_computed} of {strips} strips computed",
    }.get(event, "")
    if facts.get("already_complete"):
        text = "{line}: already complete"
    return text.format(**facts)


@contextmanager
def _bars(pixels: Mapping[str, int]) -> Iterator[Told]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        whole = bars.add_task("all lines", total=sum(pixels.values()))
        open_bars: dict[str, Any] = {}

        def tell(event: str, facts: Mapping[str, object]) -> None:
            name = str(facts.get("line", ""))
            if event == "start":
                done = int(str(facts.get("pixels_done", 0)))
                open_bars[name] = bars.add_task(name, total=pixels.get(name), completed=done)
                bars.advance(whole, done)
            elif event == "strips" and name in open_bars:
                count = int(str(facts["pixels"]))
                bars.advance(open_bars[name], count)
                bars.advance(whole, count)
            elif event in {"finish", "error"} and name in open_bars:
                bars.remove_task(open_bars.pop(name))
            if event != "finish" and (text := told(event, facts)):
                bars.console.print(text, markup=False, highlight=False)

        yield tell

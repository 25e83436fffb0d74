"""Progress with ETA on a terminal; nothing where the output is read by a program."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hsimap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def tile_progress(label: str, *, quiet: bool) -> AbstractContextManager[Callable[[int, int], None]]:
    """Give a callback of (done, total) tiles; see :func:`progress_of`."""
    return progress_of(label, "tiles", quiet=quiet)


@contextmanager
def progress_of(label: str, unit: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Give a callback of (done, total) that draws a bar with the time left on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True)) as bars:
        bar = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def parse_bytes(text: str) -> int:
    """Read a size such as 4GiB, 1.5G or 800MB (powers of 1024).

    Raises
    ------
    UsageError
        If it is no such size.

    Examples
    --------
    >>> parse_bytes("1.5GiB")
    1610612736
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)i?B?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError(f"--memory must be a size such as 4GiB or 800MiB, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])

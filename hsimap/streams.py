"""Run one stage of a pipeline ahead of the next, bounded, in order, without losing its errors."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")
_END: Final = object()


def available_cpus() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prefetch(items: Iterable[T], *, depth: int) -> Generator[T]:
    """Pull ``items`` in one background thread, at most ``depth`` ahead of the caller.

    The order is kept. An error raised by ``items`` is raised here, in its place. A generator of
    ``items`` is closed at the end, after its thread has stopped.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
    try:
        ahead = deque(pool.submit(next, source, _END) for _ in range(depth))
        held = [ahead.popleft().result()]  # a list can be emptied: the caller alone keeps an item
        while held[0] is not _END:
            ahead.append(pool.submit(next, source, _END))
            yield held.pop()  # type: ignore[misc]  # _END is excluded above
            held.append(ahead.popleft().result())
    finally:
        pool.shutdown(cancel_futures=True)
        _close(items)


def drain(function: Callable[[T], R], items: Iterable[T], *, depth: int) -> Iterator[R]:
    """Apply ``function`` to ``items`` in one background thread and yield the results in order.

    At most ``depth`` items wait or run; an error of the function or of ``items`` is raised here.
    A generator of ``items`` is closed at the end, however the caller stops.
    """
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="drain")
    waiting: deque[object] = deque()
    try:
        for item in items:
            if len(waiting) >= depth:
                yield waiting.popleft().result()  # type: ignore[attr-defined]
            waiting.append(pool.submit(function, item))
        while waiting:
            yield waiting.popleft().result()  # type: ignore[attr-defined]
    finally:
        pool.shutdown(cancel_futures=True)
        _close(items)


def side_by_side(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Generator[R]:
    """Apply ``function`` to so many ``items`` at a time and yield the results in order.

    The next item is pulled, in the caller's thread, when the oldest is done, so that no more than
    ``workers`` of them are in use. One worker is the caller itself. An error of the function or of
    ``items`` is raised here. A generator of ``items`` is closed at the end.
    """
    if workers == 1:
        yield from map(function, items)
        return
    source, waiting = iter(items), deque["Future[R]"]()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="side-by-side")
    try:
        waiting.extend(pool.submit(function, item) for item in islice(source, workers))
        while waiting:
            held = [waiting.popleft().result()]  # as above
            waiting.extend(pool.submit(function, item) for item in islice(source, 1))
            yield held.pop()
    finally:
        pool.shutdown(cancel_futures=True)
        _close(items)


def _close(items: object) -> None:
    """Close a generator now: the traceback of an error would keep it, and its threads, alive."""
    if isinstance(items, Generator):
        items.close()

"""Run one stage of a pipeline ahead of the next, bounded, in order, without losing its errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")
_END: Final = object()


def prefetch(items: Iterable[T], *, depth: int) -> Iterator[T]:
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


def _close(items: object) -> None:
    """Close a generator now: the traceback of an error would keep it, and its threads, alive."""
    if isinstance(items, Generator):
        items.close()

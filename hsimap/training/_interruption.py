"""Let a step end and the run be saved before a signal acts."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import FrameType, TracebackType

_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class StoppedError(Exception):
    """Leaves the loop once the run is saved; the signal takes its place."""


class Interruption:
    """Notes the first signal in a ``with`` block; a second one acts as it always did.

    If the block is left by :class:`StoppedError`, the noted signal is raised again, under the
    handlers of before: Ctrl-C becomes ``KeyboardInterrupt``, for instance. Threads other than the
    main one get no signals, and nothing is noted there.
    """

    def __init__(self) -> None:
        self._noted: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a signal was noted."""
        return self._noted is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
        if isinstance(error, StoppedError) and self._noted is not None:
            signal.raise_signal(self._noted)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._noted = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

"""What went wrong: its exit code and its one line."""

from __future__ import annotations

import errno
from typing import Final

import typer

from hsimap.errors import HsimapError, ResourceError, StorageError, UsageError

INTERRUPTED: Final = 130
TERMINATED: Final = 143
BUG: Final = 70
AGAIN: Final = "interrupted; run the same command again to resume"
_DISK_ERRORS: Final = {
    errno.ENOSPC,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EDQUOT,
    errno.EIO,
}


class Terminated(BaseException):
    """SIGTERM or SIGHUP: unwinds every ``with`` block, as Ctrl-C does."""


def failure_of(error: BaseException, *, verbs: frozenset[str] = frozenset()) -> tuple[int, str]:
    """Return the exit code of what was raised, and one line for the user.

    Parameters
    ----------
    error : BaseException
        Anything; what is not known is a bug.
    verbs : frozenset of str
        Names of the verbs, to say where help is.
    """
    if isinstance(error, HsimapError):
        return error.exit_code, f"error: {error}"
    stop = _stop_behind(error)
    if stop is not None:
        return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED, AGAIN
    if isinstance(error, typer.TyperException):
        name = getattr(getattr(error, "ctx", None), "info_name", None)
        verb = f"{name} " if name in verbs else ""
        said = error.format_message().rstrip(".")
        return UsageError.exit_code, f"error: {said}; see hsimap {verb}--help"
    return _failure_of_system(error)


def _stop_behind(error: BaseException | None) -> BaseException | None:
    """Return the stop that an error came of, if any.

    One that comes while a lock is given back makes the lock raise in its turn.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt | Terminated):
        error = error.__context__
    return error


def _failure_of_system(error: BaseException) -> tuple[int, str]:
    if isinstance(error, MemoryError):
        text = "error: out of memory; lower --memory or --tile, or free some"
        return ResourceError.exit_code, text
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        where = error.filename or "the disk"
        return StorageError.exit_code, f"error: {where}: {error.strerror}; free or choose another"
    return BUG, "error: this is a bug; please report it with the lines above"

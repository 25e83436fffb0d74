"""``--log-json``: one JSON line an event, for the programs that watch over runs."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hsimap.cli._failures import BUG, failure_of
from hsimap.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Log = Callable[[str, Mapping[str, object]], None]


@contextmanager
def event_log(path: Path | None) -> Iterator[Log]:
    """Give a function that appends an event to a file; what ends the run by force is an event too.

    Parameters
    ----------
    path : Path or None
        Appended to, a whole line at once, so that several runs may share it; None = no log.

    Raises
    ------
    StorageError
        If it cannot be opened.
    """
    if path is None:
        yield lambda event, facts: None  # noqa: ARG005
        return
    handle = _open(path)

    def log(event: str, facts: Mapping[str, object]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"event": event, "time": now, **facts}, ensure_ascii=False)
        os.write(handle, line.encode() + b"\n")

    try:
        yield log
    except BaseException as error:
        with suppress(OSError):  # the error at hand matters more than the log of it
            log("error", _facts(error))
        raise
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            f"cannot write the log {path}: {error.strerror}; choose another --log-json"
        ) from error


def _facts(error: BaseException) -> dict[str, object]:
    code, text = failure_of(error)
    said = f"{type(error).__name__}: {error}" if code == BUG else text.removeprefix("error: ")
    return {"message": " ".join(said.split()), "exit_code": code}

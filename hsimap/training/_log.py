"""What a run says: JSON lines and TensorBoard in the run folder, a progress bar on the terminal."""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

LOG: Final = "log.jsonl"


class Log(Protocol):
    """What the loop tells."""

    def write(self, epoch: int, record: Mapping[str, Any]) -> None:
        """Add one record of finished epochs."""

    def show(self, epoch: int, note: str) -> None:
        """Say how far the run is."""


class SilentLog(AbstractContextManager["SilentLog"]):
    """Tells nobody."""

    def write(self, epoch: int, record: Mapping[str, Any]) -> None:
        """Drop the record."""

    def show(self, epoch: int, note: str) -> None:
        """Say nothing."""

    def __exit__(self, *_: object) -> None:
        """Leave."""


class RunLog:
    """Log of one run; use it in a ``with`` block.

    Parameters
    ----------
    folder : Path
        The run folder: ``log.jsonl`` and ``tensorboard/``.
    epochs : int
        Epochs of the whole run, for the bar.
    done : int
        Epochs that an interrupted run has finished; later lines of its log are dropped.
    bar : bool
        Whether to draw the progress bar, on standard error.
    """

    def __init__(self, folder: Path, *, epochs: int, done: int, bar: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LOG
        self._drop_after(done)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not bar,
        )
        self._row = self._bar.add_task("epochs", total=epochs, completed=done, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        self._board.close()

    def write(self, epoch: int, record: Mapping[str, Any]) -> None:
        """Add one record of finished epochs: to the file whole, to TensorBoard its numbers."""
        line = json.dumps({"epoch": epoch, **_plain(record)}, allow_nan=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
        for name, value in _flat(record):
            self._board.add_scalar(name, value, epoch)

    def show(self, epoch: int, note: str) -> None:
        """Move the bar."""
        self._bar.update(self._row, completed=epoch, note=note)

    def _drop_after(self, done: int) -> None:
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and _epoch(line) <= done]
            self._path.write_text("".join(kept) if done else "", encoding="utf-8")


def _epoch(line: str) -> int:
    return int(json.loads(line)["epoch"])


def _flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            found += _flat(value, f"{prefix}{key}/")
        elif isinstance(value, float | int) and math.isfinite(value):
            found.append((f"{prefix}{key}", float(value)))
    return found


def _plain(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value

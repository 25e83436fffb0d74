"""Checkpoints that prove themselves: the hash is in the name, the newest whole one is used."""

from __future__ import annotations

import hashlib
import io
import os
import re
from typing import TYPE_CHECKING, Any, Final

import torch

from hsimap.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

_NAME: Final = re.compile(r"step-(\d{9})-([0-9a-f]{64})\.pt")
_KEPT: Final = 2
PRETRAINING: Final = "pretrain"
"""Folder in a run folder with the checkpoints and the log of a pretraining."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint in one step and remove all but the newest two.

    Parameters
    ----------
    folder : Path
        The run folder.
    step : int
        Steps done since the start.
    state : dict
        Tensors, numbers, texts, lists and dicts only, so that it loads without running code.

    Raises
    ------
    StorageError
        If the disk refuses; the earlier checkpoints are still there.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    path = folder / f"step-{step:09d}-{hashlib.sha256(data).hexdigest()}.pt"
    temporary = folder / ".checkpoint.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"cannot write the checkpoint {path}: {error}") from error
    for old in _listed(folder)[_KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Return the newest checkpoint whose content has the hash in its name.

    Parameters
    ----------
    folder : Path
        The run folder.

    Returns
    -------
    state : dict or None
        None where the folder holds no checkpoint at all.
    notes : tuple of str
        A sentence for each damaged file that was passed over.

    Raises
    ------
    StorageError
        If there are checkpoints and all are damaged: a run never starts over unasked.
    """
    notes: list[str] = []
    for path in _listed(folder):
        data = path.read_bytes()
        if path.name.endswith(f"-{hashlib.sha256(data).hexdigest()}.pt"):
            state: dict[str, Any] = torch.load(
                io.BytesIO(data), map_location="cpu", weights_only=True
            )
            return state, tuple(notes)
        notes.append(f"checkpoint {path.name[:14]} is damaged; the one before it is used")
    if notes:
        raise StorageError(
            f"every checkpoint in {folder} is damaged; remove the folder to start over"
        )
    return None, ()


def has_checkpoint(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint of an unfinished run."""
    return bool(_listed(folder) or _listed(folder / PRETRAINING))


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a run that is over, those of its pretraining too."""
    for path in (*_listed(folder), *_listed(folder / PRETRAINING)):
        path.unlink(missing_ok=True)


def _listed(folder: Path) -> list[Path]:
    """Return the checkpoints, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.name[:14], path.stat().st_mtime_ns), reverse=True)

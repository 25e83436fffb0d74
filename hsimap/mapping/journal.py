"""The hidden run folder and its journal, which says which strips are finished."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hsimap.crashpoints import crash_point
from hsimap.errors import LockedError, OutputExistsError
from hsimap.products import RUN_FOLDER, sync_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

_IDENTITY: Final = "identity.json"
_JOURNAL: Final = "journal.jsonl"
_REPLACED: Final = "replaced.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an output folder; the lock vanishes with the process.

    Raises
    ------
    LockedError
        If another run holds it.
    """
    path = folder / ".hsimap-lock"
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        if not _holds(handle, path):
            raise LockedError(
                f"another run is writing to {folder}; wait for it or choose another --out"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _holds(handle: int, path: Path) -> bool:
    """Take the lock; a file that its last holder has just removed locks nobody out."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def differing_fields(mine: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Name the fields in which two run identities differ, as ``scene.line.tif.mtime_ns``.

    Examples
    --------
    >>> differing_fields({"tiles": {"tile": 8, "trim": 2}}, {"tiles": {"tile": 16, "trim": 2}})
    ['tiles.tile']
    """
    names = []
    for key in sorted(mine.keys() | other.keys()):
        one, two = mine.get(key), other.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            names += [f"{key}.{name}" for name in differing_fields(one, two)]
        elif one != two:
            names.append(key)
    return names


class RunFolder:
    """Everything an unfinished run has on disk.

    Parameters
    ----------
    folder : Path
        The output folder; the run folder is made inside it, on the same file system.
    identity : mapping
        What makes two runs the same; an unfinished run of the same identity is resumed.
    overwrite : bool
        Discard an unfinished run of another identity.

    Raises
    ------
    OutputExistsError
        If an unfinished run of another identity is there and ``overwrite`` is False.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object], *, overwrite: bool) -> None:
        self.path = folder / RUN_FOLDER
        stored = _read_json(self.path / _IDENTITY)
        if stored is not None and stored != identity:
            if not overwrite:
                raise OutputExistsError(
                    f"{folder} holds an unfinished run that differs in"
                    f" {', '.join(differing_fields(identity, stored))}; finish that one, choose"
                    f" another --out, or use --overwrite"
                )
            stored = None
        if stored is None:
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True)
            _write_durable(self.path / _IDENTITY, json.dumps(identity, indent=1))
            sync_path(self.path)
            sync_path(folder)
        crash_point("run-opened")
        self.done = self._read_journal()
        self._journal = (self.path / _JOURNAL).open("a", encoding="utf-8")

    def _read_journal(self) -> dict[int, dict[str, int]]:
        """Return strip to layer to CRC-32; a torn last line is cut off."""
        path = self.path / _JOURNAL
        done: dict[int, dict[str, int]] = {}
        if not path.exists():
            return done
        sound = 0
        for line in path.read_bytes().splitlines(keepends=True):
            record = _parse(line)
            if record is None:
                break
            done[record[0]] = record[1]
            sound += len(line)
        os.truncate(path, sound)
        return done

    def record(self, receipts: Mapping[int, Mapping[str, int]]) -> None:
        """Note strips whose data are durable: strip to map to CRC-32."""
        for strip, crc in sorted(receipts.items()):
            self._journal.write(json.dumps({"strip": strip, "crc": dict(crc)}) + "\n")
        self._journal.flush()
        os.fdatasync(self._journal.fileno())

    def close(self) -> None:
        """Close the journal; the folder stays."""
        self._journal.close()

    def withdraw(self, manifest: Path) -> None:
        """Take the manifest of a replaced run out of sight; it is kept in the run folder."""
        if manifest.exists():
            manifest.replace(self.path / _REPLACED)
            sync_path(manifest.parent)

    def leftovers(self, written: Collection[str]) -> list[str]:
        """Return the names of the replaced run's files that this run has not written anew."""
        replaced = _read_json(self.path / _REPLACED) or {}
        files = replaced.get("files")
        names = files if isinstance(files, dict) else {}
        return [name for name in names if name not in written and "/" not in name]

    def remove(self) -> None:
        """Delete the folder: the run is finished."""
        self.close()
        (self.path / _IDENTITY).unlink()
        crash_point("run-half-removed")
        shutil.rmtree(self.path)
        crash_point("run-removed")


def _parse(line: bytes) -> tuple[int, dict[str, int]] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
        return int(record["strip"]), dict(record["crc"])
    except (ValueError, TypeError, KeyError):
        return None


def _read_json(path: Path) -> dict[str, object] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    except (FileNotFoundError, ValueError):
        return None


def _write_durable(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())

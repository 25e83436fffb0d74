"""The manifest of a finished folder: written last, and what says that it is finished."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from hsimap.crashpoints import crash_point
from hsimap.errors import UsageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MANIFEST: Final = "manifest.json"
RUN_FOLDER: Final = ".hsimap-run"
"""Hidden folder of an unfinished run, inside its output folder."""
_SCHEMA: Final = "hsimap-map/1"
_CHUNK: Final = 1 << 20
_AT_A_TIME: Final = 2
"""Files that are hashed side by side."""


def file_entry(path: Path) -> dict[str, object]:
    """Return size and sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def write_manifest(
    folder: Path,
    content: Mapping[str, object],
    *,
    files: Sequence[Path],
    known: Mapping[str, dict[str, object]] | None = None,
) -> Path:
    """Write ``manifest.json`` in one step: it is there and whole, or not there.

    Parameters
    ----------
    folder : Path
        The finished folder.
    content : mapping
        What is known of the run, as plain JSON data.
    files : sequence of Path
        The folder's files, hashed here; those of folders inside it go by their path.
    known : mapping, optional
        What :func:`file_entry` said of some of them, by name, when they were made.
    """
    entries = dict(known or {})
    named = {path.relative_to(folder).as_posix(): path for path in sorted(files)}
    left = {name: path for name, path in named.items() if name not in entries}
    with ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="hashes") as pool:
        entries |= zip(left, pool.map(file_entry, left.values()), strict=True)
    whole = {"schema": _SCHEMA, **content, "files": {name: entries[name] for name in named}}
    return _write(folder, whole)


def renew_entries(path: Path) -> bool:
    """Write a file's size and sha256 anew where the manifest beside it lists the file.

    Returns
    -------
    bool
        Whether there is such an entry.
    """
    if not is_map_folder(path.parent):
        return False
    content = read_manifest(path.parent)
    if path.name not in content["files"]:
        return False
    content["files"][path.name] = file_entry(path)
    _write(path.parent, content)
    return True


def _write(folder: Path, whole: Mapping[str, object]) -> Path:
    path = folder / MANIFEST
    draft = folder / f".{MANIFEST}"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(whole, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    crash_point("manifest-drafted")
    draft.replace(path)
    sync_path(folder)
    return path


def sync_path(path: Path) -> None:
    """Wait until a file's data, or the names in a folder, are durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a finished folder's manifest.

    Raises
    ------
    UsageError
        If there is none.
    VerificationError
        If it is damaged.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{folder} has no {MANIFEST}: it holds no finished maps") from None
    except ValueError as error:
        raise VerificationError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA:
        raise VerificationError(f"{path} is no manifest of maps ({_SCHEMA})")
    return content


def is_map_folder(folder: Path) -> bool:
    """Say whether a folder holds a manifest of maps, sound or not."""
    path = folder / MANIFEST
    return path.is_file() and f'"{_SCHEMA}"' in path.read_text(encoding="utf-8", errors="replace")


def is_unfinished(folder: Path) -> bool:
    """Say whether a folder holds a run that was interrupted before its manifest was written."""
    return (folder / RUN_FOLDER).is_dir() and not (folder / MANIFEST).exists()


def verify_folder(folder: Path) -> list[str]:
    """Check every file of a finished folder against the manifest.

    Returns
    -------
    list of str
        Warnings: sidecars that QGIS or GDAL touched, and files that are not of the run.

    Raises
    ------
    VerificationError
        If a file is missing or altered, or the folder's run did not finish.
    """
    if is_unfinished(folder):
        raise VerificationError(
            f"{folder} is unfinished: it has no {MANIFEST}; run the same command again to resume"
        )
    entries: dict[str, dict[str, object]] = read_manifest(folder)["files"]
    warnings = []
    for name, entry in entries.items():
        path = folder / name
        if not path.is_file():
            raise VerificationError(f"{path} is missing; map the scene again with --overwrite")
        if file_entry(path) != entry:
            if not (name.endswith(".aux.xml") and _is_pam(path)):
                raise VerificationError(f"{path} was altered; map the scene again with --overwrite")
            warnings.append(f"{name} was altered since (QGIS and GDAL do so when they open a map)")
    known = {*entries, MANIFEST}
    known |= {name.split("/")[0] for name in known}
    inside = (path for path in folder.iterdir() if not is_map_folder(path))
    strange = sorted(path.name for path in inside if path.name not in known)
    return warnings + [_remark(name) for name in strange]


def _is_pam(path: Path) -> bool:
    """Say whether a sidecar is a whole one of GDAL's, as QGIS leaves it with statistics added."""
    text = path.read_bytes().strip()
    return text.startswith(b"<PAMDataset") and text.endswith((b"</PAMDataset>", b"/>"))


def _remark(name: str) -> str:
    if name == RUN_FOLDER:
        return f"{name} is left of a run that was killed; the same command removes it"
    if name.endswith(".aux.xml"):
        return f"{name} was added since (QGIS and GDAL do so when they open a map)"
    return f"{name} is not of this run"

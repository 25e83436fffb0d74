"""What must hold of the output folder and of the scene before maps are made, and at the end."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

from hsimap.errors import InputError, OutputExistsError, StorageError, VerificationError
from hsimap.mapping.commit import read_finished
from hsimap.mapping.journal import differing_fields
from hsimap.products import RUN_FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from hsimap.mapping.settings import MapPlan
    from hsimap.scenes import Scene

_DISK_FACTOR: Final = 3.7
"""Strips, tiles with overviews (4/3), and the same again while a single map is copied."""


def make_folder(out: Path) -> None:
    """Make the output folder and see that it can be written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".hsimap-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"cannot write to {out}: {error.strerror}; choose another --out"
        ) from error


def is_finished(out: Path, identity: dict[str, object], *, overwrite: bool) -> bool:
    """Say whether ``out`` holds the finished result of this very run; refuse another's."""
    manifest = _finished(out, overwrite=overwrite)
    if not manifest:
        foreign = [] if (out / RUN_FOLDER).exists() else sorted(out.glob("*.tif"))
        if foreign and not overwrite:
            raise OutputExistsError(
                f"{out} holds {foreign[0].name}, which no finished run of hsimap wrote; choose"
                f" another --out or use --overwrite"
            )
        return False
    stored = manifest.get("identity", {})
    if stored == identity:
        shutil.rmtree(out / RUN_FOLDER, ignore_errors=True)
        return True
    if not overwrite:
        fields = ", ".join(differing_fields(identity, stored))
        raise OutputExistsError(
            f"{out} holds the maps of a different run (differs in: {fields}); choose another --out"
            f" or use --overwrite"
        )
    return False


def _finished(out: Path, *, overwrite: bool) -> dict[str, Any]:
    """Return the manifest; a damaged one is none where it is going to be replaced anyway."""
    try:
        return read_finished(out)
    except VerificationError:
        if not overwrite:
            raise
        return {}


def check_unchanged(scene: Scene, identity: dict[str, object]) -> None:
    """Refuse to finish the maps of a file that was another one when the run started."""
    try:
        changed = scene.fingerprint() != identity["scene"]
    except OSError:
        changed = True
    if changed:
        raise InputError(
            f"{scene.path} changed while it was read, so its maps are of no use; map it again"
            f" with --overwrite once it is complete"
        )


def check_room(out: Path, plan: MapPlan) -> None:
    """Refuse a run that the disk has no room for; an unfinished one holds some of it already."""
    needed = int(plan.output_bytes * _DISK_FACTOR)
    held = sum(path.stat().st_blocks * 512 for path in (out / RUN_FOLDER).rglob("*"))
    free = shutil.disk_usage(out).free + held
    if free < needed:
        raise StorageError(
            f"{out} has {free / 2**20:.1f} MiB free and the run needs about {needed / 2**20:.1f}"
            f" MiB; free some space or choose another --out"
        )

"""What tells whether a file is still the one that was read."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_HEAD: Final = 1 << 20


def fingerprint_of(path: Path) -> dict[str, object]:
    """Return size, modification time and a hash of head and tail of a file.

    Of a folder: those of its files together, and a hash of their names, sizes and times.
    """
    if path.is_dir():
        return _of_folder(path)
    stat = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        digest.update(file.read(_HEAD))
        file.seek(max(stat.st_size - _HEAD, 0))
        digest.update(file.read(_HEAD))
    return {
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "sha256_head_tail": digest.hexdigest(),
    }


def _of_folder(folder: Path) -> dict[str, object]:
    stats = {str(p.relative_to(folder)): p.stat() for p in sorted(folder.rglob("*")) if p.is_file()}
    listing = "".join(f"{name}\0{s.st_size}\0{s.st_mtime_ns}\n" for name, s in stats.items())
    return {
        "files": len(stats),
        "size": sum(stat.st_size for stat in stats.values()),
        "mtime_ns": max((stat.st_mtime_ns for stat in stats.values()), default=0),
        "sha256_listing": hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest(),
    }

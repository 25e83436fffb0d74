"""Leave the system's page cache as it was found: a large file is read once, and then not wanted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from hsimap.geometry import Window

_LEAST: Final = 1 << 30
"""Bytes; a smaller file may stay in memory for the next run."""
_PROBES: Final = 32


class PassingPages:
    """Pages of a file that a run brings into memory and gives back behind itself.

    Where a virtual machine gets its memory page by page from its host, filling the cache costs
    ten times the copy (1 to 2.4 s a GiB against 0.15 s where pages are given back, measured), and
    what other programs keep there is pushed out. That holds for pages that are soon used again:
    the host takes back what lies idle for seconds. So they are given back as soon as they are
    read. A small file, and one that was in memory already, stays there.

    Parameters
    ----------
    path : Path
        The file.
    least : int
        Bytes; smaller files are left alone.
    """

    def __init__(self, path: Path, *, least: int = _LEAST) -> None:
        self._handle, self._row, self._stop, self._overlap = -1, 0, 0, 0
        self._back = 0
        if not hasattr(os, "posix_fadvise") or not hasattr(os, "RWF_NOWAIT"):
            return
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(handle).st_size >= least and cached_share(handle) < 0.5:  # noqa: PLR2004  # half
            self._handle = handle
        else:
            os.close(handle)

    @property
    def active(self) -> bool:
        """Whether pages are given back."""
        return self._handle >= 0

    def begin(self, window: Window, *, width: int) -> int:
        """Begin a read; return the row above which its pages may go once they are read.

        Tile rows go down, none reaches above its first row again, and one overlaps the next as the
        one before has overlapped it. The rightmost read of a row, in a scene of so many columns,
        is its last.
        """
        row, stop = window.row, window.row + window.height
        if row < self._row:
            self._back = row
        if row != self._row:
            self._overlap = max(self._stop - row, 0)
        self._row, self._stop = row, stop
        is_last = window.col + window.width >= width
        return stop - self._overlap if row and is_last else row

    def passed(self, row: int) -> range:
        """Return the rows above ``row`` that have not been given back yet."""
        rows = range(self._back, row) if self.active else range(0)
        self._back = max(self._back, row)
        return rows

    def give_back(self, start: int = 0, size: int = 0) -> None:
        """Let the system forget ``size`` bytes from ``start`` on, 0 = to the end.

        They may be read again, from the disk.
        """
        os.posix_fadvise(self._handle, start, size, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        """Close the file."""
        if self.active:
            os.close(self._handle)
            self._handle = -1


def cached_share(handle: int) -> float:
    """Return which share of an open file is in memory, from single bytes spread over it."""
    size = os.fstat(handle).st_size
    byte = bytearray(1)
    found = 0
    for k in range(_PROBES):
        try:
            found += os.preadv(handle, [byte], size * k // _PROBES, os.RWF_NOWAIT)
        except OSError:  # not in memory, or a file system that cannot tell
            continue
    return found / _PROBES

"""What a mapping run tells while it runs: an event's name and its facts as plain JSON data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.mapping.tiling import TilePlan

Listener = Callable[[str, Mapping[str, object]], None]
"""Called with start, warning, resume, strip and finish; strips come from another thread."""


def ignore(event: str, facts: Mapping[str, object]) -> None:
    """Listen to nothing."""
    del event, facts


class StripClock:
    """Tells of each finished strip, with the seconds since the one before.

    Parameters
    ----------
    tiles : TilePlan
        The scene's tile grid.
    listen : Listener
        Who is told.
    """

    def __init__(self, tiles: TilePlan, listen: Listener) -> None:
        self._tiles, self._listen = tiles, listen
        self._last = time.monotonic()

    def start(self, wanted: Sequence[int], tile_rows: int) -> None:
        """Start the clock; tell of a resume where strips are there already."""
        n = self._tiles.n_rows
        if len(wanted) < n:
            done = n - len(wanted)
            self._listen("resume", {"strips": n, "strips_done": done, "tile_rows": tile_rows})
        self._last = time.monotonic()

    def finished(self, strip: int) -> None:
        """Tell of a strip that is journalled."""
        now = time.monotonic()
        rows = self._tiles.in_maps(self._tiles.strip(strip))
        facts = {
            "strip": strip,
            "pixels": rows.height * rows.width,
            "seconds": round(now - self._last, 4),
        }
        self._last = now
        self._listen("strip", facts)

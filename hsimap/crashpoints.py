"""Named steps of a mapping run at which a test can kill the process, as ``kill -9`` would.

``HSIMAP_CRASH_AT=strip-written:3`` kills at the third pass of that step; without a number at
the first. Not set, a step costs one look into the environment.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from typing import Final

from hsimap.errors import UsageError

VARIABLE: Final = "HSIMAP_CRASH_AT"
CRASH_POINTS: Final = {
    "run-opened": "the run folder and the identity in it are durable",
    "strip-written": "a strip's data are handed to the disk",
    "strip-durable": "a strip's data are durable, its journal line is not written",
    "strip-journalled": "a strip's journal line is durable",
    "strips-complete": "every strip is journalled, finalising starts",
    "manifest-withdrawn": "the manifest of a replaced run, if any, is out of sight",
    "map-written": "a map stands under its temporary name",
    "map-durable": "a map's data are durable",
    "map-verified": "a map was read back and is as it was computed",
    "styles-written": "a map's style and table are written",
    "project-written": "the preview, the QGIS project and the footprints are written",
    "sidecars-removed": "sidecars of an older map of the same name are removed",
    "file-renamed": "a file has its final name",
    "renames-durable": "all final names are durable, there is no manifest",
    "manifest-drafted": "the manifest is durable under its temporary name",
    "manifest-written": "the manifest has its name: the run is finished",
    "run-half-removed": "the run folder has lost its identity",
    "run-removed": "the run folder is gone",
}
"""Name to what is true when it is reached, in the order of a run."""
_passes: Counter[str] = Counter()
_counting: Final = threading.Lock()


def planned_crash() -> tuple[str, int] | None:
    """Return the step and the pass that the environment asks for.

    Raises
    ------
    UsageError
        If there is no such step, or the number is none.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return None
    name, _, number = wanted.partition(":")
    if name not in CRASH_POINTS:
        raise UsageError(f"{VARIABLE} names {name!r}; the steps are {', '.join(CRASH_POINTS)}")
    if not (number or "1").isdecimal() or int(number or 1) < 1:
        raise UsageError(f"{VARIABLE} is {wanted!r}; after the colon stands a pass, 1 or more")
    return name, int(number or 1)


def crash_point(name: str) -> None:
    """Say that a step is reached; does not return if the environment names it."""
    if VARIABLE not in os.environ:
        return
    with _counting:  # maps may be written by several threads
        _passes[name] += 1
        passed = _passes[name]
    if planned_crash() == (name, passed):
        os.kill(os.getpid(), signal.SIGKILL)

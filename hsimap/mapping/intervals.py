"""Which variables get interval maps, and what those hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hsimap.errors import MismatchError

if TYPE_CHECKING:
    from hsimap.bundle import BundleManifest, Intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One side of a prediction interval."""

    intervals: Intervals
    level: int
    """In percent."""
    side: Literal["low", "high"]


def bounded_tasks(manifest: BundleManifest, level: int | None) -> list[str]:
    """Return the continuous tasks that get interval maps at a level, in percent.

    A task whose bounds the network itself gives is left to it.

    Raises
    ------
    MismatchError
        If the model was calibrated at this level for none of its tasks.
    """
    if level is None:
        return []
    known = {} if manifest.calibration is None else dict(manifest.calibration.intervals)
    given = {output.name for output in manifest.outputs}
    found = [
        name
        for name, intervals in known.items()
        if level in intervals.levels and not {f"{name}_low", f"{name}_high"} & given
    ]
    if not found:
        levels = sorted({level for intervals in known.values() for level in intervals.levels})
        told = f"at {', '.join(map(str, levels))} % only" if levels else "at no level"
        raise MismatchError(
            f"model {manifest.name!r} holds prediction intervals {told}, not at {level} %; choose"
            f" such a level or leave --intervals out"
        )
    return found

"""Small pictures of truth and map, thinned while the strips stream by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.evaluation._fold import FoldStrip
    from hsimap.tasks import Task

_SIDE: Final = 500
"""Most pixels along a side of a picture."""


@dataclass(slots=True, kw_only=True)
class Picture:
    """Truth and map of one scene, every ``step``-th pixel."""

    scene: str
    step: int
    truth: dict[str, NDArray[Any]] = field(default_factory=dict)
    """Task to ``(y, x)``: channel index with -1 = none, or value with NaN = none."""
    mapped: dict[str, NDArray[Any]] = field(default_factory=dict)
    """The same of the map."""
    rows_seen: int = 0
    """Rows of the scene that were mapped; 0 = the scene holds nothing of the fold."""


def new_picture(scene: str, shape: tuple[int, int], tasks: Sequence[Task]) -> Picture:
    """Return an empty picture of a scene of ``(height, width)`` pixels."""
    step = max(1, -(-max(shape) // _SIDE))
    size = (-(-shape[0] // step), -(-shape[1] // step))
    picture = Picture(scene=scene, step=step)
    for task in tasks:
        for planes in (picture.truth, picture.mapped):
            if task.kind is Kind.CATEGORICAL:
                planes[task.name] = np.full(size, -1, dtype=np.int16)
            else:
                planes[task.name] = np.full(size, np.nan, dtype=np.float32)
    return picture


def draw_on(picture: Picture, strip: FoldStrip) -> None:
    """Add the rows of a strip."""
    step, first = picture.step, strip.rows.start
    start = -first % step
    rows = slice((first + start) // step, None)
    valid = strip.valid[start::step, ::step]
    rows = slice(rows.start, rows.start + valid.shape[0])
    picture.rows_seen += strip.rows.stop - first
    for name, plane in picture.mapped.items():
        picture.truth[name][rows] = strip.targets[name][start::step, ::step]
        values = strip.values[name][:, start::step, ::step]
        found = values.argmax(axis=0) if plane.dtype.kind == "i" else values[0]
        plane[rows][valid] = found[valid]

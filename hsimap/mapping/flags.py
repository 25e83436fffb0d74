"""The flags of a pixel beside its maps: what is known of its input, its place and its classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from hsimap.arrays import here, namespace
from hsimap.scenes import Quality, near_missing, valid_of
from hsimap.tasks import Kind, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.arrays import Array
    from hsimap.geometry import Window
    from hsimap.mapping.adapter import Source
    from hsimap.mapping.tiling import Tile, TilePlan
    from hsimap.tasks import Output

UNWANTED: Final = 255
"""In the place of flags: a pixel outside the area that is mapped; it counts as missing."""
SURE: Final = 0.5
"""Least probability of a class that is no guess: more than all the others together."""

_SHARES: Final = frozenset({Role.VALUE, Role.PROBABILITY})
"""Roles of outputs that hold a probability a class."""


class Area(Protocol):
    """Which pixels of a scene are wanted; :class:`hsimap.labels.Area` is one."""

    def touches(self, window: Window) -> bool:
        """Whether some pixel of a window of the scene may be wanted."""

    def read(self, window: Window) -> NDArray[np.bool_]:
        """Return ``(y, x)`` True = wanted, for a window of the scene."""


class Flagged:
    """A source that knows of its pixels no more than whether they are valid.

    Parameters
    ----------
    source : Source
        What is read.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def read_flagged(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """Return values and flags: ``NO_DATA``, or 0."""
        values, valid = self._source.read(window)
        return values, np.where(valid, np.uint8(0), np.uint8(Quality.NO_DATA))

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Convert as the source does."""
        return self._source.to_network(values)


def footprint_flags(
    plan: TilePlan, tile: Tile, flags: NDArray[np.uint8], *, area: Area | None
) -> NDArray[np.uint8]:
    """Return the flags of a tile's footprint, those that depend on what lies round it, too.

    Parameters
    ----------
    plan : TilePlan
        The tile's grid; ``INCOMPLETE_CONTEXT`` looks as far as its trim.
    tile : Tile
        The tile.
    flags : ndarray
        ``(side, side)`` of what is read for it.
    area : Area or None
        Which pixels are wanted; the others become ``UNWANTED``.
    """
    foot, trim = tile.footprint, plan.trim
    inside = (slice(trim, trim + foot.height), slice(trim, trim + foot.width))
    inner = flags[inside]
    valid = valid_of(flags)
    if trim and not valid.all() and valid[inside].any():
        near = near_missing(valid, trim)[: foot.height, : foot.width] & valid[inside]
        inner = np.where(near, inner | np.uint8(Quality.INCOMPLETE_CONTEXT), inner)
    if area is None:
        return inner
    return np.where(area.read(plan.in_scene(foot)), inner, np.uint8(UNWANTED))


def with_confidence(
    flags: NDArray[np.uint8], values: Mapping[str, Array], outputs: Sequence[Output]
) -> NDArray[np.uint8]:
    """Add ``LOW_CONFIDENCE`` to the flags of valid pixels.

    Parameters
    ----------
    flags : ndarray
        ``(y, x)`` at the scene's resolution.
    values : mapping
        Output name to ``(channel, y, x)`` on any device, blended probabilities of categorical
        outputs.
    outputs : sequence of Output
        What the network gives; one of a stride speaks for all pixels under each of its own.
    """
    unsure = np.zeros(flags.shape, dtype=bool)
    for output in outputs:
        if output.kind is not Kind.CATEGORICAL or output.role not in _SHARES:
            continue
        shares = values[output.name]
        low = here(namespace(shares).max(shares, axis=0) < SURE)
        if output.stride > 1:
            low = low.repeat(output.stride, axis=0).repeat(output.stride, axis=1)
        unsure |= low[: flags.shape[0], : flags.shape[1]]
    flagged = flags | np.uint8(Quality.LOW_CONFIDENCE)
    return np.where(unsure & valid_of(flags), flagged, flags)

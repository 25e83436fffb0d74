"""What the pixels of a scene are like, from a lattice of small windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.geometry import Window
from hsimap.scenes._quality import all_zero, beyond, flag_missing, limits_of, stored_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.scenes._scene import Scene

_WINDOWS: Final = 5
"""Along each side of the scene."""
_SIDE: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Shares are of the pixels that were looked at, those beyond limits of the valid ones."""

    pixels: int
    """That were looked at."""
    mean: tuple[float | None, ...]
    """Mean of each band's usable samples, as stored; None = it has none."""
    missing: float
    """Share of pixels without a usable sample in any good band that has some."""
    partly_missing: float
    """Share that lacks some of these bands, and not all."""
    all_zero: float
    """Share that is 0 in all bands."""
    out_of_range: float
    """Share with reflectance below 0 or above 1.5, or saturated, in a good band."""


def survey(scene: Scene) -> Survey:
    """Look at up to 25 windows of 32 x 32 pixels, spread over a scene, all bands.

    Parameters
    ----------
    scene : Scene
        Of any size.
    """
    pieces = [_piece(scene, window) for window in _lattice(scene)]
    values = np.concatenate([piece for piece, _ in pieces], axis=1)
    mask = np.concatenate([shown for _, shown in pieces])
    missing = stored_value(scene.nodata, values.dtype)
    usable = np.isfinite(values) & mask
    if missing is not None:
        usable &= values != missing
    count = usable.sum(axis=1)
    total = np.where(usable, values, 0).astype(np.float64).sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    alive = np.flatnonzero((count > 0) & np.asarray(scene.bands.good))
    zero = all_zero(values[:, None])[0]
    used = values[alive][:, None]
    flags = flag_missing(used, mask[None], missing)[0] if alive.size else np.ones(len(mask))
    valid = flags == 0
    odd = beyond(used, limits_of(values.dtype, scene.scale))[0] & valid if alive.size else zero & 0
    return Survey(
        pixels=mask.size,
        mean=tuple(float(value) if np.isfinite(value) else None for value in mean),
        missing=float((flags == 1).mean()),
        partly_missing=float((flags > 1).mean()),
        all_zero=float(zero.mean()),
        out_of_range=float(odd.sum() / max(valid.sum(), 1)),
    )


def _lattice(scene: Scene) -> list[Window]:
    height, width = scene.grid.height, scene.grid.width
    rows, cols = (
        np.unique(np.linspace(0, max(extent - _SIDE, 0), _WINDOWS).astype(int))
        for extent in (height, width)
    )
    places = [(int(row), int(col)) for row in rows for col in cols]
    return [
        Window(row=row, col=col, height=_SIDE, width=_SIDE).clip(height=height, width=width)
        for row, col in places
    ]


def _piece(scene: Scene, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Return ``(band, pixel)`` values as stored and ``(pixel,)`` True = not masked."""
    values, mask = scene.raw(window)
    shown = np.ones(values.shape[1:], dtype=bool) if mask is None else mask
    return values.reshape(len(values), -1), shown.ravel()

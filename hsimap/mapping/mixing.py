"""Bring stored samples of a scene to the bands and the units of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.bundle import InputSpec
    from hsimap.spectra import BandMatch

_MIXED_PIXELS: Final = 1 << 14
"""Pixels that are resampled at a time."""


def convert(
    values: NDArray[np.generic],
    match: BandMatch,
    wanted: InputSpec,
    *,
    factor: float,
    out: NDArray[np.float32],
) -> None:
    """Write what a network takes of stored samples.

    Parameters
    ----------
    values : ndarray
        ``(read band, y, x)`` as stored.
    match : BandMatch
        What of them stands for each band of the network. A band that is missing and not estimated
        becomes the model's mean.
    wanted : InputSpec
        What the network reads.
    factor : float
        Storage units of the model a storage unit of the scene.
    out : ndarray
        ``(band, y, x)``: takes the result.
    """
    if match.weights is None and factor == 1:
        np.copyto(out, values, casting="unsafe")
        return
    if match.weights is None:
        np.multiply(values, factor, out=out, dtype=np.float32, casting="unsafe")
        return
    _mix(match.weights * np.float32(factor), values, out=out)
    if match.offset is not None:
        out += match.offset[:, None, None]
        return
    mean = wanted.mean_spectrum or ()
    for band in match.missing:
        out[band] = mean[band]


def _mix(
    weights: NDArray[np.float32], values: NDArray[np.generic], *, out: NDArray[np.float32]
) -> None:
    """Write ``weights @ values`` over the bands, some rows at a time to bound the memory."""
    step = max(1, _MIXED_PIXELS // max(values.shape[2], 1))
    for row in range(0, values.shape[1], step):
        part = values[:, row : row + step].astype(np.float32)
        mixed = weights @ part.reshape(part.shape[0], -1)
        out[:, row : row + step] = mixed.reshape(-1, *part.shape[1:])

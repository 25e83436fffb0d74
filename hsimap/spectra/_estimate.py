"""Estimate the bands of a model from broader ones, by what training spectra look like."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.spectra._bands import Bands
    from hsimap.spectra._spread import Spread

BROADER: Final = 1.25
"""A band that is wider than the model's by more than this factor is another band."""
SIGMAS_OF_FWHM: Final = 2 * (2 * np.log(2)) ** 0.5
"""Full width at half maximum of a Gaussian in standard deviations."""
_NODES: Final = np.linspace(-3, 3, 61)
"""Of the Gaussian that a broad band sees the spectrum through, in standard deviations."""


def spacings(bands: Bands) -> NDArray[np.float64]:
    """Return the distance of each band to the nearest other one, at least half the typical one.

    So overlapping sensors do not make bands narrow.
    """
    centres = np.asarray(bands.wavelength_nm, dtype=float)
    gaps = np.abs(centres[:, None] - centres[None, :])
    gaps[gaps == 0] = np.inf
    nearest = gaps.min(axis=1)
    known = np.diff(np.unique(centres))
    if not known.size:
        return np.full(centres.shape, np.inf)
    found: NDArray[np.float64] = np.maximum(nearest, np.median(known) / 2)
    return found


def both_widths(model: Bands, scene: Bands) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the full widths at half maximum of both; the spacings if either states none."""
    if model.fwhm_nm is None or scene.fwhm_nm is None:
        return spacings(model), spacings(scene)
    return np.asarray(model.fwhm_nm, dtype=float), np.asarray(scene.fwhm_nm, dtype=float)


def broader(model: Bands, scene: Bands) -> NDArray[np.bool_]:
    """Return ``(model band, scene band)``: True = too broad to stand for it."""
    wanted, found = both_widths(model, scene)
    wide: NDArray[np.bool_] = found[None, :] > BROADER * wanted[:, None]
    return wide


def responses(model: Bands, scene: Bands) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what the scene's good bands see of a spectrum in the model's bands.

    A spectrum is a line from each band of the model to the next, which smears it by a sixth of the
    squared spacing. A band of the scene sees it through a Gaussian of the width that, with that
    and with the model's own, makes the scene's: squared widths add up.

    Parameters
    ----------
    model, scene : Bands
        With wavelengths.

    Returns
    -------
    used : ndarray
        ``(n,)``: good scene bands that lie where the model has bands.
    response : ndarray
        ``(n, model band)``; rows sum to 1.
    """
    order = np.argsort(np.asarray(model.wavelength_nm, dtype=float), kind="stable")
    centres = np.asarray(model.wavelength_nm, dtype=float)[order]
    found = np.asarray(scene.wavelength_nm, dtype=float)
    own, other = both_widths(model, scene)
    nearest = np.abs(found[:, None] - centres[None, :])
    at = nearest.argmin(axis=1)
    away, step = nearest[np.arange(found.size), at], spacings(model)[order][at]
    used = np.flatnonzero(np.asarray(scene.good) & (away <= np.maximum(step, other / 2)))
    smeared = np.where(np.isfinite(step), step, 0) ** 2 / 6
    extra = np.sqrt(np.maximum((other**2 - own[order][at] ** 2) / SIGMAS_OF_FWHM**2 - smeared, 0))
    mass = np.exp(-(_NODES**2) / 2)
    mass /= mass.sum()
    response = np.zeros((used.size, model.n))
    for row, band in enumerate(used):
        nodes = found[band] + (_NODES * extra[band] if np.isfinite(extra[band]) else 0 * _NODES)
        response[row, order] = mass @ _lines(centres, nodes)
    return used, response


def _lines(centres: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``(at, centre)``: weights of the line between the two beside; ends go on level."""
    weights = np.zeros((at.size, centres.size))
    if centres.size == 1:
        weights[:] = 1.0
        return weights
    right = np.clip(np.searchsorted(centres, at), 1, centres.size - 1)
    gap = centres[right] - centres[right - 1]
    share = np.where(gap > 0, (at - centres[right - 1]) / np.where(gap > 0, gap, 1.0), 0.0)
    share = np.clip(share, 0, 1)
    rows = np.arange(at.size)
    weights[rows, right - 1] += 1 - share
    weights[rows, right] += share
    return weights


def estimate(
    spread: Spread, model: Bands, scene: Bands
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the scene bands that are used, ``(model band, scene band)`` weights, and offsets.

    The conditional mean of the model's bands given what the scene's good bands see of them; see
    :meth:`Spread.given` and :func:`responses`.
    """
    used, response = responses(model, scene)
    matrix = np.zeros((model.n, scene.n))
    weights, offset = spread.given(response)
    matrix[:, used] = weights
    return used, matrix, offset

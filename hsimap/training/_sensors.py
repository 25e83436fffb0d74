"""What sensors of broader and fewer bands would have seen, at the wavelengths of this one."""

from __future__ import annotations

from math import log
from typing import Final

import torch
from torch import Tensor

_NARROWEST_NM: Final = 1e-3
"""Full width at half maximum below which a Gaussian is a single band."""
_STEPS: Final = (0.5, 1.5)
"""Least and largest distance of the bands of a coarse sensor, in their widths."""


def draw_sensors(
    n: int, wavelength_nm: Tensor, *, widest_nm: float, random: torch.Generator
) -> Tensor:
    """Draw sensors; each has bands of one width, and every second broad one is sampled coarsely.

    Parameters
    ----------
    n : int
        How many.
    wavelength_nm : Tensor
        ``(band,)``: centres of the bands that are there, in nm.
    widest_nm : float
        Widths, full at half maximum, lie evenly between 0 and this.
    random : Generator
        Source of all randomness.

    Returns
    -------
    Tensor
        ``(n, band, band)``: weights of the bands that are there for each band as the other sensor
        gives it; rows sum to 1.
    """
    width, step, offset, coarse = torch.rand((4, n), generator=random)
    width = width * widest_nm
    step = (_STEPS[0] + step * (_STEPS[1] - _STEPS[0])) * width
    # A sensor as fine as this one is not sampled again.
    spacing = wavelength_nm.sort().values.diff().median()
    coarse = (coarse < 1 / 2) & (torch.minimum(width, step) > spacing)
    return torch.stack(
        [
            sampled(wavelength_nm, fwhm_nm=w, step_nm=s, offset=o)
            if c
            else response(wavelength_nm, wavelength_nm, fwhm_nm=w)
            for w, s, o, c in zip(*(v.tolist() for v in (width, step, offset, coarse)), strict=True)
        ]
    )


def response(wavelength_nm: Tensor, centres_nm: Tensor, *, fwhm_nm: float) -> Tensor:
    """Return ``(centre, band)``: Gaussian weights of the bands round each centre; rows sum to 1."""
    away = centres_nm[:, None] - wavelength_nm[None]
    away = away / max(fwhm_nm, _NARROWEST_NM)
    # The nearest band keeps its weight where the Gaussian is narrower than the gaps.
    power = -4 * log(2) * away**2
    weights = torch.exp(power - power.amax(dim=1, keepdim=True))
    return weights / weights.sum(dim=1, keepdim=True)


def sampled(wavelength_nm: Tensor, *, fwhm_nm: float, step_nm: float, offset: float) -> Tensor:
    """Return ``(band, band)``: Gaussian bands ``step_nm`` apart, and lines between them.

    Parameters
    ----------
    wavelength_nm : Tensor
        ``(band,)``: centres of the bands that are there, in nm.
    fwhm_nm : float
        Full width at half maximum of the other sensor's bands.
    step_nm : float
        Distance of their centres. Bands at both ends of the spectrum are always there.
    offset : float
        Where the first one between them lies, in steps from the lower end, 0 to 1.
    """
    low, high = wavelength_nm.min(), wavelength_nm.max()
    between = low + (torch.arange(int((high - low) / step_nm) + 1) + offset) * step_nm
    between = between[(between > low) & (between < high)]
    centres = torch.cat([low[None], between, high[None]])
    right = torch.searchsorted(centres, wavelength_nm.contiguous()).clamp(1, len(centres) - 1)
    share = (wavelength_nm - centres[right - 1]) / (centres[right] - centres[right - 1])
    found = response(wavelength_nm, centres, fwhm_nm=fwhm_nm)
    return torch.lerp(found[right - 1], found[right], share[:, None])

"""What a network reads: bands, units, and what its training spectra looked like."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from hsimap.spectra import Bands, Spread
from hsimap.tasks import Strict

_DIGITS = 6
"""Of the numbers of a spread; storage units are hardly known better."""


class Record(Strict):
    """A record of the manifest: strict, frozen, and without numbers that are not finite."""

    model_config = ConfigDict(allow_inf_nan=False)


class SpectralSpread(Record):
    """How the valid training pixels vary: common components, and noise of each band's own."""

    components: tuple[tuple[float, ...], ...]
    """A number a band each, in storage units; the products of two bands' numbers, added up, are
    their covariance."""
    noise: tuple[float, ...]
    """Standard deviation of each band beside the components, in storage units."""

    @classmethod
    def of(cls, spread: Spread) -> Self:
        """Return the record of a spread, rounded to six digits."""
        return cls(
            components=tuple(_rounded(row) for row in spread.components.tolist()),
            noise=_rounded(spread.noise.tolist()),
        )


class InputSpec(Record):
    """What the network reads."""

    n_bands: int = Field(ge=1)
    wavelength_nm: tuple[float, ...] | None = None
    """Band centres, in the order of the network's input."""
    fwhm_nm: tuple[float, ...] | None = None
    """Full widths at half maximum."""
    scale: float | None = Field(default=None, gt=0)
    """Reflectance (0-1) per stored unit; None = not known."""
    nodata: float | None = None
    """Stored value that marks a missing sample."""
    dtype: str = "float32"
    """Numpy name of the storage type that the network was trained on."""
    mean_spectrum: tuple[float, ...] | None = None
    """Mean of the valid training pixels, in storage units."""
    spread: SpectralSpread | None = None
    """How the valid training pixels vary about that mean; left out of the text where not known.
    With it the bands of broader or coarser sensors are brought to the network's."""
    dispensable: tuple[int, ...] = ()
    """Bands, from 0, that a scene may lack, all of them at once: what the others say of them by
    the spread stands for them, or where there is none their mean."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for field in ("wavelength_nm", "fwhm_nm", "mean_spectrum"):
            values = getattr(self, field)
            if values is not None and len(values) != self.n_bands:
                raise ValueError(f"{field} has {len(values)} numbers for {self.n_bands} bands")
        for field in ("wavelength_nm", "fwhm_nm"):
            if min(getattr(self, field) or (1.0,)) <= 0:
                raise ValueError(f"{field} must be above 0 nm")
        if self.fwhm_nm is not None and self.wavelength_nm is None:
            raise ValueError("fwhm_nm needs wavelength_nm")
        return self

    @model_validator(mode="after")
    def _check_spread(self) -> Self:
        if self.spread is None:
            return self
        if self.mean_spectrum is None:
            raise ValueError("a spread needs the mean_spectrum that it is about")
        for row in (self.spread.noise, *self.spread.components):
            if len(row) != self.n_bands:
                raise ValueError(f"spread has {len(row)} numbers for {self.n_bands} bands")
        if min(self.spread.noise) < 0:
            raise ValueError("spread.noise must not be below 0")
        return self

    @model_validator(mode="after")
    def _check_dispensable(self) -> Self:
        if self.dispensable:
            if not set(self.dispensable) <= set(range(self.n_bands)):
                raise ValueError(f"dispensable names bands beyond the {self.n_bands} of the input")
            if self.mean_spectrum is None:
                raise ValueError("dispensable bands need a mean_spectrum to stand for them")
        return self

    @property
    def bands(self) -> Bands:
        """The bands as a scene has them, all good."""
        return Bands(
            wavelength_nm=self.wavelength_nm, fwhm_nm=self.fwhm_nm, good=(True,) * self.n_bands
        )

    @property
    def training_spread(self) -> Spread | None:
        """The mean and the spread of the training spectra; None where not known."""
        if self.spread is None:
            return None
        shape = (len(self.spread.components), self.n_bands)
        return Spread(
            mean=np.asarray(self.mean_spectrum, dtype=float),
            components=np.asarray(self.spread.components, dtype=float).reshape(shape),
            noise=np.asarray(self.spread.noise, dtype=float),
            wavelength_nm=None if self.wavelength_nm is None else np.asarray(self.wavelength_nm),
        )


def _rounded(values: list[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)

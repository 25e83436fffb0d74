"""How the bands of the training spectra vary together, and what the others say of some of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_COMPONENTS: Final = 24
"""More do not bring what an estimated band costs nearer to that of the whole covariance."""
_ROUNDS: Final = 40
_LEAST_NOISE: Final = 1e-6
"""Share of a band's variance that is its own at least."""
_FREE: Final = 0.1
"""Share of a band's standard deviation by which ground may differ from all of the training's."""
_FREE_NM: Final = 40.0
"""How far along the wavelengths such a difference reaches: standard deviation of a Gaussian."""
_RIDGE: Final = 1e-4
"""Variance of a measured band that is taken to be noise, of a share of its variance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and covariance of spectra: common components, and noise of each band's own."""

    mean: NDArray[np.float64]
    """``(band,)``, storage units."""
    components: NDArray[np.float64]
    """``(component, band)``, storage units."""
    noise: NDArray[np.float64]
    """``(band,)``: standard deviation, storage units."""
    wavelength_nm: NDArray[np.float64] | None = None
    """``(band,)``; None = not known."""

    @property
    def covariance(self) -> NDArray[np.float64]:
        """``(band, band)``, squared storage units."""
        common: NDArray[np.float64] = self.components.T @ self.components
        return common + np.diag(self.noise**2)

    @property
    def prior(self) -> NDArray[np.float64]:
        """``(band, band)``: the covariance, and smooth differences from the training by wavelength.

        Without those, what no training spectrum has is forced into the shapes that they have. They
        have a hundredth of the variance of a band, correlated as a Gaussian of 40 nm.
        """
        if self.wavelength_nm is None:
            return self.covariance
        std = np.sqrt(np.diag(self.covariance))
        away = self.wavelength_nm[:, None] - self.wavelength_nm[None, :]
        free: NDArray[np.float64] = np.exp(-((away / _FREE_NM) ** 2) / 2)
        return self.covariance + _FREE**2 * np.outer(std, std) * free

    @property
    def scores(self) -> NDArray[np.float64]:
        """``(component, band)``: weights that give a spectrum's share of each component.

        Of a spectrum less the mean, in storage units, they make numbers of mean 0 and of a variance
        of at most 1, nearly uncorrelated: the mean of the components given the spectrum (Thomson
        1939, *The Factorial Analysis of Human Ability*; here "factor scores by regression").
        """
        std = np.sqrt(np.diag(self.covariance))
        scale = np.where(std > 0, std, 1.0)
        correlation = self.covariance / np.outer(scale, scale)
        correlation[np.diag_indices_from(correlation)] = 1.0
        found: NDArray[np.float64] = np.linalg.solve(correlation, (self.components / scale).T).T
        return found / scale

    def given(
        self, response: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return how all bands are estimated from some weighted means of them.

        The mean of a normal distribution given linear measurements y = S x of it is
        ``m + C S' (S C S' + N)^-1 (y - S m)``; C is the :attr:`prior`, N is a ten-thousandth of the
        variance of each measurement.

        Parameters
        ----------
        response : ndarray
            ``(measurement, band)``: weights of the bands in each measurement, S.

        Returns
        -------
        weights : ndarray
            ``(band, measurement)``.
        offset : ndarray
            ``(band,)``, storage units: an estimate is ``weights @ y + offset``. Measurements of
            the mean give the mean.
        """
        spread = response @ self.prior
        inner = spread @ response.T
        variance = np.diag(inner)
        least = max(float(variance.max(initial=0)), 1.0) * 1e-12
        inner = inner + np.diag(np.maximum(_RIDGE * variance, least))
        weights: NDArray[np.float64] = np.linalg.solve(inner, spread).T
        return weights, self.mean - weights @ (response @ self.mean)


def spread_of(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> Spread:
    """Split a covariance into common components and noise of each band's own.

    By principal factors, iterated (Harman 1976, *Modern Factor Analysis*, chapter 8): the
    components are the largest eigenvectors of the correlations, whose diagonal is what the
    components explained the round before.

    Parameters
    ----------
    mean : ndarray
        ``(band,)``.
    covariance : ndarray
        ``(band, band)``.

    Returns
    -------
    Spread
        Of half as many components as bands, at most 24. A constant band has neither component nor
        noise.
    """
    std = np.sqrt(np.maximum(np.diag(covariance), 0))
    scale = np.where(std > 0, std, 1.0)
    correlation = covariance / np.outer(scale, scale)
    n = min(MOST_COMPONENTS, len(mean) // 2)
    own = np.zeros(len(mean))
    components = np.zeros((n, len(mean)))
    for _ in range(_ROUNDS if n else 0):
        values, vectors = np.linalg.eigh(correlation - np.diag(own))
        components = (vectors[:, -n:] * np.sqrt(np.maximum(values[-n:], 0))).T
        own = np.clip(1 - (components**2).sum(axis=0), _LEAST_NOISE, 1.0)
    # Where the rounds end beyond all of a band's variance, its components share that out.
    components = components / np.sqrt(np.maximum((components**2).sum(axis=0), 1.0))
    own = np.clip(1 - (components**2).sum(axis=0), _LEAST_NOISE, 1.0)
    kept = components[(components**2).sum(axis=1) > _LEAST_NOISE][::-1]
    return Spread(mean=np.asarray(mean, float), components=kept * std, noise=np.sqrt(own) * std)

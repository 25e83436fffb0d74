"""Does a scene look like what the model was trained on? Asked before the first tile."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose, log10
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import MismatchError
from hsimap.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Read = Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_]]]

_WINDOWS: Final = 5
"""Windows along each side of the scene that are looked at."""
_SIDE: Final = 16
_FEWEST_PIXELS: Final = 16
_FEWEST_BANDS: Final = 6
_UNITS: Final = ((2.0, 1.0), (200.0, 1e-2), (20_000.0, 1e-4))
"""Largest plausible stored value, and the reflectance of one unit."""
_RATIO_WARN: Final = (0.4, 2.5)
_RATIO_STOP: Final = (0.1, 10.0)
_ALIKE_WARN: Final = 0.7
_ALIKE_STOP: Final = 0.3
_ROUGH: Final = 3.0
"""How much rougher than the model's a spectrum may be, band to band."""
_NAN: Final = float("nan")
_SUN_K: Final = 5778.0
_PLANCK_NM_K: Final = 1.438777e7
"""Second radiation constant, nm K."""
_SUNLIT: Final = 0.85
_SUN_SLOPE: Final = (0.5, 1.7)
"""Correlation and slope of log(scene / model) over log(sun) that radiance has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Radiometry:
    """A scene's mean spectrum against a model's."""

    pixels: int
    """Valid pixels that were looked at."""
    correlation: float
    """Pearson correlation of the two mean spectra over the bands; NaN where it says nothing."""
    ratio: float
    """Median over bands of the scene's mean over the model's."""
    roughness: float
    """Mean step from band to band, over the scene's mean, relative to the model's."""
    sun: float
    """Correlation of log(scene / model) with the log of the sun's spectrum; near 1 if the scene
    holds radiance. NaN where wavelengths are unknown."""
    sun_slope: float
    """Slope of that regression; 1 for radiance."""

    @property
    def _follows_the_sun(self) -> bool:
        return self.sun > _SUNLIT and _SUN_SLOPE[0] <= self.sun_slope <= _SUN_SLOPE[1]

    def as_dict(self) -> dict[str, float | int | None]:
        """Return plain JSON values for the manifest."""
        numbers = {
            "correlation": self.correlation,
            "ratio": self.ratio,
            "roughness": self.roughness,
            "sun": self.sun,
            "sun_slope": self.sun_slope,
        }
        rounded = {k: round(v, 4) if np.isfinite(v) else None for k, v in numbers.items()}
        return {"pixels": self.pixels, **rounded}

    def faults(self) -> tuple[str, ...]:
        """Say what makes maps of the scene worthless; empty if nothing does."""
        found = []
        if not _RATIO_STOP[0] <= self.ratio <= _RATIO_STOP[1]:
            found.append(
                f"its values are {self.ratio:.3g} times the model's, near a factor of"
                f" {10.0 ** round(log10(max(self.ratio, 1e-12))):g}: the reflectance scale is wrong"
                " (state it with --scale)"
            )
        if self._follows_the_sun:
            found.append("its spectrum follows the sun's: it holds radiance and not reflectance")
        elif self.correlation < _ALIKE_STOP:
            found.append(
                f"its mean spectrum does not resemble the model's (correlation"
                f" {self.correlation:.2f}): wrong wavelengths, interleave or byte order, radiance,"
                " or another kind of ground"
            )
        if self.roughness > _ROUGH and self.correlation < _ALIKE_WARN:
            found.append(
                f"its spectrum jumps from band to band {self.roughness:.1f} times as much as the"
                " model's: wavelengths are out of order, or interleave or byte order are wrong"
            )
        return tuple(found)

    def warnings(self) -> tuple[str, ...]:
        """Say what is unusual and may be right."""
        found = []
        if not _RATIO_WARN[0] <= self.ratio <= _RATIO_WARN[1]:
            found.append(f"the scene's values are {self.ratio:.2g} times those of the training")
        if self.correlation < _ALIKE_WARN:
            found.append(
                "the scene's mean spectrum resembles that of the training little (correlation"
                f" {self.correlation:.2f})"
            )
        return tuple(found)


def sample_pixels(read: Read, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Read valid pixels from a lattice of small windows.

    Parameters
    ----------
    read : callable
        Gives ``(band, y, x)`` values and ``(y, x)`` True = valid of a window.
    shape : tuple of int
        ``(height, width)`` of the scene in pixels.

    Returns
    -------
    ndarray
        ``(pixel, band) float64``; no rows where nothing was valid.
    """
    rows, cols = ([int(c) for c in _lattice(extent)] for extent in shape)
    found = []
    for row in rows:
        for col in cols:
            height, width = min(_SIDE, shape[0] - row), min(_SIDE, shape[1] - col)
            values, valid = read(Window(row=row, col=col, height=height, width=width))
            found.append(values[:, valid].T.astype(np.float64))
    return np.concatenate(found)


def _lattice(extent: int) -> NDArray[np.int64]:
    last = max(extent - _SIDE, 0)
    return np.unique(np.linspace(0, last, _WINDOWS).astype(np.int64))


def guess_scale(pixels: NDArray[np.float64]) -> float | None:
    """Guess the reflectance of one stored unit from the size of the values.

    Parameters
    ----------
    pixels : ndarray
        ``(pixel, band)`` stored values.

    Returns
    -------
    float or None
        1, 0.01 or 0.0001; None where there is nothing to go by.

    Examples
    --------
    >>> guess_scale(np.array([[120.0, 4100.0]])), guess_scale(np.array([[0.02, 0.41]]))
    (0.0001, 1.0)
    """
    if not pixels.size:
        return None
    top = float(np.quantile(pixels, 0.99))
    return next((unit for limit, unit in _UNITS if 0 < top <= limit), None)


def compare_spectra(
    pixels: NDArray[np.float64],
    mean: Sequence[float],
    *,
    wavelength_nm: Sequence[float] | None = None,
) -> Radiometry | None:
    """Compare a scene with the model's mean spectrum.

    Parameters
    ----------
    pixels : ndarray
        ``(pixel, band)`` in the bundle's storage units and order of bands.
    mean : sequence of float
        The bundle's mean spectrum.
    wavelength_nm : sequence of float, optional
        Of the bundle's bands.

    Returns
    -------
    Radiometry or None
        None where there are too few valid pixels to say anything.
    """
    if len(pixels) < _FEWEST_PIXELS:
        return None
    found, wanted = pixels.mean(axis=0), np.asarray(mean, dtype=float)
    nm = None if wavelength_nm is None else np.asarray(wavelength_nm, dtype=float)
    if nm is not None:
        order = np.argsort(nm, kind="stable")
        found, wanted, nm = found[order], wanted[order], nm[order]
    bright = wanted > 0.05 * wanted.max()
    ratios = found[bright] / wanted[bright] if bright.any() else np.ones(1)
    sun, slope = (_NAN, _NAN) if nm is None else _regress(_log(ratios), _log(_sun(nm[bright])))
    return Radiometry(
        pixels=len(pixels),
        correlation=_regress(found, wanted)[0],
        ratio=float(np.median(ratios)),
        roughness=_roughness(found) / max(_roughness(wanted), 1e-12),
        sun=sun,
        sun_slope=slope,
    )


def check_radiometry(found: Radiometry | None, *, scene: str, force: bool) -> tuple[str, ...]:
    """Stop a run that would map nonsense.

    Parameters
    ----------
    found : Radiometry or None
        The comparison; None passes.
    scene : str
        Named in the error.
    force : bool
        Go on all the same.

    Returns
    -------
    tuple of str
        Warnings; with ``force`` the faults as well.

    Raises
    ------
    MismatchError
        If the scene cannot be what the model was trained on.
    """
    if found is None:
        return ()
    faults = found.faults()
    if faults and not force:
        raise MismatchError(
            f"{scene} does not look like the model's training scenes: {'; '.join(faults)}. Use"
            " --force to map it all the same"
        )
    return faults or found.warnings()


def _regress(y: NDArray[np.float64], x: NDArray[np.float64]) -> tuple[float, float]:
    """Return Pearson's correlation and the slope of y over x; NaN where they say nothing."""
    if y.size < _FEWEST_BANDS or isclose(y.std(), 0) or isclose(x.std(), 0):
        return _NAN, _NAN
    correlation = float(np.corrcoef(y, x)[0, 1])
    return correlation, correlation * float(y.std() / x.std())


def _roughness(spectrum: NDArray[np.float64]) -> float:
    level = abs(float(spectrum.mean()))
    return float(np.abs(np.diff(spectrum)).mean()) / level if level and spectrum.size > 1 else 0.0


def _log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithm: NDArray[np.float64] = np.log(np.maximum(values, 1e-12))
    return logarithm


def _sun(nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sun's irradiance a nm, as a black body; only its shape counts."""
    shape: NDArray[np.float64] = nm**-5.0 / np.expm1(_PLANCK_NM_K / (nm * _SUN_K))
    shape /= shape.max()
    return shape

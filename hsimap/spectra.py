"""Spectral bands: wavelengths, good bands, and which band of a scene is which of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.errors import InputError, MismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_TOLERANCE_NM: Final = 5.0
"""A band further away than this is another band, however coarse the sampling."""
_TO_NM: Final = {
    "nm": 1.0, "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0, "nanometres": 1.0,
    "um": 1000.0, "µm": 1000.0, "μm": 1000.0, "micron": 1000.0, "microns": 1000.0,
    "micrometer": 1000.0, "micrometers": 1000.0, "micrometre": 1000.0, "micrometres": 1000.0,
}  # fmt: skip  # the micro sign and the Greek letter both occur in headers
_MICROMETRES: Final = (0.2, 30.0)
_NANOMETRES: Final = (200.0, 30000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """The bands of a scene or of a model, in file order."""

    wavelength_nm: tuple[float, ...] | None
    """Band centres in nm; None = unknown."""
    fwhm_nm: tuple[float, ...] | None
    """Full widths at half maximum in nm; None = unknown."""
    good: tuple[bool, ...]
    """One flag a band; False = declared bad by the data's producer."""

    def __post_init__(self) -> None:
        """Refuse lists of different length."""
        for field in ("wavelength_nm", "fwhm_nm"):
            values = getattr(self, field)
            if values is not None and len(values) != len(self.good):
                raise InputError(f"{field} has {len(values)} values for {len(self.good)} bands")

    @property
    def n(self) -> int:
        """Number of bands."""
        return len(self.good)


@dataclass(frozen=True, slots=True, kw_only=True)
class BandMatch:
    """Which scene band stands for each model band."""

    indices: tuple[int, ...]
    """0-based scene band of each model band."""
    offset_nm: tuple[float, ...]
    """Scene wavelength minus model wavelength; 0 where bands were matched by order."""
    notes: tuple[str, ...]
    """What was assumed, a sentence each."""


def match_bands(model: Bands, scene: Bands, *, tolerance_nm: float | None = None) -> BandMatch:
    """Choose the nearest good scene band for each band of a model.

    Parameters
    ----------
    model, scene : Bands
        Where either has no wavelengths, equal numbers of bands are matched by order, and said.
    tolerance_nm : float, optional
        Largest distance. By default half the model's local band spacing, at most 5 nm.

    Returns
    -------
    BandMatch
        In the order of the model's bands.

    Raises
    ------
    MismatchError
        If a model band has no good scene band within the tolerance, if two model bands want the
        same scene band, or if bands can only be matched by order and their numbers differ.
    """
    if model.wavelength_nm is None or scene.wavelength_nm is None:
        return _match_by_order(model, scene)
    wanted = np.asarray(model.wavelength_nm)
    found = np.where(scene.good, scene.wavelength_nm, np.inf)
    distance = np.abs(found[None, :] - wanted[:, None])
    indices = distance.argmin(axis=1)
    nearest = distance[np.arange(len(wanted)), indices]
    limit = _tolerance(wanted) if tolerance_nm is None else np.full(len(wanted), tolerance_nm)
    missing = np.flatnonzero(nearest > limit)
    if missing.size:
        first = int(missing[0])
        raise MismatchError(
            f"the scene has no good band within {limit[first]:.2g} nm of {wanted[first]:g} nm,"
            f" which the model needs ({missing.size} of its {model.n} bands are missing; the scene"
            f" has {scene.n} bands, {_span(scene)}); use a model trained on this sensor's bands"
        )
    if len(set(indices.tolist())) < len(indices):
        raise MismatchError(
            f"the scene's {scene.n} bands ({_span(scene)}) are sampled more coarsely than the"
            f" model's {model.n}: one band would stand for two; use a model of this sensor"
        )
    offset = np.asarray(scene.wavelength_nm)[indices] - wanted
    return BandMatch(indices=tuple(indices.tolist()), offset_nm=tuple(offset.tolist()), notes=())


def _match_by_order(model: Bands, scene: Bands) -> BandMatch:
    if model.n != scene.n:
        side = "the scene" if scene.wavelength_nm is None else "the model"
        raise MismatchError(
            f"the scene has {scene.n} bands and the model needs {model.n}, and {side} states no"
            f" wavelengths to match them by; add wavelengths or use a model of {scene.n} bands"
        )
    note = f"bands were matched by order ({model.n} of {scene.n}), for want of wavelengths"
    return BandMatch(indices=tuple(range(model.n)), offset_nm=(0.0,) * model.n, notes=(note,))


def _tolerance(wavelengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half the distance to the nearest other band, at most ``MAX_TOLERANCE_NM``."""
    gaps = np.abs(wavelengths[:, None] - wavelengths[None, :])
    gaps[gaps == 0] = np.inf
    limit: NDArray[np.float64] = np.minimum(gaps.min(axis=1) / 2, MAX_TOLERANCE_NM)
    return limit


def _span(bands: Bands) -> str:
    known = bands.wavelength_nm or (0.0,)
    return f"{min(known):g} to {max(known):g} nm"


def wavelengths_in_nm(
    values: Sequence[float], unit: str | None
) -> tuple[tuple[float, ...], str | None]:
    """Convert wavelengths to nm.

    Parameters
    ----------
    values : sequence of float
        As stated in a header.
    unit : str or None
        As stated; an unknown or missing unit is inferred from the magnitude.

    Returns
    -------
    values : tuple of float
        In nm.
    note : str or None
        What was inferred.

    Raises
    ------
    InputError
        If the unit is neither stated nor plain from the magnitude.

    Examples
    --------
    >>> wavelengths_in_nm([0.45, 2.4], "Micrometers")
    ((450.0, 2400.0), None)
    >>> wavelengths_in_nm([0.45, 2.4], None)[1]
    'wavelength unit missing: micrometres inferred from 0.45 to 2.4'
    """
    factor = _TO_NM.get((unit or "").strip().lower())
    if factor is not None:
        return tuple(round(value * factor, 6) for value in values), None
    low, high = min(values), max(values)
    stated = f"wavelength unit {unit!r} is not known" if unit else "wavelength unit missing"
    if _MICROMETRES[0] <= low and high <= _MICROMETRES[1]:
        note = f"{stated}: micrometres inferred from {low:g} to {high:g}"
        return tuple(round(value * 1000.0, 6) for value in values), note
    if _NANOMETRES[0] <= low and high <= _NANOMETRES[1]:
        return tuple(values), f"{stated}: nanometres inferred from {low:g} to {high:g}"
    raise InputError(
        f"{stated}, and {low:g} to {high:g} is plain neither as nm (200-30000) nor as µm (0.2-30);"
        f" state the unit in the header"
    )

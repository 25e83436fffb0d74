"""Wavelengths, good bands and their units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hsimap.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

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

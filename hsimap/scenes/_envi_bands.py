"""What an ENVI header says of its bands: wavelengths, widths, good and bad ones, names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.errors import InputError
from hsimap.spectra import Bands, wavelengths_in_nm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_IN_NAME: Final = re.compile(
    r"(?<![0-9.])([0-9]+(?:\.[0-9]*)?)\s*"
    r"(nm|nanomet(?:er|re)s?|[uµμ]m|micromet(?:er|re)s?|microns?)\b",
    re.IGNORECASE,
)
_OUTSIDE: Final = re.compile(r",(?![^()]*\))")
"""A comma that stands outside round brackets."""
_FACTORS: Final = {"angstrom": 0.1, "angstroms": 0.1, "mm": 1e6, "m": 1e9}
_RECIPROCAL: Final = {"wavenumber": 1e7, "wavenumbers": 1e7, "cm-1": 1e7, "ghz": 299792458.0}
"""Times nm: 1 / cm, and the speed of light for a frequency."""


def bands_of(fields: dict[str, str], n: int, path: Path) -> tuple[Bands, list[str]]:
    """Return the bands that a header states, and what was inferred.

    Parameters
    ----------
    fields : dict
        The header's fields.
    n : int
        Number of bands.
    path : Path
        The header, for messages.

    Returns
    -------
    bands : Bands
        Wavelengths are those of the band names where the header has no list of its own.
    notes : list of str
        What was inferred, a sentence each.

    Raises
    ------
    InputError
        If a list is malformed, of another length, or leaves no good band.
    """
    notes: list[str] = []
    wavelength = _numbers(fields, "wavelength", n, path)
    width = _numbers(fields, "fwhm", n, path)
    unit = fields.get("wavelength units")
    nm = fwhm = None
    if wavelength is not None and (unit or "").strip().lower() == "index":
        notes.append("the wavelengths of the header are band numbers and were ignored")
    elif wavelength is not None:
        _check_positive(wavelength, path)
        nm, fwhm = _in_nm(wavelength, width, unit, notes)
    else:
        nm = wavelengths_in_names(names_of(fields, n))
        if nm is not None:
            notes.append("the wavelengths were read off the band names")
    flags = _numbers(fields, "bbl", n, path)
    good = (True,) * n if flags is None else tuple(flag != 0 for flag in flags)
    if not any(good):
        raise InputError(f"{path}: 'bbl' marks all {n} bands bad; mend it or remove it")
    return Bands(wavelength_nm=nm, fwhm_nm=fwhm, good=good), notes


def names_of(fields: dict[str, str], n: int) -> list[str]:
    """Return the band names, empty where their number is not that of the bands.

    Names may hold commas inside brackets, or anywhere if each stands on a line of its own.
    """
    text = fields.get("band names", "")
    for pattern in (",", _OUTSIDE, r",[ \t]*\n"):
        names = [" ".join(name.split()) for name in re.split(pattern, text.strip().rstrip(","))]
        if len(names) == n and text:
            return names
    return []


def wavelengths_in_names(names: Sequence[str]) -> tuple[float, ...] | None:
    """Return the wavelengths in nm that names such as ``band 1 (0.4554 Micrometers)`` state.

    None unless each of them states one, with its unit.
    """
    found = [_IN_NAME.search(name) for name in names]
    if not found or not all(found):
        return None
    stated = [(float(match[1]), match[2]) for match in found if match]
    return tuple(wavelengths_in_nm([value], unit)[0][0] for value, unit in stated)


def _in_nm(
    wavelength: tuple[float, ...],
    width: tuple[float, ...] | None,
    unit: str | None,
    notes: list[str],
) -> tuple[tuple[float, ...], tuple[float, ...] | None]:
    """Return wavelengths and widths in nm."""
    known = (unit or "").strip().lower()
    values = np.asarray(wavelength)
    if known in _RECIPROCAL:
        nm = _RECIPROCAL[known] / values
        slope = nm / values
    else:
        if known in _FACTORS:
            nm = values * _FACTORS[known]
        else:
            converted, note = wavelengths_in_nm(wavelength, unit)
            notes += [note] if note else []
            nm = np.asarray(converted)
        slope = np.full(len(values), nm[-1] / values[-1])
    usable = width is not None and all(np.isfinite(value) and value > 0 for value in width)
    if width is not None and not usable:
        notes.append("the fwhm of the header are not all positive and were ignored")
    fwhm = np.asarray(width) * slope if usable else None
    return _rounded(nm), None if fwhm is None else _rounded(fwhm)


def _rounded(
    values: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]],
) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def _check_positive(wavelength: tuple[float, ...], path: Path) -> None:
    for band, value in enumerate(wavelength, 1):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"{path}: the wavelength of band {band} is {value:g}; mend the header")


def _numbers(fields: dict[str, str], key: str, n: int, path: Path) -> tuple[float, ...] | None:
    text = fields.get(key)
    if not text:
        return None
    try:
        values = tuple(float(item) for item in text.replace("\n", " ").split(",") if item.strip())
    except ValueError:
        raise InputError(f"{path}: {key!r} holds something that is no number") from None
    if len(values) != n:
        raise InputError(f"{path}: {key!r} has {len(values)} numbers for {n} bands")
    return values

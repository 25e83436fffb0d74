"""What the tags of a GDAL raster say of its bands, wherever a writer has put it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hsimap.errors import InputError
from hsimap.scenes._envi_bands import wavelengths_in_names
from hsimap.spectra import Bands, wavelengths_in_nm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_SCALE: Final = ("scale_factor", "reflectance_scale")
_FACTOR: Final = ("reflectance_scale_factor",)
_WAVELENGTH: Final = ("wavelength", "wavelengths", "central_wavelength", "center_wavelength")
_UNIT: Final = ("wavelength_units", "wavelength_unit")
_BAD: Final = frozenset({"0", "0.0", "false"})

Stated = tuple[list[float], str | None, list[float] | None]
"""Wavelengths, their unit, and widths in the same unit."""


def common(path: Path, what: str, values: list[float | None]) -> float | None:
    """Return what all bands declare alike.

    Raises
    ------
    InputError
        If they differ.
    """
    if len({repr(value) for value in values}) > 1:
        raise InputError(
            f"{path}: bands declare different {what} values, {values[:4]}…; declare a single one"
        )
    return values[0]


def scale_in_tags(file: Any, indexes: Sequence[int], path: Path) -> float | None:  # noqa: ANN401
    """Return reflectance per stored unit: GDAL's scale, else a tag, else None.

    Raises
    ------
    InputError
        If bands differ, have an offset, or the tag is no number.
    """
    offset = common(path, "offset", [file.offsets[i - 1] for i in indexes])
    if offset:
        raise InputError(
            f"{path}: its bands have an offset of {offset:g}; hsimap reads values that are"
            f" proportional to reflectance: write the raster anew without an offset"
        )
    scale = common(path, "scale", [file.scales[i - 1] for i in indexes])
    if scale is not None and scale != 1:
        return scale
    tags, envi = _lower(file.tags()), _lower(file.tags(ns="ENVI"))
    text = _first(tags, _SCALE) or _first(envi, _SCALE)
    factor = _first(envi, _FACTOR) or _first(tags, _FACTOR)
    try:
        if text is not None:
            return float(text)
        return None if factor is None else 1 / float(factor)
    except (ValueError, ZeroDivisionError):
        raise InputError(
            f"{path}: scale_factor must be a number, is {(text or factor)!r}"
        ) from None


def bands_in_tags(
    file: Any,  # noqa: ANN401
    indexes: Sequence[int],
) -> tuple[Bands, list[str]]:
    """Return the bands of a raster and what was inferred.

    Wavelengths come from the first of these that states one for each band: the list of the
    ``ENVI`` tags, the bands' own tags, their ``IMAGERY`` tags (which GDAL rounds to 1 nm), a list
    among the tags of the raster, the descriptions.

    Parameters
    ----------
    file : DatasetReader
        Of rasterio.
    indexes : sequence of int
        1-based bands that hold data.
    """
    n = len(indexes)
    notes: list[str] = []
    of_bands = [_lower(file.tags(i)) for i in indexes]
    raster, envi = _lower(file.tags()), _lower(file.tags(ns="ENVI"))
    nm = fwhm = None
    for values, unit, widths in _statements(file, indexes, of_bands, notes):
        nm, note = wavelengths_in_nm(values, unit)
        notes += [note] if note else []
        if widths is not None and values[-1] > 0:
            fwhm = tuple(round(width * nm[-1] / values[-1], 6) for width in widths)
        break
    if nm is None:
        nm = wavelengths_in_names([file.descriptions[i - 1] or "" for i in indexes])
    stated = sum(_first(tags, _WAVELENGTH) is not None for tags in of_bands)
    if nm is None and stated:
        notes.append(f"only {stated} of {n} bands state a wavelength: none was used")
    flags = _list(envi, ("bbl",), n, notes) or _list(raster, ("bbl",), n, notes)
    good = (
        [flag != 0 for flag in flags]
        if flags is not None
        else [tags.get("bbl", "1").strip().lower() not in _BAD for tags in of_bands]
    )
    return Bands(wavelength_nm=nm, fwhm_nm=fwhm, good=tuple(good)), notes


def _statements(
    file: Any,  # noqa: ANN401
    indexes: Sequence[int],
    of_bands: list[dict[str, str]],
    notes: list[str],
) -> Iterator[Stated]:
    """Yield each complete statement of the wavelengths, the most precise first."""
    n = len(indexes)
    yield from _list_statement(_lower(file.tags(ns="ENVI")), n, notes)
    yield from _band_statement(of_bands, _WAVELENGTH, ("fwhm",), None)
    imagery = [_lower(file.tags(i, ns="IMAGERY")) for i in indexes]
    yield from _band_statement(imagery, ("central_wavelength_um",), ("fwhm_um",), "um")
    yield from _list_statement(_lower(file.tags()), n, notes)


def _list_statement(tags: Mapping[str, str], n: int, notes: list[str]) -> Iterator[Stated]:
    values = _list(tags, _WAVELENGTH, n, notes)
    if values is not None:
        yield values, _first(tags, _UNIT), _list(tags, ("fwhm",), n, notes)


def _band_statement(
    tags: list[dict[str, str]], keys: Sequence[str], widths: Sequence[str], unit: str | None
) -> Iterator[Stated]:
    texts = [_first(tag, keys) for tag in tags]
    found = [float(text) for text in texts if text is not None and _is_number(text)]
    if len(found) == len(tags):
        wide = [text for tag in tags if (text := _first(tag, widths)) and _is_number(text)]
        complete = [float(text) for text in wide] if len(wide) == len(tags) else None
        yield found, unit or _first(tags[0], _UNIT), complete


def _list(
    tags: Mapping[str, str], keys: Sequence[str], n: int, notes: list[str]
) -> list[float] | None:
    """Return the numbers of a tag such as ``{0.45, 0.55}``, None where it has not one a band.

    A list of another length is one of a file from which bands were taken.
    """
    text = _first(tags, keys)
    if text is None:
        return None
    items = [item for item in re.split(r"[,\s]+", text.strip().strip("{}[]()")) if item]
    if len(items) == n and all(_is_number(item) for item in items):
        return [float(item) for item in items]
    notes.append(f"the tag {keys[0]!r} has not one number for each of {n} bands and was ignored")
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _lower(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.lower(): value for key, value in tags.items()}


def _first(tags: Mapping[str, str], keys: Sequence[str]) -> str | None:
    return next((tags[key] for key in keys if key in tags), None)

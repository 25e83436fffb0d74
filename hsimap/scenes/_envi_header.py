"""ENVI headers: text to fields, fields to layout and spectral metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.errors import InputError, UsageError
from hsimap.spectra import Bands, wavelengths_in_nm

if TYPE_CHECKING:
    from pathlib import Path

_LIMIT: Final = 16 << 20
"""Bytes; a header of 2000 bands with every list in full stays below 1 MiB."""
_DTYPES: Final = {
    1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip  # complex types 6 and 9 are no reflectance
_DATA_SUFFIXES: Final = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".envi")
_FIELD: Final = re.compile(r"^[ \t]*([^=\n{}]+?)[ \t]*=[ \t]*(\{[^}]*\}|[^\n]*)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a sample stands in a raw file."""

    shape: tuple[int, int, int]
    """``(band, y, x)``."""
    dtype: np.dtype[np.generic]
    """As on disk, byte order included."""
    interleave: str
    """bsq, bil or bip."""
    offset: int
    """Bytes before the first sample."""
    compressed: bool
    """Whether the data file is gzip."""

    @property
    def size(self) -> int:
        """Bytes of the uncompressed file."""
        bands, height, width = self.shape
        return self.offset + bands * height * width * self.dtype.itemsize


def find_pair(path: Path) -> tuple[Path, Path]:
    """Return data file and header, given either.

    Raises
    ------
    UsageError
        If a file is missing.
    InputError
        If the data file has two headers that differ.
    """
    if path.suffix.lower() == ".hdr":
        stem = path.with_suffix("")
        for suffix in _DATA_SUFFIXES:
            data = stem.with_name(stem.name + suffix)
            if data.is_file():
                return data, path
        raise UsageError(f"{path} has no data file beside it; expected {stem} or {stem}.img")
    found = headers_of(path)
    if not found:
        raise UsageError(f"{path} has no ENVI header beside it; expected {path.name}.hdr")
    if len({name.read_bytes() for name in found}) > 1:
        raise InputError(
            f"{path} has two headers that differ: {', '.join(name.name for name in found)};"
            f" remove the wrong one"
        )
    return path, found[0]


def headers_of(data: Path) -> list[Path]:
    """Return the headers that lie beside a data file, in any of the usual spellings."""
    endings = (".hdr", ".HDR")
    names = [data.with_name(data.name + ending) for ending in endings]
    names += [data.with_suffix(ending) for ending in endings]
    return list(dict.fromkeys(name for name in names if name.is_file()))


def parse_header(path: Path) -> dict[str, str]:
    """Return the fields of a header, keys in lower case, braces and line breaks removed."""
    if path.stat().st_size > _LIMIT:
        raise InputError(f"{path} has {path.stat().st_size} bytes, more than any ENVI header")
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    first, _, rest = text.partition("\n")
    if first.strip() != "ENVI":
        raise InputError(f"{path} is no ENVI header: it starts with {first[:20]!r}, not 'ENVI'")
    fields = {}
    for key, value in _FIELD.findall(rest):
        plain = value.strip().removeprefix("{").removesuffix("}")
        fields[" ".join(key.lower().split())] = plain.strip()
    return fields


def layout_of(fields: dict[str, str], path: Path) -> Layout:
    """Return the layout that a header states.

    Raises
    ------
    InputError
        If a number is missing, malformed or out of range.
    """
    count = {key: _integer(fields, key, path) for key in ("bands", "lines", "samples")}
    for key, value in count.items():
        if not 0 < value < 1 << 31:
            raise InputError(f"{path}: {key} must be in 1 to 2147483647, got {value}")
    code = _integer(fields, "data type", path)
    if code not in _DTYPES:
        raise InputError(f"{path}: data type must be one of {sorted(_DTYPES)}, got {code}")
    interleave = fields.get("interleave", "bsq").lower()
    if interleave not in {"bsq", "bil", "bip"}:
        raise InputError(f"{path}: interleave must be bsq, bil or bip, got {interleave!r}")
    order = {"0": "<", "1": ">"}.get(fields.get("byte order", "0"))
    offset = _integer(fields, "header offset", path, default=0)
    if order is None or offset < 0:
        raise InputError(f"{path}: byte order must be 0 or 1 and header offset not negative")
    return Layout(
        shape=(count["bands"], count["lines"], count["samples"]),
        dtype=np.dtype(order + _DTYPES[code]),
        interleave=interleave,
        offset=offset,
        compressed=fields.get("file compression", "0") == "1",
    )


def _integer(fields: dict[str, str], key: str, path: Path, default: int | None = None) -> int:
    text = fields.get(key)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        found = "missing" if text is None else repr(text)
        raise InputError(f"{path}: {key!r} must be a whole number, is {found}") from None


def bands_of(fields: dict[str, str], n: int, path: Path) -> tuple[Bands, list[str]]:
    """Return the bands that a header states, and what was inferred."""
    notes: list[str] = []
    wavelength = _numbers(fields, "wavelength", n, path)
    unit = fields.get("wavelength units")
    fwhm = _numbers(fields, "fwhm", n, path)
    if wavelength is not None:
        nm, note = wavelengths_in_nm(wavelength, unit)
        notes += [note] if note else []
        if fwhm is not None:
            factor = nm[-1] / wavelength[-1]
            fwhm = tuple(round(value * factor, 6) for value in fwhm)
        wavelength = nm
    else:
        fwhm = None
    flags = _numbers(fields, "bbl", n, path)
    good = (True,) * n if flags is None else tuple(flag != 0 for flag in flags)
    return Bands(wavelength_nm=wavelength, fwhm_nm=fwhm, good=good), notes


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


def number_of(fields: dict[str, str], key: str, path: Path) -> float | None:
    """Return a number that a header may state."""
    text = fields.get(key)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{path}: {key!r} must be a number, is {text!r}") from None

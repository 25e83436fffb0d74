"""ENVI headers: text to fields, fields to layout and spectral metadata."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.errors import InputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from hsimap.geometry import Grid

_LIMIT: Final = 16 << 20
"""Bytes; a header of 2000 bands with every list in full stays below 1 MiB."""
_DTYPES: Final = {
    1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip  # complex types 6 and 9 are no reflectance
_DATA_SUFFIXES: Final = ("", ".img", ".dat", ".bsq", ".bil", ".bip", ".raw", ".bin", ".envi")
_READ: Final = frozenset({
    "samples", "lines", "bands", "header offset", "data type", "interleave", "byte order",
    "file compression", "wavelength", "wavelength units", "fwhm", "bbl", "data ignore value",
    "reflectance scale factor", "map info", "coordinate system string", "projection info",
})  # fmt: skip  # a second statement of these would change the pixels or what they mean
_GZIP: Final = b"\x1f\x8b"
_SHORT: Final = 40
"""Characters of a value that a message shows."""
_COMMENT: Final = re.compile(r"^[ \t]*;[^\n]*", re.MULTILINE)
_NEXT_FIELD: Final = re.compile(r"\n[ \t]*[A-Za-z][A-Za-z ]*=")
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
        If the data file has two headers that differ, or the header could be of two data files.
    """
    if path.suffix.lower() == ".hdr":
        found = _beside(path, [path.stem + suffix for suffix in _DATA_SUFFIXES])
        if not found:
            raise UsageError(f"{path} has no data file beside it; expected {path.stem}.img")
        if len(found) > 1:
            names = ", ".join(name.name for name in found)
            raise InputError(f"{path} could be the header of {names}; name the data file")
        return found[0], path
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
    return _beside(data, [f"{data.name}.hdr", f"{data.stem}.hdr"])


def _beside(path: Path, names: list[str]) -> list[Path]:
    """Return the other files of a folder that have these names, in any casing."""
    wanted = {name.lower(): place for place, name in reversed(list(enumerate(names)))}
    found = [
        name
        for name in path.parent.iterdir()
        if name.name.lower() in wanted and name.name != path.name and name.is_file()
    ]
    return sorted(found, key=lambda name: (wanted[name.name.lower()], name.name))


def parse_header(path: Path) -> dict[str, str]:
    """Return the fields of a header, keys in lower case, braces and line breaks removed.

    Raises
    ------
    InputError
        If it is no header, or if a field that is read is stated twice or never ends.
    """
    if path.stat().st_size > _LIMIT:
        raise InputError(f"{path} has {path.stat().st_size} bytes, more than any ENVI header")
    text = _decoded(path.read_bytes()).replace("\r\n", "\n").replace("\r", "\n")
    first, _, rest = text.partition("\n")
    if first.strip().upper() != "ENVI":
        raise InputError(f"{path} is no ENVI header: it starts with {first[:20]!r}, not 'ENVI'")
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(_COMMENT.sub("", rest)):
        key, stated = " ".join(name.lower().split()), value.strip()
        swallowed = key in _READ and _NEXT_FIELD.search(stated)
        if stated.startswith("{") and (swallowed or not stated.endswith("}")):
            raise InputError(f"{path}: {key!r} opens a brace that is never closed")
        plain = stated.removeprefix("{").removesuffix("}").strip()
        if key in _READ and fields.get(key, plain) != plain:
            raise InputError(
                f"{path} states {key!r} twice: {_short(fields[key])} and {_short(plain)}; remove"
                f" the wrong one"
            )
        fields[key] = plain
    return fields


def _decoded(raw: bytes) -> str:
    """Return text that is UTF-8, UTF-16 with its mark, or else Latin-1."""
    if raw[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _short(value: str) -> str:
    return repr(value if len(value) <= _SHORT else value[:_SHORT] + "…")


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
        raise InputError(
            f"{path}: byte order must be 0 or 1 and header offset not negative, got"
            f" {fields.get('byte order', '0')!r} and {offset}"
        )
    _check_kind(fields, path)
    return Layout(
        shape=(count["bands"], count["lines"], count["samples"]),
        dtype=np.dtype(order + _DTYPES[code]),
        interleave=interleave,
        offset=offset,
        compressed=fields.get("file compression", "0") == "1",
    )


def _check_kind(fields: dict[str, str], path: Path) -> None:
    """Refuse files whose samples are no image, or do not follow each other."""
    if "spectral library" in fields.get("file type", "").lower():
        raise InputError(f"{path} is a spectral library; name a raster")
    for key in ("major frame offsets", "minor frame offsets"):
        if any(item.strip() not in {"", "0"} for item in fields.get(key, "").split(",")):
            raise InputError(f"{path}: {key!r} other than 0 are not read; write the raster anew")


def _integer(fields: dict[str, str], key: str, path: Path, default: int | None = None) -> int:
    text = fields.get(key)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        found = "missing" if text is None else repr(text)
        raise InputError(f"{path}: {key!r} must be a whole number, is {found}") from None


def number_of(fields: dict[str, str], key: str, path: Path) -> float | None:
    """Return a number that a header may state, once or alike for each band."""
    text = fields.get(key)
    if not text:
        return None
    try:
        values = {float(item) for item in text.replace("\n", " ").split(",") if item.strip()}
        (value,) = values if not all(np.isnan(list(values))) else {np.nan}
        return float(value)
    except ValueError:
        raise InputError(f"{path}: {key!r} must be a number, is {text!r}") from None


def scale_of(fields: dict[str, str], path: Path) -> float | None:
    """Return reflectance per stored unit, None where the header states none.

    That is 1 / ``reflectance scale factor``, or the ``data gain values`` where they are alike and
    have no offsets.
    """
    factor = number_of(fields, "reflectance scale factor", path)
    if factor is not None:
        if not (np.isfinite(factor) and factor > 0):
            raise InputError(f"{path}: 'reflectance scale factor' must be positive, is {factor:g}")
        return 1 / factor
    return None if "data gain values" not in fields or _gains_differ(fields) else _gain(fields)


def _gain(fields: dict[str, str]) -> float | None:
    gain = float(fields["data gain values"].split(",")[0])
    return gain if gain > 0 else None


def _gains_differ(fields: dict[str, str]) -> bool:
    """Whether gains and offsets are more than one factor for all bands."""
    try:
        gains, offsets = (
            {float(item) for item in fields.get(key, "").split(",") if item.strip()}
            for key in ("data gain values", "data offset values")
        )
    except ValueError:
        return True
    return len(gains) != 1 or bool(offsets - {0.0})


def is_packed(data: Path, layout: Layout) -> bool:
    """Whether a data file is gzip although its header does not say so."""
    if data.stat().st_size == layout.size:
        return False
    with data.open("rb") as file:
        return file.read(2) == _GZIP


def remarks(fields: dict[str, str], layout: Layout, grid: Grid) -> list[str]:
    """Return what a user has to know of a header that is sound, a sentence each."""
    stated = "map info" in fields or "coordinate system string" in fields
    gains = "data gain values" in fields and "reflectance scale factor" not in fields
    found = {
        "the header states no byte order: little-endian was assumed": (
            layout.dtype.itemsize > 1 and "byte order" not in fields
        ),
        "the header states no interleave: bsq was assumed": (
            layout.shape[0] > 1 and "interleave" not in fields
        ),
        "the map info of the header is none that GDAL can read": stated and grid.crs is None,
        "the geo points or RPC of the header were not used: they do not place the pixels exactly": (
            not stated and ("geo points" in fields or "rpc info" in fields)
        ),
        "the data gain and offset values of the header differ between bands and were not applied": (
            gains and _gains_differ(fields)
        ),
    }
    return [note for note, here in found.items() if here]

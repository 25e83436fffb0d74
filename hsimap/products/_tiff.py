"""TIFF directories as bytes: read the first one of a file, lay several out before their data.

The layout is that of a cloud-optimised GeoTIFF: header, GDAL's note on the layout, all directories
with everything they point to, then the tiles, smallest overview first. Each tile stands between its
size and a repeat of its last four bytes, as the note promises.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

TILE_WIDTH: Final = 322
TILE_OFFSETS: Final = 324
TILE_SIZES: Final = 325
WIDTH: Final = 256
HEIGHT: Final = 257
_SUBFILE: Final = 254
_LONG: Final = 4
_LONG8: Final = 16
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
_OF_BASE_ONLY: Final = frozenset({270, 305, 33550, 33922, 34264, 34735, 34736, 34737, 42112})
"""Descriptions, georeference and GDAL's metadata stand in the first directory alone."""
_PROMISES: Final = (
    "LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    "BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
"""The blank at the end is where GDAL writes YES when it edits the file."""
NOTE: Final = f"GDAL_STRUCTURAL_METADATA_SIZE={len(_PROMISES):06d} bytes\n{_PROMISES}".encode()
CLASSIC_LIMIT: Final = 4_000_000_000
"""Bytes; above it offsets take eight bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One entry of a directory."""

    kind: int
    """TIFF's number of the type."""
    count: int
    data: bytes
    """``count`` numbers, little-endian."""


Directory = dict[int, Field]


def longs(values: list[int], *, big: bool = False) -> Field:
    """Return an entry of unsigned integers of four or eight bytes."""
    code = "Q" if big else "I"
    data = struct.pack(f"<{len(values)}{code}", *values)
    return Field(kind=_LONG8 if big else _LONG, count=len(values), data=data)


def numbers(field: Field) -> list[int]:
    """Return an entry's unsigned integers."""
    code = {3: "H", _LONG: "I", _LONG8: "Q"}[field.kind]
    return list(struct.unpack(f"<{field.count}{code}", field.data))


def read_directory(data: bytes | memoryview) -> Directory:
    """Return the first directory of a little-endian classic TIFF."""
    magic, at = struct.unpack_from("<4sI", data)
    if magic != b"II*\0":
        raise ValueError(f"expected a little-endian classic TIFF, got {magic!r}")
    (n,) = struct.unpack_from("<H", data, at)
    found = {}
    for i in range(n):
        entry = at + 2 + 12 * i
        tag, kind, count = struct.unpack_from("<HHI", data, entry)
        size = count * _SIZES[kind]
        start = entry + 8 if size <= 4 else struct.unpack_from("<I", data, entry + 8)[0]  # noqa: PLR2004
        found[tag] = Field(kind=kind, count=count, data=bytes(data[start : start + size]))
    return found


def overview_of(base: Directory, height: int, width: int) -> Directory:
    """Return the directory of a reduced copy of a map."""
    kept = {tag: field for tag, field in base.items() if tag not in _OF_BASE_ONLY}
    return kept | {_SUBFILE: longs([1]), WIDTH: longs([width]), HEIGHT: longs([height])}


def lay_out(directories: list[Directory], sizes: list[list[int]]) -> bytes:
    """Return everything that stands before the tiles.

    Parameters
    ----------
    directories : list
        Of the map and of its overviews, largest first.
    sizes : list
        Bytes of the tiles of each directory, row by row. Tiles follow in the order of the
        directories reversed.
    """
    big = sum(map(sum, sizes)) + 8 * sum(map(len, sizes)) > CLASSIC_LIMIT
    blank = [_with_tiles(d, 0, s, big=big) for d, s in zip(directories, sizes, strict=True)]
    start = len(_serialise(blank, big=big))
    placed = []
    for directory, of_level in zip(reversed(directories), reversed(sizes), strict=True):
        placed.append(_with_tiles(directory, start, of_level, big=big))
        start += sum(of_level) + 8 * len(of_level)
    return _serialise(placed[::-1], big=big)


def _with_tiles(directory: Directory, start: int, sizes: list[int], *, big: bool) -> Directory:
    offsets = []
    for size in sizes:
        offsets.append(start + 4)
        start += size + 8
    return directory | {TILE_OFFSETS: longs(offsets, big=big), TILE_SIZES: longs(sizes)}


def _serialise(directories: list[Directory], *, big: bool) -> bytes:
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if big else struct.pack("<2sHI", b"II", 42, 0)
    out = bytearray(head + NOTE)
    pointer = len(head) - (8 if big else 4)
    for directory in directories:
        out += bytes(-len(out) % 8)
        struct.pack_into("<Q" if big else "<I", out, pointer, len(out))
        pointer = _append(out, directory, big=big)
    out += bytes(-len(out) % 8)
    return bytes(out)


def _append(out: bytearray, directory: Directory, *, big: bool) -> int:
    """Append one directory and what it points to; return where the next one is pointed to."""
    number, room, word = ("<Q", 8, "<Q") if big else ("<H", 4, "<I")
    out += struct.pack(number, len(directory))
    at = len(out)
    entry_size = 4 + 2 * room
    pointer = at + entry_size * len(directory)
    out += bytes(pointer + room - at)
    for tag, field in sorted(directory.items()):
        data = field.data
        if len(data) > room:
            out += bytes(-len(out) % 8)
            data, outside = struct.pack(word, len(out)), data
            out += outside
        struct.pack_into(f"<HH{word[1]}", out, at, tag, field.kind, field.count)
        out[at + entry_size - room : at + entry_size] = data.ljust(room, b"\0")
        at += entry_size
    return pointer

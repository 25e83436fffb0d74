"""How a scene lies on the disk, and what to do about a bad layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_FLAT: Final = 16
"""Rows; blocks of fewer that span the scene are strips."""
_LARGE: Final = 1024
"""Side of a block, in pixels, above which most of what is decoded lies outside a tile's rows."""
_NARROW: Final = 1024
"""Columns; strips of a scene that is not wider cost nothing."""
_SLOW: Final = frozenset({"lzma", "gzip"})
_REMEDY: Final = (
    "gdal_translate -co TILED=YES -co BLOCKXSIZE=256 -co BLOCKYSIZE=256 -co INTERLEAVE=PIXEL"
    " -co COMPRESS=ZSTD -co PREDICTOR=2 -co BIGTIFF=YES"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The layout of a scene's file."""

    driver: str
    """ENVI, GeoTIFF, or memory."""
    interleave: str
    """bsq, bil or bip; band or pixel of a GeoTIFF."""
    block: tuple[int, int]
    """``(y, x)``: what is read and decoded at a time, in pixels."""
    compression: str
    """Codec in lower case, or none."""

    def advice(self, width: int) -> str | None:
        """Return what is bad about the layout for a scene this wide, and the remedy."""
        if self.driver == "ENVI" and self.compression != "none":
            return "the file is unpacked to a temporary one each time; unpack it once with gunzip"
        rows, cols = self.block
        found = {
            f"{self.compression} decodes slowly": self.compression in _SLOW,
            f"strips of {rows} rows are decoded over the whole width for every tile": (
                rows < _FLAT and cols >= width > _NARROW
            ),
            f"blocks of {rows} x {cols} pixels are decoded for a part of their rows": (
                rows >= _FLAT and max(rows, min(cols, width)) > _LARGE
            ),
        }
        bad = [what for what, here in found.items() if here and self.driver == "GeoTIFF"]
        return f"{bad[0]}; write the scene anew: {_REMEDY}" if bad else None

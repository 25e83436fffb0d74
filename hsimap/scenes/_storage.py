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
_REMEDIES: Final = {
    "GeoTIFF": "gdal_translate -co TILED=YES -co BLOCKXSIZE=256 -co BLOCKYSIZE=256"
    " -co INTERLEAVE=PIXEL -co COMPRESS=ZSTD -co PREDICTOR=2 -co BIGTIFF=YES",
    "Zarr": "xarray's to_zarr with encoding={v: dict(ds[v].encoding, chunks=(BANDS, 256, 256))}",
    "HDF5": "h5repack -l CHUNK=64x64xBANDS (in the order of the array's axes)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The layout of a scene's file."""

    driver: str
    """ENVI, GeoTIFF, Zarr, HDF5, or memory."""
    interleave: str
    """bsq, bil or bip, the order of a chunked array's axes too; band or pixel of a GeoTIFF."""
    block: tuple[int, int]
    """``(y, x)``: what is read and decoded at a time, in pixels."""
    compression: str
    """Codec in lower case, or none."""
    keeps: bool = False
    """Whether the reader keeps decoded blocks that reach beyond what was asked for."""
    bands: int | None = None
    """Bands that are read and decoded at a time; None = as the interleave says."""

    def advice(self, width: int) -> str | None:
        """Return what is bad about the layout for a scene this wide, and the remedy."""
        if self.driver == "ENVI" and self.compression != "none":
            return "the file is unpacked to a temporary one each time; unpack it once with gunzip"
        remedy = _REMEDIES.get(self.driver)
        if remedy is None or (self.driver == "HDF5" and self.compression == "none"):
            return None
        rows, cols = self.block
        found = {
            f"{self.compression} decodes slowly": self.compression in _SLOW,
            "each band is a chunk of its own, so that every tile opens one for each band": (
                self.bands == 1
            ),
            f"strips of {rows} rows are decoded over the whole width for every tile": (
                rows < _FLAT and cols >= width > _NARROW
            ),
            f"blocks of {rows} x {cols} pixels are decoded for a part of their rows": (
                rows >= _FLAT and max(rows, min(cols, width)) > _LARGE
            ),
        }
        bad = [what for what, here in found.items() if here]
        return f"{bad[0]}; write the scene anew: {remedy}" if bad else None

"""How a scene lies on the disk, how fast it reads, and what to do about a bad layout."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hsimap.geometry import Window

if TYPE_CHECKING:
    from hsimap.scenes._scene import Scene

_PROBE_BYTES: Final = 64 << 20
_PROBE_ROWS: Final = 256
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSpeed:
    """What a short probe of a scene took."""

    window: Window
    """The pixels that were read, all bands."""
    megabytes: float
    """10^6 bytes of samples as stored."""
    seconds: float

    @property
    def mb_per_s(self) -> float:
        """10^6 bytes of decoded samples a second."""
        return self.megabytes / self.seconds

    @property
    def mpx_per_s(self) -> float:
        """10^6 pixels, of all bands, a second."""
        return self.window.height * self.window.width / 1e6 / self.seconds


def measure_read(scene: Scene) -> ReadSpeed:
    """Time one window of at most 64 MiB in the middle of a scene.

    Of a file that was read lately this is the speed of the page cache and of the decoder.
    """
    pixel = scene.bands.n * scene.dtype.itemsize
    height = min(_PROBE_ROWS, scene.grid.height)
    width = max(1, min(scene.grid.width, _PROBE_BYTES // (pixel * height)))
    window = Window(
        row=(scene.grid.height - height) // 2,
        col=(scene.grid.width - width) // 2,
        height=height,
        width=width,
    )
    started = time.perf_counter()
    scene.raw(window)
    seconds = max(time.perf_counter() - started, 1e-6)
    megabytes = height * width * pixel / 1e6
    return ReadSpeed(window=window, megabytes=megabytes, seconds=seconds)

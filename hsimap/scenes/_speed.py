"""How fast a scene reads."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hsimap.geometry import Window

if TYPE_CHECKING:
    from hsimap.scenes._scene import Scene

_PROBE_BYTES: Final = 64 << 20
_PROBE_ROWS: Final = 256


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

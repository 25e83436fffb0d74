"""What a format gives: pixels, and values beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from hsimap.geometry import Window
    from hsimap.scenes._storage import Storage


class PixelReader(Protocol):
    """How one format gives out pixels that lie inside the raster."""

    shape: tuple[int, int, int]
    """``(band, y, x)``."""
    dtype: np.dtype[np.generic]
    storage: Storage

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values and the file's own mask (True = valid), if it has one.

        The mask is ``(y, x)``, or ``(band, y, x)`` where the file has one for each band. The
        values go to ``out``, of their shape and the reader's dtype, where it is given.
        """

    def close(self) -> None:
        """Give files back."""


@runtime_checkable
class ReadsAhead(Protocol):
    """A reader that can begin with a window before it is asked for."""

    def expect(self, window: Window) -> None:
        """Begin with a window that lies inside the raster."""


class Layer(Protocol):
    """A value for each pixel that comes with a scene, ``(y, x)``."""

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return the values of a window inside the raster, NaN where there is none."""

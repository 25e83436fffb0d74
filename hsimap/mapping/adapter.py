"""Feed a scene to a bundle: its bands, its storage units, its rule of validity."""

from __future__ import annotations

from math import isclose, prod
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hsimap.errors import MismatchError
from hsimap.scenes import stored_value
from hsimap.spectra import match_bands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.bundle import InputSpec
    from hsimap.geometry import Grid, Window
    from hsimap.scenes import Scene, Storage


class Source(Protocol):
    """What the engine asks of its source of pixels; :class:`SceneAdapter` is one."""

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values and ``(y, x)`` True = valid; outside = invalid."""

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Convert stored values to float32 in the bundle's storage units, until the next call."""


class Pixels(Protocol):
    """What :class:`RecyclingSource` reads from; :class:`SceneAdapter` is one."""

    @property
    def n_bands(self) -> int:
        """Bands that are read."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of a stored sample."""

    def read(
        self, window: Window, out: NDArray[np.generic]
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values, in ``out``, and ``(y, x)`` True = valid."""

    def to_network(
        self, values: NDArray[np.generic], out: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Convert stored values to float32 in the bundle's storage units, in ``out``."""


class SceneAdapter:
    """Reads windows of a scene as a bundle wants them.

    Parameters
    ----------
    scene : Scene
        The raster.
    wanted : InputSpec
        Bands, scale and nodata rule of the model.

    Raises
    ------
    MismatchError
        If the bands, by wavelength or by number, do not fit.
    """

    def __init__(self, scene: Scene, wanted: InputSpec) -> None:
        match = match_bands(wanted.bands, scene.bands)
        self._scene = scene
        self._indices: Sequence[int] = match.indices
        self._nodata = wanted.nodata if scene.nodata is None else None
        self._factor = _factor(scene.scale, wanted.scale)
        self.notes: tuple[str, ...] = (*scene.notes, *match.notes, *self._scale_notes(wanted.scale))
        """What was guessed or assumed, a sentence each."""

    @property
    def n_bands(self) -> int:
        """Bands that are read, which is what the network takes."""
        return len(self._indices)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of a stored sample."""
        return self._scene.dtype

    @property
    def storage(self) -> Storage:
        """How the scene lies on the disk."""
        return self._scene.storage

    @property
    def grid(self) -> Grid:
        """Where the scene's pixels lie."""
        return self._scene.grid

    @property
    def shape(self) -> tuple[int, int]:
        """``(y, x)`` of the scene, in pixels."""
        return self._scene.grid.height, self._scene.grid.width

    @property
    def itemsize(self) -> int:
        """Bytes of one stored sample."""
        return self.dtype.itemsize

    def _scale_notes(self, wanted: float | None) -> list[str]:
        notes = []
        if self._scene.scale is None and wanted is not None:
            notes.append(
                f"the scene states no reflectance scale; {wanted:g}, the model's, is assumed"
            )
        if self._nodata is not None:
            notes.append(
                f"the scene declares no nodata value; the model's {self._nodata:g} is used"
            )
        return notes

    def read(
        self, window: Window, out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` in the scene's storage units and ``(y, x)`` True = valid.

        The values go to ``out``, of their shape and type, where it is given.
        """
        values, valid = self._scene.read(window, self._indices, out=out)
        missing = stored_value(self._nodata, values.dtype)
        if missing is not None:
            for plane in values:
                valid &= plane != missing
        return values, valid

    def to_network(
        self, values: NDArray[np.generic], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Convert stored values to float32 in the bundle's storage units, in ``out`` if given."""
        image = np.empty(values.shape, dtype=np.float32) if out is None else out
        if self._factor == 1:
            np.copyto(image, values, casting="unsafe")
        else:
            np.multiply(values, self._factor, out=image, dtype=np.float32, casting="unsafe")
        return image


class RecyclingSource:
    """Reads a scene into memory that is used over and over; fresh memory costs a third more.

    Parameters
    ----------
    pixels : Pixels
        Where they come from.
    n : int
        Reads whose values are in use at a time; the next one overwrites the oldest. One thread
        reads.
    """

    def __init__(self, pixels: Pixels, n: int) -> None:
        self._adapter = pixels
        self._rooms: list[NDArray[np.generic]] = [np.empty(0)] * n
        self._image = np.empty(0, dtype=np.float32)

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values, which stand for ``n - 1`` more reads."""
        shape = (self._adapter.n_bands, window.height, window.width)
        room, size = self._rooms.pop(0), prod(shape)
        if room.size < size:
            room = np.empty(size, self._adapter.dtype)
        self._rooms.append(room)
        return self._adapter.read(window, room[:size].reshape(shape))

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Convert as :meth:`SceneAdapter.to_network` does; the result stands until the next call.

        Fresh memory of that size costs more than the conversion.
        """
        if self._image.shape != values.shape:
            self._image = np.empty(values.shape, dtype=np.float32)
        return self._adapter.to_network(values, self._image)


def _factor(scene: float | None, wanted: float | None) -> float:
    """Return what a stored value of the scene is multiplied by to become one of the bundle."""
    if scene is None or wanted is None:
        return 1.0
    if scene <= 0:
        raise MismatchError(f"the scene's reflectance scale must be positive, got {scene}")
    ratio = scene / wanted
    return 1.0 if isclose(ratio, 1, rel_tol=1e-9) else ratio

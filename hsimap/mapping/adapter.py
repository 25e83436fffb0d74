"""Feed a scene to a bundle: its bands, its storage units, its rule of validity."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hsimap.errors import MismatchError
from hsimap.spectra import match_bands

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.bundle import InputSpec
    from hsimap.geometry import Window
    from hsimap.scenes import Scene


class Source(Protocol):
    """What the engine asks of its source of pixels; :class:`SceneAdapter` is one."""

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values and ``(y, x)`` True = valid; outside = invalid."""

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Convert stored values to float32 in the bundle's storage units."""


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
    def itemsize(self) -> int:
        """Bytes of one stored sample."""
        return self._scene.dtype.itemsize

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

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` in the scene's storage units and ``(y, x)`` True = valid."""
        values, valid = self._scene.read(window, self._indices)
        if self._nodata is not None:
            valid &= (values != self._nodata).all(axis=0)
        return values, valid

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.float32]:
        """Convert stored values to float32 in the bundle's storage units."""
        image = values.astype(np.float32)
        if self._factor != 1:
            image *= np.float32(self._factor)
        return image


def _factor(scene: float | None, wanted: float | None) -> float:
    """Return what a stored value of the scene is multiplied by to become one of the bundle."""
    if scene is None or wanted is None:
        return 1.0
    if scene <= 0:
        raise MismatchError(f"the scene's reflectance scale must be positive, got {scene}")
    ratio = scene / wanted
    return 1.0 if isclose(ratio, 1, rel_tol=1e-9) else ratio

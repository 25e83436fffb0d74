"""Feed a scene to a bundle: its bands, its storage units, its rule of validity."""

from __future__ import annotations

from functools import cached_property, partial
from math import isclose
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hsimap.errors import MismatchError
from hsimap.geometry import Window, boxes_around
from hsimap.mapping.mixing import convert
from hsimap.mapping.radiometry import guess_scale, sample_pixels
from hsimap.runtimes import STORED
from hsimap.scenes import Quality, all_zero, limits_of, valid_of
from hsimap.spectra import fit_bands, match_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.bundle import InputSpec
    from hsimap.geometry import Grid
    from hsimap.scenes import Limits, Scene, Storage
    from hsimap.spectra import BandMatch, Resample


class Source(Protocol):
    """Pixels and which of them are valid."""

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values and ``(y, x)`` True = valid; outside = invalid."""

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return what a runtime takes: float32, or integers as stored; until the next call."""


class FlaggedSource(Protocol):
    """What the engine asks of its source of pixels; :class:`SceneAdapter` is one."""

    def read_flagged(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """Return ``(band, y, x)`` stored values and ``(y, x)`` flags, :class:`Quality`.

        What lies outside is ``NO_DATA``.
        """

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return what a runtime takes: float32, or integers as stored; until the next call."""


class SceneAdapter:
    """Reads windows of a scene as a bundle wants them.

    Parameters
    ----------
    scene : Scene
        The raster.
    wanted : InputSpec
        Bands, scale and nodata rule of the model.
    resample : {"never", "auto", "always"}
        What is done where the scene has other bands; see :func:`hsimap.spectra.fit_bands`.

    Raises
    ------
    MismatchError
        If the bands, by wavelength or by number, do not fit.
    """

    def __init__(self, scene: Scene, wanted: InputSpec, *, resample: Resample = "never") -> None:
        self._fit = partial(
            fit_bands, wanted.bands, scene.bands, resample=resample, dispensable=wanted.dispensable
        )
        match = self._fit(spread=wanted.training_spread)
        self.scene, self.match, self._wanted = scene, match, wanted
        self._indices: Sequence[int] = match.indices
        self._nodata = wanted.nodata if scene.nodata is None else None
        self._zeros_are_missing = wanted.nodata is None and _declares_nothing(scene)
        self.scale, told = self._scale(wanted.scale)
        """Reflectance of one stored unit: what the scene states, or a guess; None = unknown."""
        self._factor = _factor(self.scale, wanted.scale)
        self._limits = limits_of(scene.dtype, self.scale)
        self.notes: tuple[str, ...] = (
            *scene.notes,
            *match.notes,
            *(match_table(wanted.bands, match) if match.weights is not None else ()),
            *told,
            *self._nodata_notes(),
        )
        """What was guessed or assumed, a sentence each."""

    @property
    def n_bands(self) -> int:
        """Bands that are read."""
        return len(self._indices)

    @property
    def network_bands(self) -> int:
        """Bands that the network takes."""
        return len(self.match.ways)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of a stored sample."""
        return self.scene.dtype

    @property
    def storage(self) -> Storage:
        """How the scene lies on the disk."""
        return self.scene.storage

    @property
    def grid(self) -> Grid:
        """Where the scene's pixels lie."""
        return self.scene.grid

    @property
    def shape(self) -> tuple[int, int]:
        """``(y, x)`` of the scene, in pixels."""
        return self.scene.grid.height, self.scene.grid.width

    @property
    def is_stored(self) -> bool:
        """Whether a stored integer is a value in the bundle's storage units as it stands."""
        return self._factor == 1 and self.match.weights is None and self.dtype in STORED

    @property
    def itemsize(self) -> int:
        """Bytes of one stored sample."""
        return self.dtype.itemsize

    def _scale(self, wanted: float | None) -> tuple[float | None, list[str]]:
        """Return the scene's scale and what was assumed of it."""
        if self.scene.scale is not None or wanted is None:
            return self.scene.scale, []
        self._factor = 1.0
        guess = guess_scale(sample_pixels(self.read, self.shape))
        if guess is None or isclose(guess, wanted, rel_tol=1e-9):
            note = f"the scene states no reflectance scale; {wanted:g}, the model's, is assumed"
            return wanted, [note]
        note = (
            f"the scene states no reflectance scale; {guess:g} is guessed from its values (the"
            f" model's is {wanted:g}); state it with --scale if that is wrong"
        )
        return guess, [note]

    def _nodata_notes(self) -> list[str]:
        if self._zeros_are_missing:
            said = "pixels that are 0 in every band are taken as missing (--nodata nan maps them)"
            return [f"the scene declares neither nodata nor a mask; {said}"]
        if self._nodata is None:
            return []
        return [f"the scene declares no nodata value; the model's {self._nodata:g} is used"]

    def read(
        self, window: Window, out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` in the scene's storage units and ``(y, x)`` True = valid.

        The values go to ``out``, of their shape and type, where it is given. Integers are 0 where
        not valid.
        """
        values, flags = self._load(window, out, (None, None))
        return values, flags == 0

    def expect(self, window: Window) -> None:
        """Let the reader begin with a window inside the scene, if it can: it is read next."""
        self.scene.expect(window)

    def read_flagged(
        self, window: Window, out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """Read as :meth:`read` does; return ``(y, x)`` flags of :class:`Quality` for its mask."""
        values, flags = self._load(window, out, self._limits)
        if self.match.weights is not None:
            mixed = flags | np.uint8(Quality.RESAMPLED_SPECTRUM)
            flags = np.where(valid_of(flags), mixed, flags)
        return values, flags

    def _load(
        self,
        window: Window,
        out: NDArray[np.generic] | None,
        limits: Limits,
        *,
        bands: Sequence[int] | None = None,
    ) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """Read a window and flag what is missing or beyond the limits."""
        values, flags = self.scene.read_flagged(
            window,
            self._indices if bands is None else bands,
            out=out,
            nodata=self._nodata,
            limits=limits,
        )
        if self._zeros_are_missing:
            flags[(flags == 0) & all_zero(values)] = Quality.NO_DATA
        if self.dtype.kind in "iu":
            _clear(values, valid_of(flags))
        return values, flags

    def to_network(
        self, values: NDArray[np.generic], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Convert stored values to float32 in the bundle's storage units, in ``out`` if given."""
        shape = (self.network_bands, *values.shape[1:])
        image = np.empty(shape, dtype=np.float32) if out is None else out
        convert(values, self.match, self._wanted, factor=self._factor, out=image)
        return image

    def read_for_network(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return ``(band, y, x) float32`` in the bundle's storage units and ``(y, x)`` validity."""
        values, valid = self.read(window)
        return self.to_network(values), valid

    @cached_property
    def _measured(self) -> BandMatch:
        """What of the scene alone stands for each band; not every use of a scene asks for it."""
        return self.match if self._wanted.spread is None else self._fit()

    def read_measured(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read as :meth:`read_for_network` does, of bands that come from the scene alone.

        Where bands are estimated from training spectra, the lines between the scene's bands are
        returned in their place: an estimate looks like the training whatever was measured.
        """
        if self._measured is self.match:
            return self.read_for_network(window)
        found = self._measured
        values, flags = self._load(window, None, (None, None), bands=found.indices)
        image = np.empty((self.network_bands, *values.shape[1:]), dtype=np.float32)
        convert(values, found, self._wanted, factor=self._factor, out=image)
        return image, flags == 0


def _declares_nothing(scene: Scene) -> bool:
    """Whether neither a nodata value nor a mask says which pixels of a scene are missing."""
    corner = Window(row=0, col=0, height=1, width=1)
    return scene.nodata is None and scene.raw(corner, [0])[1] is None


def _clear(values: NDArray[np.generic], valid: NDArray[np.bool_]) -> None:
    """Set invalid pixels to 0 in place."""
    for box in boxes_around(~valid):
        part = values[(..., *box)]
        np.multiply(part, valid[box].astype(values.dtype), out=part)


def _factor(scene: float | None, wanted: float | None) -> float:
    """Return what a stored value of the scene is multiplied by to become one of the bundle."""
    if scene is None or wanted is None:
        return 1.0
    if scene <= 0:
        raise MismatchError(f"the scene's reflectance scale must be positive, got {scene}")
    ratio = scene / wanted
    return 1.0 if isclose(ratio, 1, rel_tol=1e-9) else ratio

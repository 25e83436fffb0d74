"""Which band of a scene is which of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from hsimap.errors import MismatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.spectra._bands import Bands

MAX_TOLERANCE_NM: Final = 5.0
"""A band further away than this is another band, however coarse the sampling."""
Way = Literal["selected", "gaussian", "linear", "estimated", "missing"]
"""How a band of the model is got from a scene."""
SELECTED: Final[Way] = "selected"


@dataclass(frozen=True, slots=True, kw_only=True)
class BandMatch:
    """What of a scene stands for each model band."""

    indices: tuple[int, ...]
    """0-based scene bands that are read. Without weights, one for each model band in its order."""
    offset_nm: tuple[float, ...]
    """Wavelength of the nearest good scene band minus the model's, a number for each model band;
    0 where bands were matched by order."""
    notes: tuple[str, ...]
    """What was assumed, a sentence each."""
    ways: tuple[Way, ...]
    """How each model band is got."""
    weights: NDArray[np.float32] | None = field(default=None, compare=False)
    """``(model band, read band) float32``; None = each read band is a model band. Rows add up to 1,
    or to 0 where a band is missing; where bands are estimated from training spectra, to any
    number."""
    offset: NDArray[np.float32] | None = field(default=None, compare=False)
    """``(model band,) float32``, storage units of the model: what is added to the weighted sums;
    None = nothing."""

    @property
    def missing(self) -> tuple[int, ...]:
        """0-based model bands that the scene has nothing for."""
        return tuple(i for i, way in enumerate(self.ways) if way == "missing")

    @property
    def resampled(self) -> int:
        """Number of model bands that are mixed of several scene bands."""
        return sum(way in {"gaussian", "linear", "estimated"} for way in self.ways)


def match_bands(model: Bands, scene: Bands, *, tolerance_nm: float | None = None) -> BandMatch:
    """Choose the nearest good scene band for each band of a model.

    Parameters
    ----------
    model, scene : Bands
        Where either has no wavelengths, equal numbers of bands are matched by order, and said.
    tolerance_nm : float, optional
        Largest distance. By default half the model's local band spacing, at most 5 nm.

    Returns
    -------
    BandMatch
        In the order of the model's bands.

    Raises
    ------
    MismatchError
        If a model band has no good scene band within the tolerance, if two model bands want the
        same scene band, or if bands can only be matched by order and their numbers differ.
    """
    if model.wavelength_nm is None or scene.wavelength_nm is None:
        return match_by_order(model, scene)
    wanted = np.asarray(model.wavelength_nm)
    found = np.where(scene.good, scene.wavelength_nm, np.inf)
    distance = np.abs(found[None, :] - wanted[:, None])
    indices = distance.argmin(axis=1)
    nearest = distance[np.arange(len(wanted)), indices]
    limit = tolerance(wanted) if tolerance_nm is None else np.full(len(wanted), tolerance_nm)
    missing = np.flatnonzero(nearest > limit)
    if missing.size:
        first = int(missing[0])
        raise MismatchError(
            f"the scene has no good band within {limit[first]:.2g} nm of {wanted[first]:g} nm,"
            f" which the model needs ({missing.size} of its {model.n} bands are missing; the scene"
            f" has {scene.n} bands, {span(scene)}); let bands be resampled (--resample auto) or use"
            " a model of this sensor"
        )
    if len(set(indices.tolist())) < len(indices):
        raise MismatchError(
            f"the scene's {scene.n} bands ({span(scene)}) are sampled more coarsely than the"
            f" model's {model.n}: one band would stand for two; let bands be resampled"
            " (--resample auto) or use a model of this sensor"
        )
    offset = np.asarray(scene.wavelength_nm)[indices] - wanted
    return BandMatch(
        indices=tuple(indices.tolist()),
        offset_nm=tuple(offset.tolist()),
        notes=(),
        ways=(SELECTED,) * model.n,
    )


def match_by_order(model: Bands, scene: Bands) -> BandMatch:
    """Take the scene's bands in their order; for want of wavelengths, and said."""
    if model.n != scene.n:
        side = "the scene" if scene.wavelength_nm is None else "the model"
        raise MismatchError(
            f"the scene has {scene.n} bands and the model needs {model.n}, and {side} states no"
            f" wavelengths to match them by; add wavelengths or use a model of {scene.n} bands"
        )
    note = f"bands were matched by order ({model.n} of {scene.n}), for want of wavelengths"
    return BandMatch(
        indices=tuple(range(model.n)),
        offset_nm=(0.0,) * model.n,
        notes=(note,),
        ways=(SELECTED,) * model.n,
    )


def tolerance(wavelengths: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return half the distance to the nearest other band, at most ``MAX_TOLERANCE_NM``."""
    gaps = np.abs(wavelengths[:, None] - wavelengths[None, :])
    gaps[gaps == 0] = np.inf
    limit: NDArray[np.float64] = np.minimum(gaps.min(axis=1) / 2, MAX_TOLERANCE_NM)
    return limit


def span(bands: Bands) -> str:
    """Say what range the bands cover."""
    known = bands.wavelength_nm or (0.0,)
    return f"{min(known):g} to {max(known):g} nm"

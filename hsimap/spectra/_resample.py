"""Bring the bands of one sensor to those of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from hsimap.errors import MismatchError
from hsimap.spectra._estimate import SIGMAS_OF_FWHM, broader, estimate
from hsimap.spectra._match import (
    SELECTED,
    BandMatch,
    Way,
    match_bands,
    match_by_order,
    span,
    tolerance,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from hsimap.spectra._bands import Bands
    from hsimap.spectra._spread import Spread

Resample = Literal["never", "auto", "always"]
RESAMPLE_MODES: Final[tuple[Resample, ...]] = ("never", "auto", "always")
_REACH: Final = 3.0
"""Standard deviations beyond which a scene band has no weight."""
_WIDEST_GAP: Final = 4.5
"""Typical spacings between two good scene bands that are still bridged by a line."""
_SAME: Final = 0.1
"""Share of the tolerance within which a band is the model's own, where bands can be estimated."""
_LISTED: Final = 5


def fit_bands(
    model: Bands,
    scene: Bands,
    *,
    resample: Resample = "auto",
    dispensable: Collection[int] = (),
    spread: Spread | None = None,
) -> BandMatch:
    """Find what of a scene stands for each band of a model; resample where no band is near enough.

    Parameters
    ----------
    model, scene : Bands
        Where either has no wavelengths, equal numbers of bands are matched by order, and said.
        Bands of the scene may come in any order, overlap, or occur twice.
    resample : {"never", "auto", "always"}
        ``never``: only select, as :func:`match_bands`. ``auto``: select within the tolerance (half
        the model's local spacing, at most 5 nm), else resample. ``always``: resample all.
    dispensable : collection of int
        0-based model bands that the model can do without.
    spread : Spread, optional
        How the model's training spectra vary. With it, bands are estimated where the scene's are
        broader or sampled more coarsely than the model's, and selected only within a twentieth of
        the model's spacing (at most 0.5 nm) and if they are not broader.

    Returns
    -------
    BandMatch
        A resampled band is a mean of good scene bands with Gaussian weights of the model band's
        full width at half maximum (its spacing where the model states none), where the scene is
        sampled finely enough for that; else it lies on the line between the two good scene bands
        beside it. Either way a spectrum that is constant or a straight line stays what it is, no
        weight is negative, and nothing is extrapolated. An estimated band is the conditional mean
        of a normal distribution (:meth:`Spread.given`) given all good scene bands; it is not held
        to these rules, but the training's mean spectrum stays what it is. A missing band is
        estimated likewise where it may be missing.

    Raises
    ------
    MismatchError
        If a model band that is not dispensable lies outside the scene's good bands or in a gap
        between them of more than 4 of their spacings, or if bands can only be matched by order and
        their numbers differ.
    """
    if resample == "never":
        return match_bands(model, scene)
    if model.wavelength_nm is None or scene.wavelength_nm is None:
        return match_by_order(model, scene)
    sampling = _Sampling.of(scene)
    wanted = np.asarray(model.wavelength_nm)
    limits = tolerance(wanted)
    selected = {}
    if resample == "auto" and spread is None:
        selected = _selected(wanted, limits, sampling)
    elif resample == "auto":
        selected = _same(model, scene, _selected(wanted, _SAME * limits, sampling))
    widths = _widths(model, limits)
    matrix = np.zeros((model.n, scene.n))
    ways: list[Way] = []
    for i, centre in enumerate(wanted):
        if i in selected:
            matrix[i, selected[i]] = 1.0
            ways.append(SELECTED)
        else:
            matrix[i], way = sampling.weights(centre, widths[i], slack=limits[i])
            ways.append(way)
    _refuse_missing(ways, dispensable, model=model, scene=scene)
    added = None
    if spread is not None and set(ways) != {SELECTED}:
        added = _put_estimates(matrix, ways, model=model, scene=scene, spread=spread)
    return _match(matrix, ways, offsets=sampling.offsets(wanted), added=added)


def _same(model: Bands, scene: Bands, selected: dict[int, int]) -> dict[int, int]:
    """Return those pairs of a model's and a scene's band of which the scene's is not broader."""
    wide = broader(model, scene)
    return {i: j for i, j in selected.items() if not wide[i, j]}


def _put_estimates(
    matrix: NDArray[np.float64], ways: list[Way], *, model: Bands, scene: Bands, spread: Spread
) -> NDArray[np.float64]:
    """Put estimates in place of lines, of means of broad bands, and of what is missing.

    Returns
    -------
    ndarray
        ``(model band,)``: what is added, 0 where a band is not estimated.
    """
    wide = broader(model, scene)
    used, weights, offset = estimate(spread, model, scene)
    added = np.zeros(model.n)
    for i, way in enumerate(ways):
        sources = np.flatnonzero(matrix[i])
        fine = way == "gaussian" and not wide[i, sources].any()
        if way == SELECTED or fine:
            continue
        if way != "missing":
            if not np.isin(sources, used).any():
                continue
            ways[i] = "estimated"
        matrix[i], added[i] = weights[i], offset[i]
    return added


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampling:
    """Good bands of a scene in the order of their wavelengths."""

    n: int
    order: NDArray[np.int64]
    centres: NDArray[np.float64]
    cells: NDArray[np.float64]
    """Share of the spectrum that each band stands for, in nm."""
    spacing: float
    """Typical distance between neighbours, in nm."""

    @classmethod
    def of(cls, scene: Bands) -> _Sampling:
        centres = np.asarray(scene.wavelength_nm, dtype=float)
        good = np.flatnonzero(scene.good)
        order = good[np.argsort(centres[good], kind="stable")]
        sorted_nm = centres[order]
        gaps = np.diff(sorted_nm)
        spacing = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0
        near = np.minimum(gaps, 2 * spacing)
        ends = [spacing]
        cells = (np.r_[ends, near] + np.r_[near, ends]) / 2 if order.size else gaps
        return cls(n=scene.n, order=order, centres=sorted_nm, cells=cells, spacing=spacing)

    def offsets(self, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the nearest good band's wavelength minus the wanted one."""
        if not self.order.size:
            return np.full(wanted.shape, np.inf)
        distance = self.centres[None, :] - wanted[:, None]
        nearest: NDArray[np.float64] = distance[
            np.arange(wanted.size), np.abs(distance).argmin(axis=1)
        ]
        return nearest

    def weights(
        self, centre: float, width: float, *, slack: float
    ) -> tuple[NDArray[np.float64], Way]:
        """Return the weight of every scene band for one model band, and how it is got."""
        row, c = np.zeros(self.n), self.centres
        right = int(np.searchsorted(c, centre))
        if 0 < right < c.size:
            gap = c[right] - c[right - 1]
            if width >= gap and self._gaussian(row, centre, width):
                return row, "gaussian"
            if gap > _WIDEST_GAP * self.spacing:
                return row, "missing"
            share = (centre - c[right - 1]) / gap
            row[self.order[right - 1]], row[self.order[right]] = 1 - share, share
            return row, "linear"
        end = min(right, c.size - 1)
        if c.size and abs(c[end] - centre) <= slack:
            row[self.order[end]] = 1.0
            return row, "linear"
        return row, "missing"

    def _gaussian(self, row: NDArray[np.float64], centre: float, width: float) -> bool:
        """Fill in weights whose mean wavelength is the centre; False if one would be negative."""
        sigma = width / SIGMAS_OF_FWHM
        away = self.centres - centre
        found = np.where(
            np.abs(away) <= _REACH * sigma, self.cells * np.exp(-((away / sigma) ** 2) / 2), 0.0
        )
        second = (found * away**2).sum()
        tilt = -(found * away).sum() / second if second > 0 else 0.0
        found *= 1 + tilt * away
        if found.min() < 0 or found.sum() <= 0:
            return False
        row[self.order] = found / found.sum()
        return True


def _selected(
    wanted: NDArray[np.float64], limits: NDArray[np.float64], sampling: _Sampling
) -> dict[int, int]:
    """Return the scene band of each model band that has one near enough, and for itself alone."""
    if not sampling.order.size:
        return {}
    distance = np.abs(sampling.centres[None, :] - wanted[:, None])
    nearest = distance.argmin(axis=1)
    found: dict[int, int] = {}
    taken: set[int] = set()
    for i in np.argsort(distance[np.arange(wanted.size), nearest], kind="stable").tolist():
        j = int(nearest[i])
        if distance[i, j] <= limits[i] and j not in taken:
            found[i] = int(sampling.order[j])
            taken.add(j)
    return found


def _widths(model: Bands, limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the full width at half maximum of each model band; its spacing where not stated."""
    if model.fwhm_nm is not None:
        return np.asarray(model.fwhm_nm, dtype=float)
    wanted = np.asarray(model.wavelength_nm, dtype=float)
    if wanted.size == 1:
        return 2 * limits
    gaps = np.abs(wanted[:, None] - wanted[None, :])
    gaps[gaps == 0] = np.inf
    nearest: NDArray[np.float64] = gaps.min(axis=1)
    return nearest


def _match(
    matrix: NDArray[np.float64],
    ways: Sequence[Way],
    *,
    offsets: NDArray[np.float64],
    added: NDArray[np.float64] | None,
) -> BandMatch:
    used = np.flatnonzero(matrix.any(axis=0))
    offset_nm = tuple(offsets.tolist())
    if set(ways) == {SELECTED}:
        indices = matrix.argmax(axis=1)
        return BandMatch(
            indices=tuple(indices.tolist()), offset_nm=offset_nm, notes=(), ways=tuple(ways)
        )
    resampled = sum(way in {"gaussian", "linear"} for way in ways)
    notes = []
    if resampled:
        notes.append(f"{resampled} of {len(ways)} bands of the model were resampled from the scene")
    if "estimated" in ways:
        notes.append(
            f"{ways.count('estimated')} of {len(ways)} bands of the model were estimated from the"
            " training spectra, as the scene's bands are broader, coarser or elsewhere"
        )
    if "missing" in ways:
        stands = "the model's mean stands for them"
        notes.append(
            f"{ways.count('missing')} bands that the model can do without are not in the scene;"
            f" {stands if added is None else 'they were estimated from the training spectra'}"
        )
    return BandMatch(
        indices=tuple(used.tolist()),
        offset_nm=offset_nm,
        notes=tuple(notes),
        ways=tuple(ways),
        weights=matrix[:, used].astype(np.float32),
        offset=None if added is None else added.astype(np.float32),
    )


def _refuse_missing(
    ways: Sequence[Way], dispensable: Collection[int], *, model: Bands, scene: Bands
) -> None:
    lost = [i for i, way in enumerate(ways) if way == "missing" and i not in set(dispensable)]
    if not lost:
        return
    named = [f"{(model.wavelength_nm or ())[i]:g}" for i in lost[:_LISTED]]
    more = f" and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
    raise MismatchError(
        f"the scene has no good bands to make {len(lost)} of the model's {model.n} bands"
        f" from ({', '.join(named)}{more} nm; the scene has {sum(scene.good)} good bands,"
        f" {span(scene)}), and nothing is extrapolated; use a model of this sensor's bands"
    )

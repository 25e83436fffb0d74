"""Spectra of the mixing components of every stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.synthetic._forest import SPECIES_CLUMPING, StandTable
from hsimap.synthetic._light import COMPONENTS
from hsimap.synthetic._optics import (
    N_BANDS,
    WAVELENGTH_NM,
    crown_reflectance,
    floor_spectra,
    leaf_albedo,
    recollision_probability,
    skylight_share,
)
from hsimap.synthetic._random import normal, uniform
from hsimap.synthetic._trees import crown_cover

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UPWARD: Final = (0.46, 0.44, 0.50)
_BARK: Final = (0.15, 0.09, 0.14)
"""Share of woody parts in the light from a crown (Kuusinen et al. 2021, Silva Fennica 55)."""
_VIGOUR: Final = 0.16
"""Relative chlorophyll of a tree one standard deviation above its stand."""
_FIELD: Final = ((1.5, 0.55, 0), (0.45, 0.50, 1), (-0.75, 0.65, 2))
_GROUND: Final = ((1.1, 0.7, 5), (0.2, 0.6, 1), (-0.6, 0.45, 2), (-1.5, 0.55, 3))
"""(fertility of its optimum, width, index in ``FLOORS``) of each cover."""
_SPHAGNUM: Final = 4
_CANOPY_GLOW: Final = 0.05 + 0.95 / (1 + np.exp(-(WAVELENGTH_NM - 716) / 11))
"""Light that reaches the shaded floor through and between leaves: green to near infrared."""


def field_means(stands: StandTable, seed: int) -> NDArray[np.float64]:
    """Return the mean share of the field layer on the floor of every stand, ``(stand,)``."""
    index = np.arange(stands.fertility.size)
    logit = 0.1 + 0.25 * stands.fertility.clip(-2, 2) + 0.35 * normal(seed, 71, index)
    share: NDArray[np.float64] = 1 / (1 + np.exp(-logit))
    return share


def stand_spectra(stands: StandTable, index: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return the spectra of some stands.

    Parameters
    ----------
    stands : StandTable
        Of the scene.
    index : ndarray
        ``(n,)``: which stands.
    seed : int
        Of the scene.

    Returns
    -------
    ndarray
        ``(n, component, band)`` float64 reflectance, components as in ``COMPONENTS``.
    """
    spectra = np.zeros((index.size, len(COMPONENTS), N_BANDS))
    fertility, organic = stands.fertility[index].clip(-2, 2), stands.soil_class[index] == 2  # noqa: PLR2004  # 2 = organic
    green = np.exp(0.05 * fertility - 0.04 * organic + 0.09 * normal(seed, 72, index))
    water = np.exp(0.05 * organic + 0.10 * normal(seed, 73, index))
    brown = 0.004 + 0.016 * uniform(seed, 74, index)
    cover = crown_cover(stands)[index]
    sky = skylight_share()
    for k in range(3):
        area = stands.leaf_area_index[index] / cover
        p = recollision_probability(area, area * SPECIES_CLUMPING[k])
        bark = _BARK[k] * np.exp(0.25 * normal(seed, 75, k, index))[:, None]
        usual, vigorous = (
            leaf_albedo(k, chlorophyll=green * vigour, water=water, brown=brown)
            for vigour in (1.0, 1.0 + _VIGOUR)
        )
        leaves = crown_reflectance(usual, p, upward=_UPWARD[k])
        change = crown_reflectance(vigorous, p, upward=_UPWARD[k]) - leaves
        spectra[:, k] = (1 - bark) * leaves + bark * 0.6 * _bark_spectrum(k)
        spectra[:, 3 + k] = spectra[:, k] * (sky + 0.24 * usual**2)
        spectra[:, 6 + k] = (1 - bark) * change
    floor = _floors(fertility, organic, index=index, seed=seed)
    spectra[:, 9:11] = floor
    spectra[:, 11:13] = floor * (sky + 0.20 * _CANOPY_GLOW)
    return spectra


def _floors(
    fertility: NDArray[np.float64],
    organic: NDArray[np.bool_],
    *,
    index: NDArray[np.int64],
    seed: int,
) -> NDArray[np.float64]:
    """Return the spectra of field and ground layer, ``(n, 2, band)``."""
    library = floor_spectra()
    layers = []
    for layer, covers in enumerate((_FIELD, _GROUND)):
        share = np.zeros((index.size, len(library)))
        for optimum, width, cover in covers:
            fit = -0.5 * ((fertility - optimum) / width) ** 2
            share[:, cover] += np.exp(fit + 0.45 * normal(seed, 76, layer, cover, index))
        share /= share.sum(axis=1, keepdims=True)
        moss = (0.45 + 0.30 * layer) * np.exp(0.15 * normal(seed, 77, layer, index)).clip(0, 1.3)
        moss = np.where(organic, moss, 0.0)
        share *= (1 - moss)[:, None]
        share[:, _SPHAGNUM] += moss
        tone = np.exp(0.10 * normal(seed, 78, layer, index))
        layers.append((share @ library) * tone[:, None])
    return np.stack(layers, axis=1)


def _bark_spectrum(species: int) -> NDArray[np.float64]:
    """Return the reflectance of bark: orange pine, grey spruce, white birch."""
    rise = (WAVELENGTH_NM - 400) / 600
    start, end = ((0.07, 0.44), (0.08, 0.34), (0.22, 0.48))[species]
    return start + (end - start) * rise**0.9

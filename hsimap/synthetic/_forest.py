"""Stand variables tied by allometry: site -> species and height -> diameter -> density -> rest.

Ranges and spreads follow the stand data of TAIGA (seven measured variables of 744 stands): basal
area 22 m2/ha (sd 7), height 17 m (sd 4.4), diameter sd 5.9 cm, effective leaf area index 3.2
(sd 1.6), stem biomass 78 t/ha. The forms of the relations are textbook ones, cited where used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.synthetic._random import normal, smooth_noise, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.synthetic._stands import StandLayout

PINE, SPRUCE, BIRCH = 0, 1, 2
SPECIES_CLUMPING: Final = np.array([0.60, 0.66, 0.90])
"""Effective over true leaf area index. Needle shoots: silhouette to needle area 4 STAR = 0.59 pine,
0.64 spruce (Stenberg et al. 1995, Tree Physiology 15); leaves: only crowns clump."""
_FOLIAGE: Final = np.array([0.17, 0.26, 0.17])
"""Leaf area index per m2/ha of basal area: spruce carries most foliage (Marklund 1988)."""
_WOOD: Final = np.array([0.41, 0.39, 0.49])
"""Basic density of wood, t/m3 (Repola 2006, Silva Fennica 40)."""
_FERTILITY_LIMITS: Final = (-0.75, 0.15, 0.95)
_DRY: Final = 0.55
"""Wetness, in standard deviations, above which soil is peat: about three stands in ten."""
_SITE: Final = 11
_ACROSS_PX: Final = 110.0
_AREA_PER_DBH2: Final = np.pi / 40_000.0
"""m2 per cm2 of diameter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandTable:
    """Variables of every stand; all arrays run over the stands unless said."""

    fertility: NDArray[np.float64]
    """Latent site fertility, standard normal scale, high = herb-rich."""
    fertility_class: NDArray[np.uint8]
    soil_class: NDArray[np.uint8]
    main_tree_species_class: NDArray[np.uint8]
    shares: NDArray[np.float64]
    """``(stand, species)``: shares of basal area of pine, spruce and birch; they sum to 1."""
    mean_height: NDArray[np.float64]
    """m."""
    mean_dbh: NDArray[np.float64]
    """Quadratic mean diameter at breast height, cm."""
    stem_density: NDArray[np.float64]
    """1/ha."""
    leaf_area_index: NDArray[np.float64]
    """Hemisurface area of leaves per ground area."""
    effective_leaf_area_index: NDArray[np.float64]

    @property
    def basal_area(self) -> NDArray[np.float64]:
        """m2/ha: density times the cross-section of the mean stem."""
        return self.stem_density * _AREA_PER_DBH2 * self.mean_dbh**2

    @property
    def woody_biomass(self) -> NDArray[np.float64]:
        """Stem and branches, t/ha: BA x H x form factor 0.47 x wood density, + branches.

        The share of branches falls with height, from a third in young stands to a tenth.
        """
        stem = self.basal_area * self.mean_height * 0.47 * (self.shares @ _WOOD)
        total: NDArray[np.float64] = stem * (1.1 + 0.9 / self.mean_height)
        return total

    def classes(self) -> NDArray[np.uint8]:
        """``(3, stand)``: codes of the categorical variables, in the order of ``CLASS_TASKS``."""
        return np.stack([self.fertility_class, self.soil_class, self.main_tree_species_class])

    def values(self) -> NDArray[np.float32]:
        """``(10, stand)``: the continuous variables, in the order of ``VALUE_TASKS``."""
        rows = [self.basal_area, self.mean_dbh, self.stem_density, self.mean_height]
        rows += list(100.0 * self.shares.T)
        rows += [self.woody_biomass, self.leaf_area_index, self.effective_leaf_area_index]
        return np.stack(rows).astype(np.float32)


def draw_stands(layout: StandLayout) -> StandTable:
    """Draw the variables of every stand of a layout."""
    seed, index = layout.seed, np.arange(len(layout.centre))
    region = smooth_noise(*layout.centre.T, step=_ACROSS_PX, keys=(seed, _SITE))
    fertility = 0.40 * region + 0.92 * normal(seed, 12, index)
    wet = 0.4 * smooth_noise(*layout.centre.T, step=_ACROSS_PX, keys=(seed, 13))
    organic = wet + 0.92 * normal(seed, 14, index) - 0.2 * fertility > _DRY
    shares = _species(fertility, organic, seed)
    height = _height(fertility, organic, seed)
    dbh = 1.14 * (height - 1.3) * np.exp(0.13 * normal(seed, 15, index)) * (1 + 1.2 / height)
    dbh = (dbh * (1.0 - 0.06 * shares[:, BIRCH])).clip(3.0, 36.0)
    density = _density(dbh, height, fertility=fertility, seed=seed)
    area = density * _AREA_PER_DBH2 * dbh**2
    foliage = area * (shares @ _FOLIAGE) * np.exp(0.10 * normal(seed, 16, index))
    foliage *= (1 + 0.09 * fertility.clip(-2, 2)) * (1.28 - 0.016 * height)
    clumping = (shares @ SPECIES_CLUMPING) * np.exp(0.03 * normal(seed, 17, index))
    return StandTable(
        fertility=fertility,
        fertility_class=(5 - np.searchsorted(_FERTILITY_LIMITS, fertility)).astype(np.uint8),
        soil_class=np.where(organic, 2, 1).astype(np.uint8),
        main_tree_species_class=(1 + shares.argmax(axis=1)).astype(np.uint8),
        shares=shares,
        mean_height=height,
        mean_dbh=dbh,
        stem_density=density,
        leaf_area_index=foliage.clip(0.3, 12.5),
        effective_leaf_area_index=(foliage.clip(0.3, 12.5) * clumping).clip(0.2, 8.8),
    )


def _species(
    fertility: NDArray[np.float64], organic: NDArray[np.bool_], seed: int
) -> NDArray[np.float64]:
    """Softmax of site preferences and chance: pine on poor sites, birch on peat and rich sites."""
    index = np.arange(fertility.size)
    preference = np.stack(
        [0.5 - 0.85 * fertility + 0.2 * organic, 0.1 + 0.75 * fertility - 0.1 * organic,
         -0.55 + 0.35 * fertility + 0.75 * organic],
        axis=-1,
    )  # fmt: skip
    chance = np.stack([normal(seed, 20 + k, index) for k in range(3)], axis=-1)
    weight = np.exp(1.15 * preference + 1.25 * chance)
    shares: NDArray[np.float64] = weight / weight.sum(axis=1, keepdims=True)
    return shares


def _height(
    fertility: NDArray[np.float64], organic: NDArray[np.bool_], seed: int
) -> NDArray[np.float64]:
    """Chapman-Richards growth to a site's limit (Richards 1959): 3 to 28 m."""
    age = 12 + 98 * uniform(seed, 25, np.arange(fertility.size)) ** 0.85
    limit = 23.5 + 2.2 * fertility.clip(-2, 2) - 2.5 * organic
    height: NDArray[np.float64] = limit * (1 - np.exp(-0.034 * age)) ** 1.35
    return height.clip(2.5, 28.5)


def _density(
    dbh: NDArray[np.float64],
    height: NDArray[np.float64],
    *,
    fertility: NDArray[np.float64],
    seed: int,
) -> NDArray[np.float64]:
    """Stocking below the self-thinning limit N = c D^-1.605 (Reineke 1933).

    The densest stands stay within TAIGA's maxima: 49.5 m2/ha and 285 t/ha.
    """
    index = np.arange(dbh.size)
    stocking = 0.47 + 0.05 * fertility.clip(-2, 2) + 0.13 * normal(seed, 26, index)
    limit = 190_000.0 * dbh**-1.605
    density: NDArray[np.float64] = (limit * stocking.clip(0.14, 0.92)).clip(120, 7800)
    most_area = np.minimum(49.5, 1080.0 / height)
    return np.minimum(density, most_area / (_AREA_PER_DBH2 * dbh**2))

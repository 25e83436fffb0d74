"""Spectra: leaves, forest floor, light in the shade and canopies, 400 to 1000 nm.

Nothing here is a table of somebody else's coefficients. Leaf absorption is a sum of Gaussians at
published positions of pigment and water bands, scaled so that leaf albedo meets the published
figures of boreal species: needle albedo about 0.1 in red, 0.3 in green and 0.85 in the near
infrared, birch 0.1, 0.4 and 0.93 (Lukes et al. 2013, Tree Physiology 33; Hovi et al. 2022, Silva
Fennica 56). The spectral invariants carry leaves to shoots and canopies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import expn

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_BANDS: Final = 128
WAVELENGTH_NM: Final = np.round(np.linspace(400.0, 1000.0, N_BANDS), 3)
"""Band centres; their spacing, 4.72 nm, is about the width of a band."""
FWHM_NM: Final = 4.7

_CHLOROPHYLL: Final = (
    (380, 20, 0.75), (416, 17, 0.70), (436, 14, 0.88), (470, 17, 0.68), (505, 24, 0.18),
    (550, 40, 0.22), (592, 20, 0.20), (622, 17, 0.24), (650, 16, 0.38), (677, 12.5, 0.95),
    (698, 12, 0.22),
)  # fmt: skip
"""(centre nm, width nm, height): Soret and red bands of chlorophyll a and b in living leaves
(Lichtenthaler 1987: a 430/662, b 453/642 in solution; 5 to 15 nm further red in vivo)."""
_CAROTENOID: Final = ((425, 16, 0.55), (450, 15, 0.75), (482, 15, 0.70))
"""Three-peaked absorption of lutein and carotene (Lichtenthaler 1987)."""
_WATER: Final = ((740, 14, 0.02), (838, 20, 0.03), (970, 22, 0.42), (1010, 45, 0.28))
"""Overtones of liquid water, 1/cm (Palmer & Williams 1974; Kou et al. 1993)."""
_BROWN_SCALE_NM: Final = 85.0

# Species: chlorophyll, carotenoid, water cm, dry matter, recollision inside the leaf.
_LEAF: Final = np.array(
    [[2.10, 0.85, 0.34, 0.016, 0.840], [2.50, 0.95, 0.27, 0.020, 0.840],
     [2.35, 0.80, 0.22, 0.010, 0.775]]
)  # fmt: skip


def bands(
    peaks: tuple[tuple[float, float, float], ...], wavelength_nm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a sum of Gaussians (centre, width, height) at wavelengths, ``(band,)``."""
    centre, width, height = np.array(peaks).T[:, :, None]
    total: NDArray[np.float64] = (
        height * np.exp(-0.5 * ((wavelength_nm - centre) / width) ** 2)
    ).sum(axis=0)
    return total


def leaf_albedo(
    species: int,
    *,
    chlorophyll: NDArray[np.float64],
    water: NDArray[np.float64],
    brown: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return reflectance plus transmittance of leaves.

    A leaf is an object with recollision probability q inside: albedo = (1 - q) w / (1 - q w), with
    w = exp(-absorption) per interaction (Lewis & Disney 2007, Remote Sensing of Environment 109).

    Parameters
    ----------
    species : int
        0 pine, 1 spruce, 2 birch.
    chlorophyll, water, brown : ndarray
        ``(stand,)``: pigments and water relative to the species' usual leaf (1), and brown matter.

    Returns
    -------
    ndarray
        ``(stand, band)`` float64 in 0 to 1.
    """
    green, yellow, wet, dry, inside = _LEAF[species]
    nm = WAVELENGTH_NM
    pigments = green * bands(_CHLOROPHYLL, nm) + yellow * bands(_CAROTENOID, nm)
    absorption = 0.42 * chlorophyll[:, None] * pigments
    absorption = absorption + 0.13 * wet * water[:, None] * bands(_WATER, nm) + dry
    absorption = absorption + brown[:, None] * np.exp(-(nm - 400) / _BROWN_SCALE_NM)
    passed = np.exp(-absorption)
    albedo: NDArray[np.float64] = (1 - inside) * passed / (1 - inside * passed)
    return albedo


def recollision_probability(
    leaf_area: NDArray[np.float64], effective: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return p = 1 - i / LAI, i = diffuse interception (Stenberg 2007, RSE 109, eq. 18)."""
    intercepted = 1 - 2 * expn(3, 0.5 * effective)  # 2 E3(x): isotropic light, spherical leaves
    p: NDArray[np.float64] = 1 - intercepted / leaf_area
    return p


def crown_reflectance(
    albedo: NDArray[np.float64], p: NDArray[np.float64], *, upward: float
) -> NDArray[np.float64]:
    """Return reflectance of an opaque sunlit crown.

    Spectral invariants (Smolander & Stenberg 2005; Rautiainen & Stenberg 2005, PARAS):
    f w (1 - p) / (1 - p w), with f the share that leaves upwards.

    Parameters
    ----------
    albedo : ndarray
        ``(stand, band)`` leaf albedo w.
    p : ndarray
        ``(stand,)`` photon recollision probability.
    upward : float
        f; leaves above broad leaves reflect more upwards than needles.
    """
    return upward * albedo * (1 - p[:, None]) / (1 - p[:, None] * albedo)


def skylight_share() -> NDArray[np.float64]:
    """Return the diffuse share of irradiance under a clear sky, ``(band,)``: blue, 0.45 to 0.08."""
    share: NDArray[np.float64] = 0.06 + 0.36 * (WAVELENGTH_NM / 400) ** -3.2
    return share


def floor_spectra() -> NDArray[np.float64]:
    """Return reflectance of forest floors, ``(cover, band)``.

    In the order of ``FLOORS``; forms after Rautiainen et al. 2011 (Silva Fennica 45) and, for
    lichen, Kuusinen et al. 2020 (RSE 247): reindeer lichen is bright and has a shallow red edge,
    mosses and shrubs are dark in the visible, herbs are green with a high plateau, Sphagnum is wet
    (a deep band at 970 nm) and pale reddish, litter rises slowly.
    """
    nm = WAVELENGTH_NM

    def edge(at: float, width: float) -> NDArray[np.float64]:
        step: NDArray[np.float64] = 1 / (1 + np.exp(-(nm - at) / width))
        return step

    def plant(visible: float, green: float, plateau: float, wet: float) -> NDArray[np.float64]:
        colour = visible + green * bands(((552, 33, 1.0), (615, 30, 0.42)), nm)
        colour = colour - 0.35 * visible * bands(((675, 16, 1.0), (440, 40, 0.5)), nm)
        rise = (plateau - visible) * edge(716, 11) * (1 + 0.00035 * (nm - 860))
        dip: NDArray[np.float64] = 1 - wet * bands(_WATER, nm)
        return (colour + rise) * dip

    lichen = 0.05 + 0.27 * edge(505, 45) + 0.14 * edge(712, 18) - 0.035 * bands(((678, 14, 1),), nm)
    litter = 0.045 + 0.27 * (np.clip(nm - 400, 0, None) / 600) ** 1.25
    return np.stack(
        [
            plant(0.030, 0.070, 0.43, 0.22),  # herbs and grasses
            plant(0.028, 0.036, 0.33, 0.18),  # bilberry over feather moss
            plant(0.040, 0.022, 0.25, 0.14),  # heather, lingonberry, thin moss
            lichen,
            plant(0.034, 0.030, 0.30, 0.62) + 0.045 * edge(545, 32),  # Sphagnum and Labrador tea
            litter,
        ]
    )


FLOORS: Final = ("herbs", "bilberry", "heather", "lichen", "sphagnum", "litter")

"""From surface to stored reflectance: light over the line, point spread, haze, noise, digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import convolve1d

from hsimap.synthetic._optics import WAVELENGTH_NM, bands
from hsimap.synthetic._random import normal, smooth_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.geometry import Window

SCALE: Final = 0.0001
"""Reflectance per stored unit."""
NODATA: Final = 0
"""Stored value outside the flight line; valid pixels hold at least 1."""
_MAX_STORED: Final = 30_000
_POINT_SPREAD: Final = np.array([0.17, 0.66, 0.17], dtype=np.float32)
_ROWS: Final = 32


def blur(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Spread every pixel a little over its neighbours, ``(component, y, x)``."""
    once = convolve1d(weights, _POINT_SPREAD, axis=1, mode="nearest")
    twice: NDArray[np.float32] = convolve1d(once, _POINT_SPREAD, axis=2, mode="nearest")
    return twice


def irradiance(window: Window, *, size: int, seed: int) -> NDArray[np.float32]:
    """Return brightness over the line, ``(y, x)``: thin cloud along, anisotropy across."""
    rows, cols = np.mgrid[
        window.row : window.row + window.height, window.col : window.col + window.width
    ]
    cloud = 0.025 * smooth_noise(rows, cols, step=140.0, keys=(seed, 81))
    across = (cols + 0.5) / size - 0.5
    tilt = 0.10 + 0.03 * float(normal(seed, 82))
    light: NDArray[np.float32] = 1 + cloud + tilt * across + 0.12 * across**2
    return light.astype(np.float32)


def residual_gain(seed: int) -> NDArray[np.float64]:
    """Return what atmospheric correction left, ``(band,)``: oxygen at 761, vapour at 820, 940 nm.

    A slow calibration error of about a percent comes on top.
    """
    depth = [float(normal(seed, 83, k)) for k in range(5)]
    oxygen = 0.04 * depth[0] * bands(((761, 4, 1.0),), WAVELENGTH_NM)
    vapour = 0.025 * depth[1] * bands(((820, 9, 0.4), (940, 18, 1.0)), WAVELENGTH_NM)
    x = (WAVELENGTH_NM - 700) / 300
    return 1 + oxygen + vapour + 0.008 * depth[2] + 0.008 * depth[3] * x


def haze(seed: int) -> NDArray[np.float64]:
    """Return reflectance of air left in the signal, ``(band,)``: Rayleigh-like, below 0.005."""
    left: NDArray[np.float64] = (
        0.003 * np.exp(0.3 * float(normal(seed, 84))) * (WAVELENGTH_NM / 400) ** -3.5
    )
    return left


def noise_floor() -> NDArray[np.float64]:
    """Return the standard deviation of sensor noise on dark targets, ``(band,)`` reflectance."""
    blue = 0.006 * np.exp(-(WAVELENGTH_NM - 400) / 22)
    red: NDArray[np.float64] = 0.0012 + blue + 0.011 * np.exp((WAVELENGTH_NM - 1000) / 28)
    return red


def digitise(reflectance: NDArray[np.float32], *, seed: int, window: Window) -> NDArray[np.int16]:
    """Add sensor noise and round to stored units.

    Parameters
    ----------
    reflectance : ndarray
        ``(y, x, band) float32``; changed in place.
    seed : int
        Of the scene.
    window : Window
        Where the block lies; the noise depends on its corner.

    Returns
    -------
    ndarray
        ``(y, x, band) int16``, 1 to 30 000.
    """
    random = np.random.default_rng([seed, 85, window.row, window.col])
    floor = noise_floor().astype(np.float32)
    stored = np.empty(reflectance.shape, dtype=np.int16)
    for top in range(0, window.height, _ROWS):
        part = reflectance[top : top + _ROWS]
        spread = np.sqrt(floor**2 + np.float32(2.5e-5) * np.maximum(part, 0))
        part += spread * random.standard_normal(part.shape, dtype=np.float32)
        digits = np.rint(part * np.float32(1 / SCALE))
        stored[top : top + _ROWS] = np.clip(digits, 1, _MAX_STORED)
    return stored

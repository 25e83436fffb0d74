"""Sun and shade on a canopy surface, and how the surface mixes into spectral components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.synthetic._random import normal, smooth_noise, uniform
from hsimap.synthetic._trees import CELL_M, CELLS, Canopy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.geometry import Window

MAX_SHADOW_M: Final = 32.0
"""Longest shadow: 30 m of tree at the lowest sun, 43 degrees high."""
_EVERY: Final = 24
"""Steps of one cell before steps of two: crowns are wider than two cells."""
_MIN_DEPTH_M: Final = 0.8
_ROUGHNESS: Final = 0.30
COMPONENTS: Final = (
    "pine", "spruce", "birch", "pine_shade", "spruce_shade", "birch_shade",
    "pine_vigour", "spruce_vigour", "birch_vigour", "field", "ground", "field_shade",
    "ground_shade",
)  # fmt: skip
"""What a pixel mixes: crowns in sun and shade, the effect of vigour on their colour, and two
covers of the forest floor (field layer, ground layer) in sun and shade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sun:
    """Where the sun stands during a flight line."""

    zenith: float
    """Radians."""
    azimuth: float
    """Radians, clockwise from north (up)."""

    @property
    def towards(self) -> tuple[float, float]:
        """Unit vector to the sun on the ground: (rows down, columns right)."""
        return -float(np.cos(self.azimuth)), float(np.sin(self.azimuth))


def sun_of(seed: int) -> Sun:
    """Return the sun of a scene: around noon in June at 62 degrees north."""
    zenith = 40 + 5 * float(uniform(seed, 51))
    azimuth = 160 + 45 * float(uniform(seed, 52))
    return Sun(zenith=np.radians(zenith), azimuth=np.radians(azimuth))


def beam_through(canopy: Canopy, density: NDArray[np.float32], *, sun: Sun) -> NDArray[np.float32]:
    """Return the share of sunlight that reaches a canopy surface through the crowns around.

    Parameters
    ----------
    canopy : Canopy
        Crowns fill the space from their base to the surface; light passes below them.
    density : ndarray
        ``(y, x) float32``: effective leaf area density of the crowns, m2/m3.
    sun : Sun
        Where the light comes from.

    Returns
    -------
    ndarray
        ``(y, x) float32``: exp(-0.5 x leaf area on the way), spherical leaf angles; the way is
        followed for ``MAX_SHADOW_M`` along the ground.
    """
    area = np.zeros(canopy.height.shape, dtype=np.float32)
    rise = CELL_M / np.tan(sun.zenith)
    up, right = sun.towards
    farthest = min(MAX_SHADOW_M, float(canopy.height.max(initial=0.0)) * np.tan(sun.zenith))
    for step in range(1, int(farthest / CELL_M) + 1):
        if step > _EVERY and step % 2:
            continue
        here, there = _overlap(area.shape, round(step * up), round(step * right))
        ray = canopy.height[here] + np.float32(step * rise)
        inside = (canopy.height[there] > ray) & (canopy.base[there] < ray)
        area[here] += density[there] * inside * np.float32(2 if step > _EVERY else 1)
    passed: NDArray[np.float32] = np.exp(area * np.float32(-0.5 * CELL_M / np.sin(sun.zenith)))
    return passed


def _overlap(
    shape: tuple[int, ...], dy: int, dx: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    def pair(n: int, d: int) -> tuple[slice, slice]:
        n_over = max(n - abs(d), 0)
        start = max(-d, 0)
        return slice(start, start + n_over), slice(start + d, start + d + n_over)

    (here_y, there_y), (here_x, there_x) = pair(shape[0], dy), pair(shape[1], dx)
    return (here_y, here_x), (there_y, there_x)


def facing(height: NDArray[np.float32], sun: Sun) -> NDArray[np.float32]:
    """Return how much light a surface catches relative to level ground, ``(y, x)`` in 0 to 1.5."""
    slope_y, slope_x = (np.clip(d / CELL_M, -3, 3) for d in np.gradient(height))
    up, right = sun.towards
    cosine = np.cos(sun.zenith) - np.sin(sun.zenith) * (slope_y * up + slope_x * right)
    cosine /= np.sqrt(1 + slope_y**2 + slope_x**2)
    light: NDArray[np.float32] = np.clip(cosine / np.cos(sun.zenith), 0, 1.5).astype(np.float32)
    return light


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What the mixing needs of the stand below every cell; arrays ``(y, x)`` on cells."""

    crown_area: NDArray[np.float32]
    """Effective leaf area index inside a mean crown."""
    field: NDArray[np.float32]
    """Mean share of the field layer on the floor."""


def components(
    canopy: Canopy, structure: Structure, *, sun: Sun, window: Window, seed: int
) -> NDArray[np.float32]:
    """Return the weight of every component in every pixel.

    Parameters
    ----------
    canopy, structure
        On the cells of ``window``.
    sun : Sun
        Of the scene.
    window : Window
        In px.
    seed : int
        Of the scene.

    Returns
    -------
    ndarray
        ``(component, y, x) float32``, in the order of ``COMPONENTS``, on pixels.
    """
    crown = canopy.species >= 0
    gap = np.where(crown, np.exp(-0.5 * structure.crown_area * canopy.depth), 1.0)
    column = np.where(crown, structure.crown_area * canopy.depth, 0.0)
    density = column / np.maximum(canopy.height - canopy.base, _MIN_DEPTH_M)
    beam = beam_through(canopy, density.astype(np.float32), sun=sun)
    # Light that reaches the floor between the leaves of the crown above it.
    floor_beam = beam * np.where(crown, gap ** (1 / np.cos(sun.zenith)), 1.0)
    rough = np.exp(_ROUGHNESS * _cell_noise(window, seed) - _ROUGHNESS**2 / 2)
    leaf = (1 - gap) * rough * np.exp(0.10 * canopy.tone)
    lit = leaf * beam * (0.30 + 0.70 * facing(canopy.height, sun))
    open_view = 0.35 + 0.65 * np.exp(-0.12 * np.maximum(structure.crown_area, 0))
    field = field_share(structure.field, window, seed)
    weights = np.zeros((len(COMPONENTS), *crown.shape), dtype=np.float32)
    for k in range(3):
        mine = canopy.species == k
        weights[k], weights[3 + k] = lit * mine, leaf * mine
        weights[6 + k] = (lit + 0.3 * leaf) * mine * canopy.tone
    for k, share in enumerate((field, 1 - field)):
        weights[9 + k] = gap * floor_beam * share
        weights[11 + k] = gap * share * open_view
    return _to_pixels(weights)


def field_share(mean: NDArray[np.float32], window: Window, seed: int) -> NDArray[np.float32]:
    """Return the patchy share of the field layer on cells: tufts of 1 m in patches of 6 m."""
    row, col = _cells(window)
    patch = smooth_noise(row, col, step=8.0, keys=(seed, 61))
    tuft = smooth_noise(row, col, step=1.6, keys=(seed, 62))
    logit = np.log(mean / (1 - mean)) + 0.75 * patch + 0.65 * tuft
    share: NDArray[np.float32] = (1 / (1 + np.exp(-logit))).astype(np.float32)
    return share


def _cells(window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of a window's cells, in px."""
    row = window.row + (np.arange(window.height * CELLS) + 0.5) / CELLS
    col = window.col + (np.arange(window.width * CELLS) + 0.5) / CELLS
    rows, cols = np.meshgrid(row, col, indexing="ij")
    return rows, cols


def _cell_noise(window: Window, seed: int) -> NDArray[np.float64]:
    row = window.row * CELLS + np.arange(window.height * CELLS)
    col = window.col * CELLS + np.arange(window.width * CELLS)
    return normal(seed, 63, row[:, None], col[None, :])


def _to_pixels(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    n, height, width = weights.shape
    blocks = weights.reshape(n, height // CELLS, CELLS, width // CELLS, CELLS)
    mean: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return mean

"""Where stands lie: warped Voronoi cells around a jittered lattice, some joined in pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from scipy.spatial import cKDTree

from hsimap.synthetic._random import smooth_noise, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACING_PX: Final = 38.0
"""Mean distance of the Voronoi seeds: 27 m, so that small scenes hold enough stands."""
_JITTER: Final = 0.42
_JOINED: Final = 0.3
_WARPS: Final = ((36.0, 3.0), (9.0, 0.7))
"""(scale, amplitude) in px of the noise that bends the borders."""
_BEYOND: Final = 3
"""Rings of seeds outside the scene."""
_POSITION, _JOIN, _WARP = 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StandLayout:
    """The stands of one scene."""

    seed: int
    """Seed of the scene."""
    tree: cKDTree
    """Voronoi seeds, ``(seed, 2)`` as (row, column) in px."""
    stand: NDArray[np.int32]
    """``(seed,)``: index of the stand a Voronoi cell belongs to."""
    centre: NDArray[np.float64]
    """``(stand, 2)``: (row, column) in px of one of its Voronoi seeds."""

    @classmethod
    def of_scene(cls, size: int, *, seed: int) -> Self:
        """Lay out the stands of a square scene of ``size`` px."""
        n = int(np.ceil(size / SPACING_PX)) + 2 * _BEYOND
        row, col = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
        shift = [uniform(seed, _POSITION, axis, row, col) - 0.5 for axis in (0, 1)]
        seeds = SPACING_PX * np.stack(
            [
                lattice - _BEYOND + 0.5 + 2 * _JITTER * move
                for lattice, move in zip((row, col), shift, strict=True)
            ],
            axis=-1,
        )
        joined = (uniform(seed, _JOIN, row, col) < _JOINED) & (col + 1 < n)
        stand = (row * n + col + joined).ravel().astype(np.int32)
        seeds = seeds.reshape(-1, 2)
        return cls(seed=seed, tree=cKDTree(seeds), stand=stand, centre=seeds)

    def at(self, rows: NDArray[np.floating], cols: NDArray[np.floating]) -> NDArray[np.int32]:
        """Return the stand index at points (px coordinates, any one shape)."""
        bent = [np.asarray(rows, dtype=np.float64), np.asarray(cols, dtype=np.float64)]
        for octave, (step, amplitude) in enumerate(_WARPS):
            bent = [
                axis
                + amplitude
                * smooth_noise(rows, cols, step=step, keys=(self.seed, _WARP, octave, i))
                for i, axis in enumerate(bent)
            ]
        _, nearest = self.tree.query(np.stack(bent, axis=-1))
        stands: NDArray[np.int32] = self.stand[nearest]
        return stands

"""Single trees: where they stand, how large they are, and the canopy surface they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import find_objects

from hsimap.synthetic._forest import BIRCH, PINE, SPRUCE, StandTable
from hsimap.synthetic._random import normal, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.geometry import Window
    from hsimap.synthetic._stands import StandLayout

PIXEL_M: Final = 0.7
CELLS: Final = 2
"""Cells of the canopy surface along a pixel's side: 0.35 m."""
CELL_M: Final = PIXEL_M / CELLS
MAX_RADIUS_PX: Final = 4
"""No crown reaches further from its stem."""
_JITTER: Final = 0.72
_DBH_SPREAD: Final = 0.23
_CROWN: Final = np.array([[0.55, 0.058], [0.62, 0.060], [0.45, 0.066]])
"""Crown radius, m = a + b DBH (cm): 1.7 m at 20 cm (Kalliovirta & Tokola 2005: widths of 3-4 m)."""
_CROWN_LENGTH: Final = np.array([0.42, 0.72, 0.56])
"""Share of the height that carries the crown."""
_CROWN_SHAPE: Final = np.array([2.6, 1.1, 1.9])
"""Exponent of the profile: flat pine, conical spruce, round birch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Trees of a window; all arrays run over the trees."""

    row: NDArray[np.float64]
    """px."""
    col: NDArray[np.float64]
    """px."""
    species: NDArray[np.int64]
    """0 pine, 1 spruce, 2 birch."""
    height: NDArray[np.float64]
    """m."""
    radius: NDArray[np.float64]
    """Of the crown, m."""
    tone: NDArray[np.float64]
    """Standard normal; vigour of the tree, which shows in its colour and brightness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canopy:
    """The canopy surface of a window; all arrays ``(y, x)`` on cells of ``CELL_M``."""

    height: NDArray[np.float32]
    """m; 0 on the ground."""
    base: NDArray[np.float32]
    """Where the crown on top begins, m; 0 on the ground."""
    species: NDArray[np.int8]
    """Of the tree on top; -1 on the ground."""
    depth: NDArray[np.float32]
    """Foliage below, relative to the mean crown of the stand."""
    tone: NDArray[np.float32]
    """Of the tree on top."""


def crown_radius(species: NDArray[np.int64], dbh: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the crown radius (m) of trees of a species and diameter (cm) that stand free."""
    radius: NDArray[np.float64] = _CROWN[species, 0] + _CROWN[species, 1] * dbh
    return radius


def crown_cover(stands: StandTable) -> NDArray[np.float64]:
    """Return the share of ground under crowns, ``(stand,)``: regular, so above Poisson's."""
    area = sum(
        stands.shares[:, k] * crown_radius(np.full(stands.mean_dbh.shape, k), stands.mean_dbh) ** 2
        for k in (PINE, SPRUCE, BIRCH)
    )
    packed = np.pi * area * stands.stem_density / 10_000
    cover: NDArray[np.float64] = 1 - np.exp(-1.15 * packed)
    return cover.clip(0.15, 0.97)


def trees_of(
    layout: StandLayout, stands: StandTable, *, window: Window, stand_map: NDArray[np.int32]
) -> Trees:
    """Return the trees of a window; a tree does not depend on the window that shows it.

    Trees stand on a jittered lattice per stand, whose spacing is that of the stem density: planted
    and thinned forest is more regular than chance.

    Parameters
    ----------
    layout, stands
        Of the scene.
    window : Window
        In px; may reach beyond the scene.
    stand_map : ndarray
        ``(y, x) int32``: stand index of every pixel of the window.
    """
    boxes = _boxes(stand_map, window)
    points = [_lattice(layout.seed, stands, stand, box) for stand, box in boxes]
    stand, row, col, node = (np.concatenate(c, axis=-1) for c in zip(*points, strict=True))
    inside = layout.at(row, col) == stand
    stand, row, col, node = stand[inside], row[inside], col[inside], node[:, inside]
    key = (layout.seed, 30, stand, node[0], node[1])
    bound = stands.shares.cumsum(axis=1)[stand]
    species = (uniform(*key, 0)[:, None] > bound[:, :2]).sum(axis=1)
    size = np.exp(_DBH_SPREAD * normal(*key, 1) - _DBH_SPREAD**2)  # mean of size^2 is 1
    height = stands.mean_height[stand] * (1 + 0.45 * (size - 1)) * np.exp(0.05 * normal(*key, 2))
    radius = crown_radius(species, stands.mean_dbh[stand] * size) * np.exp(0.10 * normal(*key, 3))
    room = 58.0 / np.sqrt(stands.stem_density[stand])  # m: neighbours hold a crown back
    radius = np.minimum(radius, room).clip(0.4, MAX_RADIUS_PX * PIXEL_M)
    return Trees(
        row=row, col=col, species=species, height=height, radius=radius, tone=normal(*key, 4)
    )


def _lattice(
    seed: int, stands: StandTable, stand: int, box: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the lattice points of a stand in a box (px): stand, row, col and lattice node."""
    spacing = 100.0 / np.sqrt(stands.stem_density[stand]) / PIXEL_M
    turn = np.pi * float(uniform(seed, 31, stand))
    frame = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / spacing
    corners = frame @ np.stack([box[0].repeat(2), np.tile(box[1], 2)])
    first, last = np.floor(corners.min(axis=1)) - 1, np.ceil(corners.max(axis=1)) + 2
    u, v = np.meshgrid(np.arange(first[0], last[0]), np.arange(first[1], last[1]))
    node = np.stack([u.ravel(), v.ravel()]).astype(np.int64)
    shift = np.stack([uniform(seed, 32 + k, stand, *node) - 0.5 for k in (0, 1)])
    place = np.linalg.inv(frame) @ (node + _JITTER * shift)
    near = ((place >= box[:, :1]) & (place < box[:, 1:])).all(axis=0)
    return np.full(near.sum(), stand), place[0, near], place[1, near], node[:, near]


def _boxes(stand_map: NDArray[np.int32], window: Window) -> list[tuple[int, NDArray[np.int64]]]:
    """Return every stand of a window with its box: ``[[top, bottom], [left, right]]``, px."""
    present, index = np.unique(stand_map, return_inverse=True)
    found = find_objects(index.reshape(stand_map.shape) + 1)
    corner = np.array([[window.row], [window.col]])
    return [
        (int(stand), corner + np.array([[s.start - 1, s.stop + 1] for s in slices]))
        for stand, slices in zip(present, found, strict=True)
    ]


def canopy_of(trees: Trees, window: Window) -> Canopy:
    """Return the upper surface of the crowns over a window (px)."""
    shape = (window.height * CELLS, window.width * CELLS)
    height = np.zeros(shape[0] * shape[1], dtype=np.float32)
    owner = np.full(height.shape, -1, dtype=np.int64)
    depth = np.zeros(height.shape, dtype=np.float32)
    reach = np.ceil(trees.radius / CELL_M).astype(np.int64)
    for cells in np.unique(reach):
        pick = np.flatnonzero(reach == cells)
        cell, tree, surface, share = _stamp(trees, pick, int(cells), window)
        np.maximum.at(height, cell, surface)
        top = surface == height[cell]
        owner[cell[top]], depth[cell[top]] = tree[top], share[top]
    on = owner >= 0
    species = np.where(on, trees.species[owner], -1).astype(np.int8)
    tone = np.where(on, trees.tone[owner], 0.0).astype(np.float32)
    clear = trees.height * (1 - _CROWN_LENGTH[trees.species])
    base = np.where(on, np.minimum(clear[owner], 0.9 * height), 0.0).astype(np.float32)
    return Canopy(
        height=height.reshape(shape),
        base=base.reshape(shape),
        species=species.reshape(shape),
        depth=depth.reshape(shape),
        tone=tone.reshape(shape),
    )


def _stamp(
    trees: Trees, pick: NDArray[np.int64], cells: int, window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Return for every cell under some trees: its index, tree, surface height and crown depth."""
    dy, dx = np.mgrid[-cells - 1 : cells + 2, -cells - 1 : cells + 2].reshape(2, 1, -1)
    row = (trees.row[pick, None] - window.row) * CELLS
    col = (trees.col[pick, None] - window.col) * CELLS
    i, j = np.floor(row).astype(np.int64) + dy, np.floor(col).astype(np.int64) + dx
    away = np.hypot(i + 0.5 - row, j + 0.5 - col) * CELL_M / trees.radius[pick, None]
    # Branches make the outline ragged: the same cell of the same crown is always as rough.
    away = away * (1 + 0.16 * normal(41, i + window.row * CELLS, j + window.col * CELLS))
    away = np.abs(away)
    seen = (away < 1) & (i >= 0) & (i < window.height * CELLS)
    seen &= (j >= 0) & (j < window.width * CELLS)
    species, tall = trees.species[pick, None], trees.height[pick, None]
    profile = away ** _CROWN_SHAPE[species]
    surface = tall * (1 - _CROWN_LENGTH[species] * profile)
    cell = i * (window.width * CELLS) + j
    tree = np.broadcast_to(pick[:, None], seen.shape)
    depth = 1.75 * (1 - away**2) + 0.2
    return cell[seen], tree[seen], surface[seen].astype(np.float32), depth[seen].astype(np.float32)

"""How far a tiled map departs from one forward over all, and the trim that keeps it small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.geometry import Window, round_up
from hsimap.mapping.engine import Engine
from hsimap.mapping.flags import Flagged
from hsimap.mapping.tiling import TilePlan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from hsimap.mapping.adapter import Source
    from hsimap.networks import MappingNetwork
    from hsimap.runtimes import Runtime

SEAM_BAR: Final = 0.01
"""Largest 99.9th percentile of |tiled - whole|, in standard deviations of the output."""
_CROP: Final = 192
"""Side of the part of a scene that is mapped whole, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """What was found for each trim that was tried."""

    trim: int
    """The smallest trim that meets the bar, else the network's whole reach, in pixels. Errors are
    taken to fall with the trim: between the last that failed and the first that met the bar, the
    trims are halved."""
    ramp: int
    """Cross-fade that it was measured with, in pixels."""
    tile: int
    """Kept side that it was measured with, in pixels."""
    tried: Mapping[int, Mapping[str, float]]
    """Trim to output to 99.9th percentile of the error, in standard deviations of the output."""


class _Crop:
    """A window of a source as a source of its own."""

    def __init__(self, source: Source, window: Window) -> None:
        self._source, self._window = source, window
        self.to_network = source.to_network

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return stored values and validity; what lies outside the crop is invalid."""
        moved = window.shift(rows=self._window.row, cols=self._window.col)
        values, valid = self._source.read(moved)
        inside = np.zeros(valid.shape, dtype=bool)
        part = window.clip(height=self._window.height, width=self._window.width)
        inside[part.shift(rows=-window.row, cols=-window.col).slices] = True
        return values, valid & inside


def measure_seams(network: MappingNetwork, runtime: Runtime, source: Source, crop: Window) -> Seams:
    """Map a crop whole and in tiles of rising trim until the two agree.

    Parameters
    ----------
    network : MappingNetwork
        For its alignment, reach, patch and outputs.
    runtime : Runtime
        The network, running.
    source : Source
        Pixels.
    crop : Window
        The part to map.

    Returns
    -------
    Seams
    """
    step = network.alignment
    # Small tiles: more of their pixels lie near a seam than at any default tile.
    kept, ramp = round_up(network.spec.patch, step), round_up(8, step)
    reach = round_up(network.reach, step)
    part = _Crop(source, crop)

    def run(
        tile: int, trim: int, ramp: int
    ) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
        plan = TilePlan(
            height=crop.height, width=crop.width, kept=tile, trim=trim, ramp=ramp, alignment=step
        )
        return _map(Engine(plan, Flagged(part), runtime=runtime, outputs=network.outputs), plan)

    whole, valid = run(round_up(max(crop.height, crop.width), step), reach, 0)
    tried: dict[int, dict[str, float]] = {}

    def meets(trim: int) -> bool:
        tiled, _ = run(kept, trim, ramp)
        tried[trim] = {name: _error(tiled[name], whole[name], valid) for name in whole}
        return max(tried[trim].values()) <= SEAM_BAR

    trim = _smallest(meets, step=step, reach=reach)
    if trim not in tried:
        meets(trim)  # the whole reach: no trial decides, the figure is for the record
    return Seams(trim=trim, ramp=ramp, tile=kept, tried=dict(sorted(tried.items())))


def choose_crop(source: Source, shape: tuple[int, ...]) -> Window:
    """Return the window with the most valid pixels out of nine, at most 192 pixels a side.

    Parameters
    ----------
    source : Source
        Pixels.
    shape : tuple of int
        ``(height, width)`` of the scene, in pixels.
    """
    height, width = (min(side, _CROP) for side in shape)
    candidates = [
        Window(row=int(row), col=int(col), height=height, width=width)
        for row in dict.fromkeys(np.linspace(0, shape[0] - height, 3).astype(int).tolist())
        for col in dict.fromkeys(np.linspace(0, shape[1] - width, 3).astype(int).tolist())
    ]
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda window: int(source.read(window)[1].sum()))


def _smallest(meets: Callable[[int], bool], *, step: int, reach: int) -> int:
    """Double the trim until it meets the bar, then halve the gap; ``reach`` needs no trial."""
    low, high = -step, 0
    while high < reach and not meets(high):
        low, high = high, min(2 * high or step, reach)
    while high - low > step:
        middle = low + (high - low) // 2 // step * step
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high


def _map(
    engine: Engine, plan: TilePlan
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.bool_]]:
    strips = list(engine.strips(range(plan.n_rows)))
    maps = {
        name: np.concatenate([strip.values[name] for strip in strips], axis=1)
        for name in strips[0].values
    }
    return maps, np.concatenate([strip.valid for strip in strips])


def _error(
    tiled: NDArray[np.float32], whole: NDArray[np.float32], valid: NDArray[np.bool_]
) -> float:
    stride = -(-valid.shape[0] // whole.shape[1])
    seen = valid[::stride, ::stride]
    if not seen.any():
        return 0.0
    spread = max(float(whole[:, seen].std()), 1e-12)
    return float(np.quantile(np.abs(tiled - whole)[:, seen], 0.999)) / spread

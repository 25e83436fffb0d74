"""The zenith angle of the view, where the lines' own scenes come with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.errors import HsimapError
from hsimap.flightlines._grid import is_part, positions
from hsimap.flightlines._sample import sample
from hsimap.scenes import ConstantLayer, open_scene

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from numpy.typing import NDArray

    from hsimap.flightlines._lines import MappedLine
    from hsimap.geometry import Grid, Window
    from hsimap.scenes import Scene

_LAYER: Final = "view_zenith"


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneAngles:
    """Nadir by the angles that a scene comes with: the smaller, the better."""

    scene: Scene

    @property
    def grid(self) -> Grid:
        """Grid of the scene, for :func:`sample`."""
        return self.scene.grid

    def masked(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return a window of the angles, in degrees."""
        values = self.scene.read_layer(_LAYER, window)
        return values[None], np.isfinite(values)

    def at(self, window: Window, grid: Grid) -> NDArray[np.float64]:
        """Return minus the angle; where the layer has none, the worst."""
        values, valid = sample(self, positions(window, grid, self.grid))
        return np.where(valid, -np.abs(values[0]), -np.inf)


def angles_of(lines: Sequence[MappedLine], stack: ExitStack) -> list[SceneAngles] | None:
    """Open the scenes that lines were mapped from; None unless all come with angles by the pixel.

    Angles and distances cannot be compared, so that either all lines have them or none is used.
    """
    found = []
    for line in lines:
        if line.scene is None or not line.scene.exists():
            return None
        try:
            scene = stack.enter_context(open_scene(line.scene))
        except HsimapError:
            return None
        layer = scene.layers.get(_LAYER)
        if not is_part(line.grid, scene.grid) or layer is None or isinstance(layer, ConstantLayer):
            return None
        found.append(SceneAngles(scene=scene))
    return found

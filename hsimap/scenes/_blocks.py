"""What the blocks of a scene's lazy array are read with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hsimap.geometry import Window

if TYPE_CHECKING:
    from hsimap.scenes._scene import Scene


def read_block(scene: Scene, block_info: dict[None, dict[str, list[tuple[int, int]]]]) -> object:
    """Read the block of a dask array that lies at ``block_info``'s location."""
    _, (top, bottom), (left, right) = block_info[None]["array-location"]
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    return scene.raw(window)[0]


def read_mask(scene: Scene, block_info: dict[None, dict[str, list[tuple[int, int]]]]) -> object:
    """Read the file's own mask for the block of a dask array: True = no band is masked."""
    (top, bottom), (left, right) = block_info[None]["array-location"]
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    mask = scene.reader.read(window, [0])[1]
    if mask is not None and mask.shape != (window.height, window.width):
        mask = scene.raw(window)[1]
    return np.ones((window.height, window.width), dtype=bool) if mask is None else mask

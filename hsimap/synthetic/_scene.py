"""One simulated flight line, made block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from hsimap.geometry import Window
from hsimap.synthetic._forest import StandTable, draw_stands
from hsimap.synthetic._light import MAX_SHADOW_M, Structure, Sun, components, sun_of
from hsimap.synthetic._optics import N_BANDS
from hsimap.synthetic._random import smooth_noise, uniform
from hsimap.synthetic._sensor import NODATA, blur, digitise, haze, irradiance, residual_gain
from hsimap.synthetic._spectra import field_means, stand_spectra
from hsimap.synthetic._stands import StandLayout
from hsimap.synthetic._trees import (
    CELLS,
    MAX_RADIUS_PX,
    PIXEL_M,
    canopy_of,
    crown_cover,
    trees_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK_ROWS: Final = 128
BLOCK_COLS: Final = 1024
BORDER_PX: Final = 3
"""Pixels this near another stand, or the edge of the line, carry no label."""
AROUND_PX: Final = int(np.ceil(MAX_SHADOW_M / PIXEL_M)) + MAX_RADIUS_PX + 2
"""Pixels around a window whose trees may shade it or reach into it."""
_SHARES: Final = (0.6, 0.8)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightLine:
    """A simulated scene: everything in it follows from ``size`` and ``seed``."""

    size: int
    """Side, px."""
    seed: int
    layout: StandLayout
    stands: StandTable
    sun: Sun

    def blocks(self) -> Iterator[Window]:
        """Yield the windows it is made in, row by row."""
        for row in range(0, self.size, BLOCK_ROWS):
            for col in range(0, self.size, BLOCK_COLS):
                window = Window(row=row, col=col, height=BLOCK_ROWS, width=BLOCK_COLS)
                yield window.clip(height=self.size, width=self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A block of a flight line; arrays ``(y, x)`` unless said."""

    window: Window
    image: NDArray[np.int16]
    """``(y, x, band)`` reflectance x 10 000; 0 = outside the line."""
    classes: NDArray[np.uint8]
    """``(class task, y, x)`` codes; 0 = no label."""
    variables: NDArray[np.float32]
    """``(value task, y, x)`` physical units; NaN = no label."""
    stand_id: NDArray[np.int32]
    """From 1; 0 = outside the line."""
    split: NDArray[np.uint8]
    """1 train, 2 validation, 3 test, by whole stands; 0 = outside the line."""


def flight_line(*, size: int, seed: int) -> FlightLine:
    """Return the flight line of a side (px) and seed."""
    layout = StandLayout.of_scene(size, seed=seed)
    return FlightLine(
        size=size, seed=seed, layout=layout, stands=draw_stands(layout), sun=sun_of(seed)
    )


def make_block(line: FlightLine, window: Window) -> Block:
    """Simulate a window of a flight line (px)."""
    wide = Window(
        row=window.row - AROUND_PX,
        col=window.col - AROUND_PX,
        height=window.height + 2 * AROUND_PX,
        width=window.width + 2 * AROUND_PX,
    )
    rows, cols = _centres(wide)
    stand_map = line.layout.at(rows, cols)
    inner = (
        slice(AROUND_PX, AROUND_PX + window.height),
        slice(AROUND_PX, AROUND_PX + window.width),
    )
    weights = blur(component_weights(line, wide, stand_map))[(slice(None), *inner)]
    image = digitise(
        _reflectance(line, weights, stand_map[inner], window=window), seed=line.seed, window=window
    )
    inside = in_line(rows, cols, line=line)
    labelled = labelled_pixels(stand_map, inside)[inner]
    stand, inside = stand_map[inner], inside[inner]
    image[~inside] = NODATA
    return Block(
        window=window,
        image=image,
        classes=np.where(labelled, line.stands.classes()[:, stand], np.uint8(0)),
        variables=np.where(labelled, line.stands.values()[:, stand], np.float32(np.nan)),
        stand_id=np.where(inside, stand + 1, 0).astype(np.int32),
        split=np.where(inside, folds_of(line, stand), 0).astype(np.uint8),
    )


def folds_of(line: FlightLine, stand: NDArray[np.int32]) -> NDArray[np.intp]:
    """Return the fold of stands: 1 train, 2 validation, 3 test."""
    return 1 + np.searchsorted(_SHARES, uniform(line.seed, 91, stand))


def in_line(
    rows: NDArray[np.float64], cols: NDArray[np.float64], *, line: FlightLine
) -> NDArray[np.bool_]:
    """Return which points (px) a slanted, slightly rolling flight line covers."""
    slope = (0.05 + 0.04 * float(uniform(line.seed, 92))) * (
        1 if float(uniform(line.seed, 93)) < 0.5 else -1  # noqa: PLR2004  # a fair coin
    )
    middle = line.size / 2
    roll = 0.004 * line.size * smooth_noise(rows, 0 * rows, step=60.0, keys=(line.seed, 94))
    away = np.abs(cols - middle - slope * (rows - middle) - roll)
    inside: NDArray[np.bool_] = away <= 0.455 * line.size
    return inside & (rows > 0) & (rows < line.size) & (cols > 0) & (cols < line.size)


def component_weights(
    line: FlightLine, window: Window, stand_map: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return the share of every component in every pixel, ``(component, y, x)``, before the lens.

    Parameters
    ----------
    line : FlightLine
        The forest and its sun.
    window : Window
        In px of the forest.
    stand_map : ndarray
        ``(y, x) int32``: stand index of every pixel of the window.
    """
    trees = trees_of(line.layout, line.stands, window=window, stand_map=stand_map)
    table = np.stack(
        [
            line.stands.effective_leaf_area_index / crown_cover(line.stands),
            field_means(line.stands, line.seed),
        ]
    ).astype(np.float32)
    crown_area, field = table[:, stand_map].repeat(CELLS, axis=1).repeat(CELLS, axis=2)
    return components(
        canopy_of(trees, window),
        Structure(crown_area=crown_area, field=field),
        sun=line.sun,
        window=window,
        seed=line.seed,
    )


def _reflectance(
    line: FlightLine,
    weights: NDArray[np.float32],
    stand_map: NDArray[np.int32],
    *,
    window: Window,
) -> NDArray[np.float32]:
    """Mix the spectra of each stand and let the light of the line fall on it: ``(y, x, band)``."""
    light = irradiance(window, size=line.size, seed=line.seed)
    return mix(line, weights * light, stand_map, seed=line.seed)


def mix(
    line: FlightLine, weights: NDArray[np.float32], stand_map: NDArray[np.int32], *, seed: int
) -> NDArray[np.float32]:
    """Mix the spectra of each stand, as the sensor of a flight sees them.

    Parameters
    ----------
    line : FlightLine
        The forest.
    weights : ndarray
        ``(component, y, x) float32``, light included.
    stand_map : ndarray
        ``(y, x) int32``: stand index.
    seed : int
        Of the flight: haze and what atmospheric correction left.

    Returns
    -------
    ndarray
        ``(y, x, band) float32`` reflectance.
    """
    present, index = np.unique(stand_map, return_inverse=True)
    spectra = stand_spectra(line.stands, present.astype(np.int64), line.seed)
    spectra = (spectra * residual_gain(seed)).astype(np.float32)
    mixed = weights.reshape(len(weights), -1).T
    order = np.argsort(index.ravel(), kind="stable")
    ends = np.bincount(index.ravel()).cumsum()
    image = np.empty((mixed.shape[0], N_BANDS), dtype=np.float32)
    air = haze(seed).astype(np.float32)
    for k, pixels in enumerate(np.split(order, ends[:-1])):
        total = np.zeros((pixels.size, N_BANDS), dtype=np.float32)
        for share, spectrum in zip(mixed[pixels].T, spectra[k], strict=True):
            total += share[:, None] * spectrum  # no BLAS: its bits change with threads
        image[pixels] = total + air
    return image.reshape(*stand_map.shape, N_BANDS)


def labelled_pixels(stand_map: NDArray[np.int32], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels whose neighbourhood lies in one stand and in the line."""
    side = 2 * BORDER_PX + 1
    one = maximum_filter(stand_map, side) == minimum_filter(stand_map, side)
    pure: NDArray[np.bool_] = one & minimum_filter(inside, side)
    return pure


def _centres(window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, cols = np.meshgrid(
        window.row + np.arange(window.height) + 0.5,
        window.col + np.arange(window.width) + 0.5,
        indexing="ij",
    )
    return rows, cols

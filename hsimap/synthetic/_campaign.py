"""A campaign: several flight lines in several directions over one simulated forest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
from affine import Affine
from scipy.ndimage import map_coordinates

from hsimap.errors import UsageError
from hsimap.geometry import Window
from hsimap.synthetic._light import Sun, sun_of
from hsimap.synthetic._random import normal, smooth_noise, uniform
from hsimap.synthetic._scene import (
    AROUND_PX,
    BORDER_PX,
    Block,
    FlightLine,
    component_weights,
    flight_line,
    folds_of,
    labelled_pixels,
    mix,
)
from hsimap.synthetic._sensor import NODATA, digitise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BLOCK_ROWS: Final = 128
MAX_LINES: Final = 64
_SIDELAP: Final = 1.3
"""Width of a line over the distance to the next one, before the bends of its edges."""
_MOST_OVERLAP: Final = 0.9
_SWATH: Final = 0.47
"""Half of the imaged width over the width of the raster."""
_CROSS_FROM: Final = 4
"""Lines from which on the last one crosses the others."""
_TURN, _GAIN, _TILT, _CLOUD, _ROLL = 101, 102, 103, 104, 105


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignLine:
    """One flight line of a campaign."""

    number: int
    """From 1."""
    forest: FlightLine
    """The forest below, with the sun of this flight; its size is the forest's side, px."""
    seed: int
    """Of this flight: light, haze, noise."""
    width: int
    """Across the flight, px."""
    height: int
    """Along the flight, px."""
    to_forest: Affine
    """From (column, row) of the line, px, to (column, row) of the forest, px."""

    @property
    def heading(self) -> float:
        """Direction of flight, radians clockwise from north: rows count against it."""
        return float(np.arctan2(-self.to_forest.b, self.to_forest.e))

    def blocks(self) -> Iterator[Window]:
        """Yield the windows it is made in, row by row."""
        for row in range(0, self.height, BLOCK_ROWS):
            height = min(BLOCK_ROWS, self.height - row)
            yield Window(row=row, col=0, height=height, width=self.width)


def plan_campaign(
    *, size: int, seed: int, lines: int, overlap: float | None = None
) -> tuple[CampaignLine, ...]:
    """Lay flight lines over a forest.

    Parallel lines are flown to and fro; each strays by a few degrees. From four lines on, the last
    one crosses the others.

    Parameters
    ----------
    size : int
        Side of the forest, px of 0.7 m.
    seed : int
        Which forest and flights.
    lines : int
        How many, from 2 on.
    overlap : float, optional
        Share of a line's width that the next one sees as well, from 0 to 0.9; by default 0.23.

    Raises
    ------
    UsageError
        If there are too few or too many lines, or they overlap too much.
    """
    if overlap is not None and not 0 <= overlap <= _MOST_OVERLAP:
        raise UsageError(f"lines overlap by a share of 0 to {_MOST_OVERLAP}, got {overlap:g}")
    if not 2 <= lines <= MAX_LINES:  # noqa: PLR2004  # one line is no campaign
        raise UsageError(f"a campaign has 2 to {MAX_LINES} lines, got {lines}")
    forest = flight_line(size=size, seed=seed)
    parallel = lines - (lines >= _CROSS_FROM)
    step = size / parallel
    width = max(16, round(step * (_SIDELAP if overlap is None else 1 / (1 - overlap))))
    first = np.radians(6 + 8 * float(uniform(seed, _TURN)))
    planned = []
    for k in range(lines):
        stray = np.radians(1.2) * float(normal(seed, _TURN, k).clip(-1.5, 1.5))
        heading = first + stray + np.pi * (k % 2)
        away = (k + 0.5) * step - size / 2
        if k >= parallel:
            heading, away = first + stray + np.radians(68.0), 0.0
        right = np.array([np.cos(first), np.sin(first)])  # columns, rows
        centre = size / 2 + away * right * (k < parallel)
        planned.append(_line(forest, centre, heading, width=width, number=k + 1))
    return tuple(planned)


def _line(
    forest: FlightLine, centre: NDArray[np.float64], heading: float, *, width: int, number: int
) -> CampaignLine:
    """Place a line; it is as long as the forest's square needs in its direction."""
    side = forest.size
    reach = side * (abs(np.cos(heading)) + abs(np.sin(heading)))
    height = int(np.ceil(min(reach, side / max(abs(np.cos(heading)), abs(np.sin(heading))))))
    turn = Affine.rotation(float(np.degrees(heading)))
    place = Affine.translation(*centre) @ turn @ Affine.translation(-width / 2, -height / 2)
    seed = forest.seed * (MAX_LINES + 1) + number
    return CampaignLine(
        number=number,
        forest=replace(forest, sun=sun_of(seed)),
        seed=seed,
        width=width,
        height=height,
        to_forest=place,
    )


def make_campaign_block(line: CampaignLine, window: Window) -> Block:
    """Simulate a window of a campaign's flight line (px of the line).

    The canopy is built on the forest's own grid and sampled at the centres of the line's pixels,
    linearly between pixels, which spreads a point about as far as the lens of a single line does.
    """
    wide = Window(
        row=window.row - BORDER_PX,
        col=window.col - BORDER_PX,
        height=window.height + 2 * BORDER_PX,
        width=window.width + 2 * BORDER_PX,
    )
    inner = (slice(BORDER_PX, -BORDER_PX), slice(BORDER_PX, -BORDER_PX))
    rows, cols = _centres(line, wide)
    stand_map = line.forest.layout.at(rows, cols)
    inside = _inside(line, wide, rows, cols)
    labelled = labelled_pixels(stand_map, inside)[inner]
    stand, inside = stand_map[inner], inside[inner]
    weights = sampled_weights(line, rows[inner], cols[inner]) * brightness(line, window)
    reflectance = mix(line.forest, weights, stand, seed=line.seed)
    image = digitise(reflectance, seed=line.seed, window=window)
    image[~inside] = NODATA
    return _labelled_block(line.forest, image, stand, labelled=labelled, inside=inside, at=window)


def truth_block(forest: FlightLine, window: Window) -> Block:
    """Return the labels of a window of the forest itself, north up; the image has no bands."""
    wide = Window(
        row=window.row - BORDER_PX,
        col=window.col - BORDER_PX,
        height=window.height + 2 * BORDER_PX,
        width=window.width + 2 * BORDER_PX,
    )
    inner = (slice(BORDER_PX, -BORDER_PX), slice(BORDER_PX, -BORDER_PX))
    rows, cols = np.meshgrid(
        wide.row + np.arange(wide.height) + 0.5,
        wide.col + np.arange(wide.width) + 0.5,
        indexing="ij",
    )
    inside = _in_square(forest.size, rows, cols)
    stand_map = forest.layout.at(rows, cols)
    labelled = labelled_pixels(stand_map, inside)[inner]
    image = np.zeros((window.height, window.width, 0), dtype=np.int16)
    stand, inside = stand_map[inner], inside[inner]
    return _labelled_block(forest, image, stand, labelled=labelled, inside=inside, at=window)


def _labelled_block(
    forest: FlightLine,
    image: NDArray[np.int16],
    stand: NDArray[np.int32],
    *,
    labelled: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    at: Window,
) -> Block:
    return Block(
        window=at,
        image=image,
        classes=np.where(labelled, forest.stands.classes()[:, stand], np.uint8(0)),
        variables=np.where(labelled, forest.stands.values()[:, stand], np.float32(np.nan)),
        stand_id=np.where(inside, stand + 1, 0).astype(np.int32),
        split=np.where(inside, folds_of(forest, stand), 0).astype(np.uint8),
    )


def _centres(line: CampaignLine, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the centres of a line's pixels lie in the forest: rows and columns, px."""
    row, col = np.meshgrid(
        window.row + np.arange(window.height) + 0.5,
        window.col + np.arange(window.width) + 0.5,
        indexing="ij",
    )
    a = line.to_forest
    return a.d * col + a.e * row + a.f, a.a * col + a.b * row + a.c


def _in_square(
    size: int, rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return (rows > 0) & (rows < size) & (cols > 0) & (cols < size)


def _inside(
    line: CampaignLine, window: Window, rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Return which pixels the sensor saw: a band with bent edges, within the forest."""
    row = window.row + np.arange(window.height) + 0.5
    across = window.col + np.arange(window.width) + 0.5 - line.width / 2
    bend = smooth_noise(row, 0 * row, step=90.0, keys=(line.seed, _ROLL))
    away = np.abs(across[None, :] - 0.008 * line.width * bend[:, None])
    seen: NDArray[np.bool_] = (away <= _SWATH * line.width) & _in_square(
        line.forest.size, rows, cols
    )
    return seen


def sampled_weights(
    line: CampaignLine, rows: NDArray[np.float64], cols: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return the weights of the components at points of the forest, ``(component, y, x)``."""
    top, left = int(np.floor(rows.min())) - 1, int(np.floor(cols.min())) - 1
    box = Window(
        row=top - AROUND_PX,
        col=left - AROUND_PX,
        height=int(np.ceil(rows.max())) + 1 - top + 2 * AROUND_PX,
        width=int(np.ceil(cols.max())) + 1 - left + 2 * AROUND_PX,
    )
    row, col = np.meshgrid(
        box.row + np.arange(box.height) + 0.5, box.col + np.arange(box.width) + 0.5, indexing="ij"
    )
    layers = component_weights(line.forest, box, line.forest.layout.at(row, col))
    points = np.stack([rows - 0.5 - box.row, cols - 0.5 - box.col])
    return np.stack([map_coordinates(layer, points, order=1) for layer in layers])


def sun_from_the_side(line: CampaignLine, sun: Sun) -> float:
    """Return the sine of the sun's azimuth from the direction of flight: 1 = from the right."""
    return float(np.sin(sun.azimuth - line.heading))


def brightness(line: CampaignLine, window: Window) -> NDArray[np.float32]:
    """Return brightness over the line, ``(y, x)``.

    A gain of the flight, thin cloud along it, and anisotropy across it: the forest is brighter on
    the side away from the sun, where sunlit crowns are seen.
    """
    row, col = np.mgrid[
        window.row : window.row + window.height, window.col : window.col + window.width
    ]
    across = (col + 0.5) / line.width - 0.5
    gain = np.exp(0.05 * float(normal(line.seed, _GAIN)))
    cloud = 0.025 * smooth_noise(row, col, step=140.0, keys=(line.seed, _CLOUD))
    tilt = -0.20 * sun_from_the_side(line, line.forest.sun) + 0.03 * float(normal(line.seed, _TILT))
    light: NDArray[np.float32] = gain * (1 + cloud + tilt * across + 0.15 * across**2)
    return light.astype(np.float32)

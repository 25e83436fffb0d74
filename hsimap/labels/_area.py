"""An area of interest: which pixels of a scene are to be mapped."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyproj
import shapely
from pyproj.exceptions import CRSError

from hsimap.errors import OutsideError, UsageError
from hsimap.geometry import Window, round_up
from hsimap.labels._features import Features, read_features, to_pixels, to_scene_crs
from hsimap.labels._vector import VectorBand

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.geometry import Grid

_CORNERS: Final = 4
_LEAST_SHARE: Final = 1e-6
"""Of a pixel; less than this is a border that two pixels share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaSpec:
    """What a user states of an area; where both are given, what lies in both."""

    bbox: tuple[float, float, float, float] | None = None
    """West, south, east and north."""
    crs: str | None = None
    """Of the box, as ``EPSG:4326``; None = the scene's."""
    polygons: Path | None = None
    """Vector file of polygons, in any reference system."""

    def __post_init__(self) -> None:
        """Refuse a box without extent."""
        if self.bbox and not (self.bbox[0] < self.bbox[2] and self.bbox[1] < self.bbox[3]):
            raise UsageError(
                f"--bbox is xmin,ymin,xmax,ymax with xmin < xmax and ymin < ymax, got"
                f" {','.join(f'{value:g}' for value in self.bbox)}"
            )

    def identity(self) -> dict[str, object]:
        """Return what tells one area from another, as plain JSON data."""
        told: dict[str, object] = {}
        if self.bbox is not None:
            told |= {"bbox": list(self.bbox), "crs": self.crs}
        if self.polygons is not None:
            told["polygons"] = hashlib.sha256(self.polygons.read_bytes()).hexdigest()
        return told


class Area:
    """Pixels of a scene of which some part lies in an area.

    Parameters
    ----------
    spec : AreaSpec
        The area.
    grid : Grid
        The scene's grid, which may be rotated.
    step : int
        The window begins and ends at multiples of this many pixels, or at the scene's edge.

    Raises
    ------
    UsageError
        If there is no such file, the reference system is unknown, or the file holds no polygon.
    OutsideError
        If no part of the area lies on the scene.
    InputError
        If one of the two lacks a reference system.
    """

    def __init__(self, spec: AreaSpec, grid: Grid, *, step: int = 1) -> None:
        found = []
        if spec.bbox is not None:
            found.append(_box(spec.bbox, spec.crs, grid))
        if spec.polygons is not None:
            found.append(_polygons(spec.polygons, grid))
        shape = found[0].shapes if len(found) == 1 else _shared(found)
        frame = shapely.box(0, 0, grid.width, grid.height)
        near = shape[shapely.area(shapely.intersection(shape, frame)) > _LEAST_SHARE]
        if not near.size:
            raise OutsideError(
                f"no part of {' and '.join(str(part.path) for part in found)} lies on the scene;"
                " check the coordinates and their reference system"
            )
        self._frame = grid.window
        self._tree = shapely.STRtree(near)
        same = replace(found[0], shapes=near, values=np.ones(near.size, np.int64), notes=())
        self._band = VectorBand(same, grid=grid, rule="majority", min_coverage=_LEAST_SHARE)
        self.window: Window = _bounds(near, step).clip(height=grid.height, width=grid.width)
        """The smallest that holds every such pixel, but for ``step``."""
        self.notes: tuple[str, ...] = tuple(note for part in found for note in part.notes)

    def touches(self, window: Window) -> bool:
        """Whether the area may touch a pixel of a window of the scene."""
        left, top = window.col, window.row
        box = shapely.box(left, top, left + window.width, top + window.height)
        return bool(self._tree.query(box, predicate="intersects").size)

    def read(self, window: Window) -> NDArray[np.bool_]:
        """Return ``(y, x)`` True = some part of the pixel lies in the area."""
        return self._band.read(window)[1]


def _bounds(shapes: NDArray[Any], step: int) -> Window:
    """Return the window of whole pixels that shapes lie in."""
    left, top, right, bottom = (float(value) for value in shapely.total_bounds(shapes))
    row, col = (floor(max(start + _LEAST_SHARE, 0)) // step * step for start in (top, left))
    height = round_up(max(ceil(bottom - _LEAST_SHARE) - row, 1), step)
    width = round_up(max(ceil(right - _LEAST_SHARE) - col, 1), step)
    return Window(row=row, col=col, height=height, width=width)


def _box(bbox: tuple[float, ...], crs: str | None, grid: Grid) -> Features:
    """Return a box in the pixels of a grid; in another reference system its sides may bend."""
    name = Path(f"the box {','.join(f'{value:g}' for value in bbox)}")
    stated = grid.crs
    if crs is not None:
        try:
            stated = pyproj.CRS.from_user_input(crs).to_wkt()
        except CRSError:
            raise UsageError(f"{crs!r} is no reference system; state one as EPSG:32635") from None
    shapes = np.array([shapely.box(*bbox)])
    box = Features(path=name, shapes=shapes, values=np.ones(1, np.int64), notes=())
    return to_pixels(to_scene_crs(box, stated, grid), grid)


def _polygons(path: Path, grid: Grid) -> Features:
    features = read_features(path, grid=grid, field=None, overlaps=True)
    flat = shapely.get_dimensions(features.shapes) == 2  # noqa: PLR2004  # polygons
    if not flat.all():
        raise UsageError(f"{path} holds points; an area of interest is made of polygons")
    return features


def _shared(parts: list[Features]) -> NDArray[Any]:
    one, two = (shapely.union_all(part.shapes) for part in parts)
    pieces = shapely.get_parts(shapely.intersection(one, two))
    flat: NDArray[Any] = pieces[shapely.get_dimensions(pieces) == 2]  # noqa: PLR2004  # polygons
    return flat


def parse_bbox(text: str) -> tuple[tuple[float, float, float, float], str | None]:
    """Read ``xmin,ymin,xmax,ymax`` with a reference system behind it, if there is one.

    Raises
    ------
    UsageError
        If it is no such box.

    Examples
    --------
    >>> parse_bbox("24.1,60.9,24.2,61,EPSG:4326")
    ((24.1, 60.9, 24.2, 61.0), 'EPSG:4326')
    """
    parts = [part.strip() for part in text.split(",", maxsplit=_CORNERS)]
    try:
        west, south, east, north = (float(part) for part in parts[:_CORNERS])
    except ValueError:
        raise UsageError(
            f"--bbox is xmin,ymin,xmax,ymax, with a reference system behind it if it is not the"
            f" scene's (…,EPSG:4326); got {text!r}"
        ) from None
    return (west, south, east, north), parts[_CORNERS] if len(parts) > _CORNERS else None

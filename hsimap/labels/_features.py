"""Read vector features and bring them to the pixel coordinates of a scene."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyproj
import shapely

from hsimap.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Grid

_LONGEST_EDGE_PX: Final = 16.0
"""Edges are cut to this length before a change of CRS bends them."""
_OVERLAP_PX: Final = 1e-6
"""Least area of an overlap."""
_LISTED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Polygons and points with a value each."""

    path: Path
    """The file they come from."""
    shapes: NDArray[Any]
    """``(feature,)`` geometries in (column, row) of the scene, pixel corners at whole numbers."""
    values: NDArray[Any]
    """``(feature,)`` the field's value: int64 codes or float64."""
    notes: tuple[str, ...]
    """What was left out or assumed, a sentence each."""
    texts: tuple[str, ...] = ()
    """All texts of the field in the file, sorted, also of features that were left out."""


def read_features(
    path: Path,
    *,
    grid: Grid,
    field: str | None,
    layer: str | None = None,
    buffer: float = 0.0,
    overlaps: bool = False,
) -> Features:
    """Read a layer of polygons or points onto a scene's grid.

    Parameters
    ----------
    path : Path
        GeoPackage, Shapefile, GeoJSON or any other format of GDAL's vector drivers.
    grid : Grid
        The scene's grid; the features are brought to its CRS.
    field : str or None
        Attribute whose value is taken; None = the number of the feature, from 1.
    layer : str, optional
        Needed where the file has several.
    buffer : float
        By how much features are grown, or shrunk if negative, in units of the scene's CRS.
    overlaps : bool
        Whether polygons of different values keep what they share; else the later lies on top.

    Returns
    -------
    Features
        Without those that have no geometry, no value, or nothing left after the buffer.

    Raises
    ------
    UsageError
        If there is no such file, layer or field, or a buffer is asked for in degrees.
    InputError
        If the file is damaged, holds lines, or one of file and scene lacks a CRS.
    """
    table, shapes, values = _read(path, layer=layer, field=field)
    features = Features(path=path, shapes=shapes, values=values, notes=(), texts=_texts(values))
    features = _keep(features, _has_value(values), "have no value")
    features = _keep(features, ~shapely.is_empty(features.shapes), "have no geometry")
    features = replace(features, shapes=_areas(path, features.shapes))
    features = to_scene_crs(features, table["crs"], grid)
    if buffer:
        _check_buffer(grid)
        features = replace(features, shapes=shapely.buffer(features.shapes, buffer))
        remedy = f"are gone after the buffer of {buffer:g}"
        features = _keep(features, ~shapely.is_empty(features.shapes), remedy)
    features = to_pixels(features, grid)
    return features if overlaps else _without_overlaps(features)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTable:
    """A vector layer as it stands in its file."""

    shapes: NDArray[Any]
    """``(feature,)`` geometries in ``crs``."""
    fields: Mapping[str, NDArray[Any]]
    """``(feature,)`` values of each attribute."""
    crs: str | None
    """What the file states, as WKT or authority code."""


def read_table(path: Path, *, layer: str | None = None) -> FeatureTable:
    """Read a vector layer with all attributes; row k is number k + 1 of :func:`read_features`.

    Raises
    ------
    UsageError
        If there is no such file or layer.
    InputError
        If the file is damaged or holds no feature.
    """
    import pyogrio

    _, shapes, _ = _read(path, layer=layer, field=None)
    chosen = _layer(path, [str(name) for name in pyogrio.list_layers(path)[:, 0]], layer)
    table, _, _, data = pyogrio.raw.read(path, layer=chosen, force_2d=True)
    names = [str(name) for name in table["fields"]]
    return FeatureTable(shapes=shapes, fields=dict(zip(names, data, strict=True)), crs=table["crs"])


def as_codes(features: Features, classes: Mapping[str, int] | None) -> Features:
    """Turn the values into whole-number codes.

    Parameters
    ----------
    features : Features
        With texts or numbers.
    classes : mapping of str to int or None
        Code of each text; None = the values are codes.

    Raises
    ------
    InputError
        If a value is in ``classes`` nowhere, or is no whole number.
    """
    if classes is not None:
        texts = [str(value) for value in features.values]
        unknown = sorted({text for text in texts if text not in classes})
        if unknown:
            raise InputError(
                f"{features.path} holds {', '.join(map(repr, unknown[:_LISTED]))}, which"
                f" `classes:` does not name (it has {', '.join(map(repr, classes))}); add a code"
                " for each, 0 = no label"
            )
        codes = np.array([classes[text] for text in texts], dtype=np.int64)
        return replace(features, values=codes)
    numbers = as_numbers(features).values
    if (numbers != np.floor(numbers)).any():
        bad = numbers[numbers != np.floor(numbers)][0]
        raise InputError(f"{features.path} holds the class code {bad:g}; codes are whole numbers")
    return replace(features, values=numbers.astype(np.int64))


def as_numbers(features: Features) -> Features:
    """Turn the values into float64.

    Raises
    ------
    InputError
        If one is no number.
    """
    try:
        return replace(features, values=features.values.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{features.path} holds a value that is no number ({error}); name codes for texts with"
            " `classes: {text: code}`"
        ) from None


def as_ids(features: Features) -> Features:
    """Turn the values into whole numbers; the file's texts are numbered from 1 as they sort."""
    if features.values.dtype.kind in "iuf":
        return features
    rank = np.searchsorted(np.array(features.texts), features.values.astype(str))
    return replace(features, values=rank.astype(np.int64) + 1)


def _read(
    path: Path, *, layer: str | None, field: str | None
) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any]]:
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError, FieldError

    if not path.exists():
        raise UsageError(f"vector file {path} does not exist; check the path and the data folder")
    try:
        layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
        chosen = _layer(path, layers, layer)
        fields = [str(name) for name in pyogrio.read_info(path, layer=chosen)["fields"]]
        if field is not None and field not in fields:
            raise UsageError(
                f"{path} has no field {field!r}; it has {', '.join(fields) or 'none at all'}"
            )
        columns = [] if field is None else [field]
        table, numbers, geometry, data = pyogrio.raw.read(
            path, layer=chosen, columns=columns, force_2d=True, return_fids=True
        )
    except (DataSourceError, DataLayerError, FieldError) as error:
        raise InputError(f"{path} is no readable vector file: {error}") from None
    if geometry is None or not len(geometry):
        raise InputError(f"{path} holds no feature; check the layer ({', '.join(layers)})")
    values = np.arange(1, len(numbers) + 1) if field is None else data[0]
    return table, shapely.from_wkb(geometry), values


def _layer(path: Path, layers: Sequence[str], wanted: str | None) -> str:
    if wanted is None and len(layers) == 1:
        return layers[0]
    if wanted is None or wanted not in layers:
        said = "several layers; name one" if wanted is None else f"no layer {wanted!r}; name one"
        raise UsageError(f"{path} has {said} with `layer:` ({', '.join(layers)})")
    return wanted


def _texts(values: NDArray[Any]) -> tuple[str, ...]:
    if values.dtype.kind in "iuf":
        return ()
    return tuple(sorted({str(value) for value in values if value is not None}))


def _has_value(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "f":
        known: NDArray[np.bool_] = np.isfinite(values)
        return known
    return np.array([value is not None for value in values], dtype=bool)


def _keep(features: Features, keep: NDArray[np.bool_], why: str) -> Features:
    keep = keep & ~shapely.is_missing(features.shapes)
    if keep.all():
        return features
    if not keep.any():
        raise InputError(f"all {keep.size} features of {features.path} {why}")
    note = f"{(~keep).sum()} of {keep.size} features of {features.path.name} {why}"
    return replace(
        features,
        shapes=features.shapes[keep],
        values=features.values[keep],
        notes=(*features.notes, note),
    )


def _areas(path: Path, shapes: NDArray[Any]) -> NDArray[Any]:
    """Mend broken polygons; refuse lines."""
    if (shapely.get_dimensions(shapes) == 1).any():
        raise InputError(f"{path} holds lines; labels need polygons or points (buffer the lines)")
    broken = ~shapely.is_valid(shapes)
    mended = shapes.copy()
    mended[broken] = shapely.make_valid(shapes[broken], method="structure")
    return mended


def to_scene_crs(features: Features, stated: str | None, grid: Grid) -> Features:
    """Bring features of a stated CRS to a grid's."""
    if stated is None and grid.crs is None:
        note = f"neither {features.path.name} nor the scene states a CRS; taken as the same"
        return replace(features, notes=(*features.notes, note))
    if stated is None or grid.crs is None:
        name = features.path.name
        who, other = (name, "the scene") if stated is None else ("the scene", name)
        raise InputError(
            f"{who} states no coordinate reference system and {other} does; assign it the right"
            f" one before the features of {features.path} are used"
        )
    found, wanted = pyproj.CRS.from_user_input(stated), pyproj.CRS.from_wkt(grid.crs)
    if found.equals(wanted, ignore_axis_order=True):
        return features
    change = pyproj.Transformer.from_crs(found, wanted, always_xy=True)
    longest = _LONGEST_EDGE_PX * _pixel_in(pyproj.CRS(found), wanted, grid)
    dense = shapely.segmentize(features.shapes, longest)
    moved = shapely.transform(dense, lambda xy: np.stack(change.transform(*xy.T), axis=1))
    return replace(features, shapes=moved)


def to_pixels(features: Features, grid: Grid) -> Features:
    """Bring features of a grid's CRS to its (column, row)."""
    inverse = ~grid.transform
    pixels = shapely.transform(
        features.shapes,
        lambda xy: np.stack(
            [
                inverse.a * xy[:, 0] + inverse.b * xy[:, 1] + inverse.c,
                inverse.d * xy[:, 0] + inverse.e * xy[:, 1] + inverse.f,
            ],
            axis=1,
        ),
    )
    return replace(features, shapes=pixels)


def _pixel_in(found: pyproj.CRS, wanted: pyproj.CRS, grid: Grid) -> float:
    """Return the size of a pixel in units of another CRS, at the middle of the scene."""
    back = pyproj.Transformer.from_crs(wanted, found, always_xy=True)
    middle = (grid.width / 2, grid.height / 2)
    corners = [grid.transform @ middle, grid.transform @ (middle[0] + 1, middle[1])]
    here, there = (np.array(back.transform(*corner)) for corner in corners)
    return float(np.hypot(*(there - here)))


def _check_buffer(grid: Grid) -> None:
    if grid.crs is not None and pyproj.CRS.from_wkt(grid.crs).is_geographic:
        raise UsageError(
            "a buffer needs a scene in a projected CRS, and this one is in degrees; buffer the"
            " features beforehand"
        )


def _without_overlaps(features: Features) -> Features:
    """Cut from each polygon what a later one of another value lies on."""
    shapes = features.shapes.copy()
    areal = shapely.get_dimensions(shapes) == 2  # noqa: PLR2004  # polygons
    under, over = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    later = (over > under) & areal[under] & areal[over]
    under, over = under[later], over[later]
    differ = features.values[under] != features.values[over]
    under, over = under[differ], over[differ]
    real = shapely.area(shapely.intersection(shapes[under], shapes[over])) > _OVERLAP_PX
    if not real.any():
        return features
    for i in np.unique(under[real]):
        on_top = shapely.union_all(features.shapes[over[real & (under == i)]])
        shapes[i] = shapely.difference(shapes[i], on_top)
    note = (
        f"{int(real.sum())} pairs of polygons of {features.path.name} with different values"
        " overlap; the later in the file lies on top"
    )
    return replace(features, shapes=shapes, notes=(*features.notes, note))

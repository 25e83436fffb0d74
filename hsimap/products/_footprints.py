"""Where the scenes lie: the outline of what was mapped, as a GeoPackage."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyproj
import shapely
from affine import Affine
from rasterio.features import shapes as polygons_of

from hsimap.errors import StorageError
from hsimap.products._write import read_coarse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Grid
    from hsimap.products._folder import MapFolder

FOOTPRINTS: Final = "scenes.gpkg"
VECTORS: Final = "pyogrio"
"""The library that writes them; half a second to load, so that it is loaded late."""
_SIDE: Final = 512
_CLOCK: Final = {"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"}
"""A GeoPackage holds the time of its last change; equal content is to have equal bytes."""


def write_footprints(path: Path, folders: Sequence[MapFolder], *, crs: str | None = None) -> None:
    """Write one polygon a folder of maps: what it is called, its model, its valid share.

    Parameters
    ----------
    path : Path
        The GeoPackage.
    folders : sequence of MapFolder
        The scenes.
    crs : str, optional
        WKT of the outlines; by default that of the first folder's maps.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    crs = crs or folders[0].layers[0].grid.crs
    outlines, shares = zip(*(outline_of(folder, crs) for folder in folders), strict=True)
    tags = [folder.layers[0].tags for folder in folders]
    fields = {
        "scene": np.array([folder.name for folder in folders], dtype=object),
        "model": np.array([tag.get("HSIMAP_MODEL", "") for tag in tags], dtype=object),
        "valid_share": np.array(shares, dtype=np.float64),
    }
    write_vectors(path, np.array(outlines, dtype=object), fields=fields, crs=crs, layer="scenes")


def write_vectors(
    path: Path,
    shapes: NDArray[Any],
    *,
    fields: Mapping[str, NDArray[Any]],
    crs: str | None,
    layer: str,
) -> None:
    """Write a layer of features as a GeoPackage whose bytes repeat.

    Parameters
    ----------
    path : Path
        Replaced where it is there.
    shapes : ndarray
        ``(feature,)`` shapely geometries.
    fields : mapping
        ``(feature,)`` values of each attribute.
    crs : str or None
        WKT of the geometries.
    layer : str
        Name of the layer in the file.

    Raises
    ------
    StorageError
        If it cannot be written.
    """
    import pyogrio

    path.unlink(missing_ok=True)
    kind, geometry = _of_one_type(shapes)
    pyogrio.set_gdal_config_options(_CLOCK)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided")
            pyogrio.raw.write(
                path,
                geometry,
                [np.asarray(values) for values in fields.values()],
                list(fields),
                layer=layer,
                driver="GPKG",
                dataset_options={"VERSION": "1.2"},  # the newest that GDAL 3.6 knows whole
                geometry_type=kind,
                crs=crs,
            )
    except (pyogrio.errors.DataSourceError, OSError) as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(_CLOCK))


def _of_one_type(shapes: NDArray[Any]) -> tuple[str, NDArray[Any]]:
    """Return features as WKB, all of one type where they can be, and that type."""
    sizes = set(shapely.get_dimensions(shapes).tolist())
    whole = {2: shapely.multipolygons, 0: shapely.multipoints}.get(min(sizes))
    if len(sizes) > 1 or whole is None:
        return "Unknown", shapely.to_wkb(shapes)
    parts = np.array([whole(shapely.get_parts(shape)) for shape in shapes])
    return "MultiPolygon" if 2 in sizes else "MultiPoint", shapely.to_wkb(parts)  # noqa: PLR2004


def outline_of(folder: MapFolder, crs: str | None) -> tuple[Any, float]:
    """Return the outline of a folder's valid pixels in a CRS, and their share of the raster.

    The outline is drawn from an overview, so it is right to one pixel of that; holes are left out.
    Where no pixel is valid it is the raster's.
    """
    layer = folder.layers[0]
    values = read_coarse(folder.file(layer), side=_SIDE)
    plane = values[0]
    valid = ~np.isnan(plane) if layer.kind == "values" else plane != layer.nodata
    height, width = plane.shape
    grid = layer.grid
    coarse = grid.transform @ Affine.scale(grid.width / width, grid.height / height)
    share = float(valid.mean())
    outline = frame_of(grid)
    if 0 < share < 1:
        found = polygons_of(valid.astype(np.uint8), mask=valid, transform=coarse)
        rings = [shapely.Polygon(place["coordinates"][0]) for place, _ in found]
        size = np.sqrt(abs(coarse.determinant))
        outline = shapely.simplify(shapely.union_all(rings), size)
    return _moved(outline, grid.crs, crs), share


def frame_of(grid: Grid) -> Any:  # noqa: ANN401  # shapely has no types
    """Return the polygon of a whole grid, which may be rotated."""
    corners = ((0, 0), (0, grid.height), (grid.width, grid.height), (grid.width, 0))
    return shapely.Polygon([grid.transform @ corner for corner in corners])


def _moved(shape: Any, source: str | None, target: str | None) -> Any:  # noqa: ANN401
    """Bring a polygon to another CRS."""
    if source == target or source is None or target is None:
        return shape
    change = pyproj.Transformer.from_crs(source, target, always_xy=True)
    return shapely.transform(shape, lambda xy: np.stack(change.transform(*xy.T), axis=1))

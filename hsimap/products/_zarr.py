"""Finished maps as a Zarr store: version 2 for GDAL and QGIS, version 3 as GeoZarr."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyproj
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from hsimap.errors import OutputExistsError, StorageError
from hsimap.products._layer import BLOCK, Layer, describe_codes
from hsimap.products._manifest import write_manifest
from hsimap.products._overviews import level_shapes
from hsimap.products._qgis import bounds_of
from hsimap.products._styles import write_qml
from hsimap.products._vrt import array_name, write_vrt
from hsimap.products._write import codes_in, display_limits

if TYPE_CHECKING:
    from pathlib import Path

    from hsimap.geometry import Grid
    from hsimap.products._folder import MapFolder

STORE: Final = "maps.zarr"
ZarrFormat = Literal[2, 3]
_CONVENTIONS: Final = {
    "proj": ("f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system information"),
    "spatial": ("689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinate information"),
    "multiscales": ("d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout of zarr datasets"),
}
"""GeoZarr's Zarr conventions at tag v0.1: name, UUID, what it describes."""


def write_zarr(out: Path, maps: MapFolder, *, zarr_format: ZarrFormat = 2) -> list[Path]:
    """Write finished maps as a Zarr store with what opens it in GDAL and QGIS beside it.

    Every number is that of the COG, block by block; the store's layout is CF's (grid mapping,
    flags, units), so that xarray reads it. Version 2 has the maps in the root, one ``.vrt`` and one
    ``.qml`` a variable, and zlib with its checksum; version 3 has a group a level (``0``, ``1`` …)
    with the overviews of the COGs, zstd with a checksum, and GeoZarr's ``proj``, ``spatial`` and
    ``multiscales`` conventions. The manifest holds the sha256 of every chunk.

    Parameters
    ----------
    out : Path
        A folder that is not there yet.
    maps : MapFolder
        The maps.
    zarr_format : {2, 3}
        Version of the store.

    Returns
    -------
    list of Path
        The store, the ``.vrt`` files and the manifest.

    Raises
    ------
    OutputExistsError
        If the folder holds anything.
    StorageError
        If it cannot be written.
    InputError
        If a map cannot be read.
    """
    if out.exists() and any(out.iterdir()):
        raise OutputExistsError(f"{out} is not empty; choose another --out")
    import zarr

    store = out / STORE
    try:
        out.mkdir(parents=True, exist_ok=True)
        root = zarr.create_group(store, zarr_format=zarr_format)
        if zarr_format == 2:  # noqa: PLR2004  # the version
            _write_level(root, maps, level=0)
            zarr.consolidate_metadata(store, zarr_format=2)
        else:
            _write_levels(root, maps)
        beside = [*_styles(out, maps)] if zarr_format == 2 else []  # noqa: PLR2004  # the version
    except OSError as error:
        raise StorageError(f"{store} cannot be written: {error}") from error
    record = {
        "zarr_format": zarr_format,
        "source": {"name": maps.name, "identity": maps.manifest.get("identity", {})},
    }
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    manifest = write_manifest(out, record, files=files)
    return [store, *beside, manifest]


def _write_levels(root: Any, maps: MapFolder) -> None:  # noqa: ANN401  # zarr's own type
    """Write the maps and their overviews, each level in a group of its own."""
    main = maps.layers[0].grid
    depth = len(level_shapes(main.height, main.width))
    layout: list[dict[str, object]] = [{"asset": "0"}]
    for level in range(depth):
        _write_level(root.create_group(str(level)), maps, level=level)
        if level:
            scale = {"scale": [2.0, 2.0], "translation": [0.0, 0.0]}
            layout.append({"asset": str(level), "derived_from": str(level - 1), "transform": scale})
    root.attrs.update(
        {
            "zarr_conventions": [_convention(name) for name in _CONVENTIONS],
            "multiscales": {"layout": layout, "resampling_method": "average"},
            **_place(maps.layers[0], main),
        }
    )


def _write_level(group: Any, maps: MapFolder, *, level: int) -> None:  # noqa: ANN401
    """Write the maps at one level into a group, with coordinates and reference systems."""
    group.attrs.update({"Conventions": "CF-1.12", "title": maps.name})
    grids: list[Grid] = []
    for layer in maps.layers:
        shapes = level_shapes(layer.grid.height, layer.grid.width)
        if level >= len(shapes):
            continue
        if layer.grid not in grids:
            grids.append(layer.grid)
            _write_grid(group, _at(layer.grid, level), _suffix(grids, layer.grid))
        _write_layer(group, maps, layer, level=level, suffix=_suffix(grids, layer.grid))


def _suffix(grids: list[Grid], grid: Grid) -> str:
    number = grids.index(grid)
    return f"_{number}" if number else ""


def _at(grid: Grid, level: int) -> Grid:
    """Return the grid of an overview."""
    return grid.coarsen(1 << level) if level else grid


def _write_grid(group: Any, grid: Grid, suffix: str) -> None:  # noqa: ANN401
    """Write a grid's mapping, and the coordinates of its pixels' centres if it is not rotated."""
    crs = None if grid.crs is None else pyproj.CRS.from_wkt(grid.crs)
    facts = {} if crs is None else {**crs.to_cf(), "spatial_ref": grid.crs}
    facts["GeoTransform"] = " ".join(repr(v) for v in grid.transform.to_gdal())
    mapping = group.create_array(
        f"spatial_ref{suffix}", shape=(), dtype="int64", **_dims(group, ())
    )
    mapping.attrs.update({**facts, **_dim_attribute(group, ())})
    if grid.transform.b or grid.transform.d:
        return
    for axis, size, start, step in (
        ("x", grid.width, grid.transform.c, grid.transform.a),
        ("y", grid.height, grid.transform.f, grid.transform.e),
    ):
        name = f"{axis}{suffix}"
        values = start + step * (np.arange(size) + 0.5)
        array = group.create_array(name, shape=values.shape, dtype="float64", chunks=values.shape,
                                   **_dims(group, (name,)))  # fmt: skip
        array[:] = values
        array.attrs.update({**_axis(axis, crs), **_dim_attribute(group, (name,))})


def _axis(axis: str, crs: Any) -> dict[str, str]:  # noqa: ANN401  # pyproj has no types
    if crs is not None and crs.is_geographic:
        name, unit = ("longitude", "degrees_east") if axis == "x" else ("latitude", "degrees_north")
        return {"standard_name": name, "units": unit, "axis": axis.upper()}
    return {"standard_name": f"projection_{axis}_coordinate", "units": "m", "axis": axis.upper()}


def _write_layer(group: Any, maps: MapFolder, layer: Layer, *, level: int, suffix: str) -> None:  # noqa: ANN401
    """Copy a map, or one of its overviews, a row of blocks at a time."""
    height, width = level_shapes(layer.grid.height, layer.grid.width)[level]
    arrays = _arrays(group, layer, (height, width), suffix=suffix)
    if group.metadata.zarr_format > 2:  # noqa: PLR2004  # the version
        for array in arrays:
            array.attrs.update(_place(layer, _at(layer.grid, level), (f"y{suffix}", f"x{suffix}")))
    extra = {"overview_level": level - 1} if level else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(maps.file(layer), driver="GTiff", **extra) as file:
            for row in range(0, height, BLOCK):
                end = min(row + BLOCK, height)
                values = file.read(window=((row, end), (0, width)))
                if len(arrays) == len(values):
                    for array, plane in zip(arrays, values, strict=True):
                        array[row:end] = plane
                else:
                    arrays[0][:, row:end] = values


def _arrays(group: Any, layer: Layer, shape: tuple[int, int], *, suffix: str) -> list[Any]:  # noqa: ANN401
    """Make the arrays of a layer: in version 2 one a band, in version 3 one with a band axis."""
    dims: tuple[str, ...] = (f"y{suffix}", f"x{suffix}")
    size: tuple[int, ...] = shape
    chunks: tuple[int, ...] = (min(BLOCK, shape[0]), min(BLOCK, shape[1]))
    flat = group.metadata.zarr_format == 2  # noqa: PLR2004  # the version
    names = [array_name(layer, i) for i in range(len(layer.bands))]
    if not flat and len(names) > 1:
        dims, size, chunks = (f"{layer.name}_band", *dims), (len(names), *size), (1, *chunks)
        names = [layer.name]
    arrays = []
    for index, name in enumerate(names):
        array = group.create_array(
            name,
            shape=size,
            chunks=chunks,
            dtype=layer.dtype,
            fill_value=np.dtype(layer.dtype).type(layer.nodata),
            compressors=_compressor(group),
            **_dims(group, dims),
        )
        array.attrs.update({**_attributes(layer, suffix), **_dim_attribute(group, dims)})
        if len(names) > 1:
            array.attrs.update({"long_name": f"{layer.label} of {layer.bands[index]}"})
        elif len(layer.bands) > 1:
            array.attrs.update({"band_names": list(layer.bands)})
        arrays.append(array)
    return arrays


def _attributes(layer: Layer, suffix: str) -> dict[str, object]:
    """Return CF attributes, and what old GDAL wants to know the place by."""
    facts: dict[str, object] = dict(describe_codes(layer))
    for key in ("flag_values", "flag_masks"):
        if key in facts:
            facts[key] = [label.code for label in layer.task.classes]
    if layer.kind == "flags":
        facts["standard_name"] = "quality_flag"
    facts["grid_mapping"] = f"spatial_ref{suffix}"
    if layer.scale != 1:
        facts |= {"scale_factor": layer.scale, "add_offset": 0.0}
    if layer.kind == "values" and layer.task.range is not None:
        facts |= {"valid_min": layer.task.range[0], "valid_max": layer.task.range[1]}
    if layer.grid.crs is not None:
        facts["_CRS"] = {"wkt": layer.grid.crs}
    return facts


def _place(layer: Layer, grid: Grid, dims: tuple[str, ...] = ("y", "x")) -> dict[str, object]:
    """Return the attributes of GeoZarr's conventions ``spatial`` and ``proj``."""
    facts: dict[str, object] = {
        "spatial:dimensions": list(dims),
        "spatial:transform": list(grid.transform)[:6],
        "spatial:shape": [grid.height, grid.width],
        "spatial:bbox": list(bounds_of(layer)),
        "spatial:registration": "pixel",
    }
    if grid.crs is not None:
        code = rasterio.CRS.from_wkt(grid.crs).to_epsg()
        facts |= {"proj:code": f"EPSG:{code}"} if code else {"proj:wkt2": grid.crs}
    return facts


def _convention(name: str) -> dict[str, str]:
    uuid, description = _CONVENTIONS[name]
    home = f"zarr-conventions/{name}"
    return {
        "uuid": uuid,
        "name": name,
        "schema_url": f"https://raw.githubusercontent.com/{home}/refs/tags/v0.1/schema.json",
        "spec_url": f"https://github.com/{home}/blob/v0.1/README.md",
        "description": description,
    }


def _compressor(group: Any) -> Any:  # noqa: ANN401
    """Return a codec that notices a flipped bit and that every reader of the version has."""
    if group.metadata.zarr_format == 2:  # noqa: PLR2004  # the version
        import numcodecs

        return numcodecs.Zlib(level=1)
    import zarr

    return zarr.codecs.ZstdCodec(level=1, checksum=True)


def _dims(group: Any, names: tuple[str, ...]) -> dict[str, Any]:  # noqa: ANN401
    """Return how version 3 names the axes."""
    return {} if group.metadata.zarr_format == 2 else {"dimension_names": names}  # noqa: PLR2004


def _dim_attribute(group: Any, names: tuple[str, ...]) -> dict[str, Any]:  # noqa: ANN401
    """Return how version 2 names the axes, after xarray."""
    return {"_ARRAY_DIMENSIONS": list(names)} if group.metadata.zarr_format == 2 else {}  # noqa: PLR2004


def _styles(out: Path, maps: MapFolder) -> list[Path]:
    """Write a ``.vrt`` and a ``.qml`` a variable; QGIS opens the first and takes the second."""
    written = []
    for layer in maps.layers:
        path = out / f"{layer.name}.vrt"
        path.write_bytes(write_vrt(layer, STORE))
        source = maps.file(layer)
        style = write_qml(layer, display_limits(source, layer), codes=codes_in(source, layer))
        path.with_suffix(".qml").write_bytes(style)
        written.append(path)
    return written

"""``hsimap.predict``: the maps of a scene as a lazy ``xarray.Dataset`` on dask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

from hsimap.bundle import Bundle
from hsimap.mapping.adapter import SceneAdapter
from hsimap.mapping.encoding import Product, encode_product, products_of
from hsimap.mapping.engine import Engine, RowResult, Strip
from hsimap.mapping.prepare import in_area, open_route, routes_of
from hsimap.mapping.settings import MapSettings, plan_map
from hsimap.scenes import Scene, open_scene, scene_from_array
from hsimap.tasks import PROBABILITY_NODATA, PROBABILITY_STEPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.geometry import Grid
    from hsimap.mapping.tiling import TilePlan


def predict(
    scene: Scene | xr.DataArray | str | Path,
    model: Bundle | str | Path,
    *,
    settings: MapSettings | None = None,
) -> xr.Dataset:
    """Map a scene lazily; the numbers are those that ``hsimap predict`` writes.

    Parameters
    ----------
    scene : Scene, DataArray or path
        ``(band, y, x)`` stored values; a DataArray may have a ``wavelength`` coordinate in nm
        and the attributes ``nodata`` and ``scale``.
    model : Bundle or path
        The model folder.
    settings : MapSettings, optional
        As on the command line; ``overwrite`` has no meaning here.

    Returns
    -------
    Dataset
        One variable a map, on dask, a chunk a strip: classes ``(y, x) uint8`` with 255 = invalid,
        values ``(y, x) float32`` in physical units with NaN = invalid, and
        ``<task>_probability (class, y, x) float32``; ``qa (y, x) uint8``, a bit a flag. Maps whose
        stride is not 1 have their own ``y_<stride>`` and ``x_<stride>`` dimensions.

    Raises
    ------
    MismatchError
        If the scene does not fit the model.
    """
    bundle = model if isinstance(model, Bundle) else Bundle.load(Path(model))
    scene = _as_scene(scene)
    settings = settings or MapSettings()
    adapter = SceneAdapter(scene, bundle.manifest.input, resample=settings.resample)
    whole = plan_map(
        scene.grid,
        bundle.manifest,
        settings,
        itemsize=adapter.itemsize,
        as_stored=adapter.is_stored,
    )
    found = in_area(whole, scene.grid, bundle, settings)
    plan = found.tiles
    # Nothing is timed here: what comes first is float32 unless another precision is asked for.
    runtime = open_route(bundle, settings, routes_of(bundle, settings)[0])
    outputs, grid = bundle.manifest.outputs, found.grid(scene.grid)
    engine = Engine(plan, adapter, runtime=runtime, outputs=outputs, area=found.area)
    strips = _delayed_strips(engine, plan)
    products = products_of(bundle.manifest, grid, settings=settings, tags={})
    variables = {p.layer.name: _variable(p, strips, plan) for p in products}
    return xr.Dataset(variables, coords=_coords(grid))


def _as_scene(scene: Scene | xr.DataArray | str | Path) -> Scene:
    if isinstance(scene, Scene):
        return scene
    if isinstance(scene, xr.DataArray):
        return scene_from_array(scene)
    return open_scene(Path(scene))


def _delayed_strips(engine: Engine, plan: TilePlan) -> list[Any]:
    """Return a delayed :class:`Strip` for each strip; a tile row is computed once."""

    def compute(row: int) -> RowResult:
        return engine.compute_row(row, engine.read_row(row))

    def blend(row: int, result: RowResult, above: RowResult | None) -> Strip:
        carry = {} if above is None else engine.lower_ramps(above)
        return engine.blend(row, result.copy(), carry)[0]

    rows = [dask.delayed(compute, pure=False)(row) for row in range(plan.n_rows)]
    above = [rows[k - 1] if k and plan.ramp else None for k in range(plan.n_rows)]
    return [dask.delayed(blend, pure=False)(k, rows[k], above[k]) for k in range(plan.n_rows)]


def _variable(product: Product, strips: list[Any], plan: TilePlan) -> xr.Variable:
    layer, stride = product.layer, product.stride
    n_bands = len(layer.bands)
    dtype = np.dtype(np.float32) if layer.kind == "probabilities" else np.dtype(layer.dtype)
    blocks = []
    for index, strip in enumerate(strips):
        window = plan.strip(index)
        shape = (n_bands, -(-window.height // stride), -(-plan.width // stride))
        blocks.append(
            da.from_delayed(dask.delayed(_encoded)(product, strip), shape=shape, dtype=dtype)
        )
    data = da.concatenate(blocks, axis=1)
    data = data[:, plan.skip_rows // stride :, plan.skip_cols // stride :]
    suffix = "" if stride == 1 else f"_{stride}"
    dims: tuple[str, ...] = (f"y{suffix}", f"x{suffix}")
    if layer.kind == "probabilities":
        dims = (f"{layer.task.name}_class", *dims)
    else:
        data = data[0]
    return xr.Variable(dims, data, attrs=_attributes(product))


def _encoded(product: Product, strip: Strip) -> NDArray[np.generic]:
    values = encode_product(product, strip.values, strip.flags)
    if product.layer.kind != "probabilities":
        return values
    decoded = values.astype(np.float32) * np.float32(1 / PROBABILITY_STEPS)
    return np.where(values == PROBABILITY_NODATA, np.float32(np.nan), decoded)


def _attributes(product: Product) -> dict[str, object]:
    task = product.layer.task
    part = product.layer.part
    attrs: dict[str, object] = {"long_name": f"{task.label}, {part}" if part else task.label}
    if product.layer.kind == "classes":
        attrs["flag_values"] = task.codes
        attrs["flag_meanings"] = " ".join(c.name.replace(" ", "_") for c in task.classes)
        attrs["_FillValue"] = np.uint8(product.layer.nodata)
    elif product.layer.kind == "flags":
        attrs["flag_masks"] = task.codes
        attrs["flag_meanings"] = " ".join(c.name.replace(" ", "_") for c in task.classes)
        attrs["_FillValue"] = np.uint8(product.layer.nodata)
    elif task.unit:
        attrs["units"] = task.unit
    return attrs


def _coords(grid: Grid) -> dict[str, Any]:
    """Return CF coordinates: pixel centres where the grid is north-up, and ``spatial_ref``."""
    transform = grid.transform
    reference = xr.Variable((), 0, attrs={"GeoTransform": " ".join(map(repr, transform.to_gdal()))})
    if grid.crs:
        reference.attrs["crs_wkt"] = reference.attrs["spatial_ref"] = grid.crs
    coords: dict[str, Any] = {"spatial_ref": reference}
    if transform.b == transform.d == 0:
        coords["x"] = transform.c + (np.arange(grid.width) + 0.5) * transform.a
        coords["y"] = transform.f + (np.arange(grid.height) + 0.5) * transform.e
    return coords

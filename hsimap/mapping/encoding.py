"""From blended network outputs to the numbers that stand in the maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.products import Layer
from hsimap.tasks import CLASS_NODATA, Kind, Output, decode_classes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.bundle import BundleManifest
    from hsimap.geometry import Grid
    from hsimap.mapping.engine import Strip
    from hsimap.mapping.settings import Probabilities

PROBABILITY_STEPS: Final = 65534
"""A probability p is stored as round(p * 65534); 65535 is nodata."""
PROBABILITY_NODATA: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One map file and the network output that it is made from."""

    layer: Layer
    output: Output


def products_of(
    manifest: BundleManifest, grid: Grid, *, probabilities: Probabilities, tags: Mapping[str, str]
) -> list[Product]:
    """List the maps that a bundle gives on a scene's grid, in the order of its outputs."""
    tasks = {task.name: task for task in manifest.tasks}
    products = []
    for output in manifest.outputs:
        base = Layer(
            name=output.name,
            kind="values",
            grid=grid.coarsen(output.stride),
            task=tasks[output.task],
            bands=(output.name,),
            dtype="float32",
            nodata=float("nan"),
            tags=dict(tags),
        )
        products += [
            Product(layer=layer, output=output) for layer in _layers(base, output, probabilities)
        ]
    return products


def _layers(base: Layer, output: Output, probabilities: Probabilities) -> list[Layer]:
    """Return the maps of one output, given the map that it would be if it held values."""
    if output.kind is not Kind.CATEGORICAL:
        return [base]
    codes = replace(base, kind="classes", dtype="uint8", nodata=CLASS_NODATA)
    if probabilities == "none":
        return [codes]
    names = tuple(label.name for label in base.task.classes)
    shares = replace(
        base,
        name=f"{output.name}_probability",
        kind="probabilities",
        bands=names if probabilities == "all" else ("highest",),
        dtype="uint16",
        nodata=PROBABILITY_NODATA,
        scale=1 / PROBABILITY_STEPS,
    )
    return [codes, shares]


def encode(
    layer: Layer, values: NDArray[np.float32], valid: NDArray[np.bool_]
) -> NDArray[np.generic]:
    """Turn blended values into what is stored.

    Parameters
    ----------
    layer : Layer
        Which map.
    values : ndarray
        ``(channel, y, x) float32``: blended class probabilities, or values in physical units.
    valid : ndarray
        ``(y, x)`` True = valid; every other pixel becomes nodata.

    Returns
    -------
    ndarray
        ``(band, y, x)`` of the layer's dtype. A pixel where the network gave a number that is
        not finite is nodata as well.
    """
    valid = np.logical_and(valid, np.isfinite(values).all(axis=0))
    if layer.kind == "values":
        return np.where(valid, values, np.float32(np.nan)).astype(np.float32)
    if layer.kind == "classes":
        codes = decode_classes(layer.task, np.where(valid, values, np.float32(np.nan)))
        return codes[None]
    if len(layer.bands) == 1 != values.shape[0]:
        values = values.max(axis=0, keepdims=True)
    steps = np.rint(np.clip(np.where(valid, values, 0), 0, 1) * PROBABILITY_STEPS)
    return np.where(valid, steps, PROBABILITY_NODATA).astype(np.uint16)


def encode_strip(strip: Strip, products: Sequence[Product]) -> dict[str, NDArray[np.generic]]:
    """Return every map's part of a strip: map name to ``(band, y, x)`` of its dtype."""
    return {
        product.layer.name: encode(
            product.layer,
            strip.values[product.output.name],
            coarsen_valid(strip.valid, product.output.stride),
        )
        for product in products
    }


def coarsen_valid(valid: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Return which output pixels stand on valid input pixels only; edges count what is there."""
    if stride == 1:
        return valid
    height, width = valid.shape
    pad = (-height % stride, -width % stride)
    padded = np.pad(valid, ((0, pad[0]), (0, pad[1])), constant_values=True)
    blocks = padded.reshape(padded.shape[0] // stride, stride, -1, stride)
    return np.logical_and.reduce(blocks, axis=(1, 3))  # type: ignore[no-any-return]

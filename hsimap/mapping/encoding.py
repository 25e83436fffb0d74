"""From blended network outputs to the numbers that stand in the maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from hsimap.arrays import here, namespace, there
from hsimap.mapping.flags import with_confidence
from hsimap.mapping.intervals import Bound, bounded_tasks
from hsimap.products import Layer, flag_layer
from hsimap.scenes import meanings, valid_of
from hsimap.tasks import (
    CLASS_NODATA,
    PROBABILITY_NODATA,
    PROBABILITY_STEPS,
    Kind,
    Output,
    decode_classes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hsimap.arrays import Array
    from hsimap.bundle import BundleManifest
    from hsimap.geometry import Grid
    from hsimap.mapping.settings import MapSettings, Probabilities

_FLAG_COLORS: Final = ("#4d4d4d", "#999999", "#d73027", "#91bfdb", "#fc8d59", "#fee090", "#c2a5cf")
"""Of each flag: what is missing is grey, what is doubtful in colour."""
_NAN: Final = np.array(np.nan, np.float32)
_NO_SHARE: Final = np.array(PROBABILITY_NODATA, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One map file and the network output that it is made from."""

    layer: Layer
    output: Output | None
    """None = the flags, which speak of all outputs."""
    bound: Bound | None = None
    """The map holds a bound of the output's prediction interval instead of its value."""
    judged: tuple[Output, ...] = ()
    """Of the flags: outputs whose confidence they tell."""

    @property
    def stride(self) -> int:
        """Pixels of the scene per pixel of the map, along each axis."""
        return 1 if self.output is None else self.output.stride


def products_of(
    manifest: BundleManifest, grid: Grid, *, settings: MapSettings, tags: Mapping[str, str]
) -> list[Product]:
    """List the maps that a bundle gives on a grid, in the order of its outputs, and the flags."""
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
            Product(layer=layer, output=output)
            for layer in _layers(base, output, settings.probabilities)
        ]
        if settings.intervals is not None:
            products += _bounds(base, output, manifest, settings.intervals)
    flags = flag_layer(grid, meanings(), colors=_FLAG_COLORS, tags=tags)
    return [*products, Product(layer=flags, output=None, judged=tuple(manifest.outputs))]


def _bounds(base: Layer, output: Output, manifest: BundleManifest, level: int) -> list[Product]:
    """Return the maps of both ends of an output's prediction interval."""
    if output.name not in bounded_tasks(manifest, level) or manifest.calibration is None:
        return []
    sides: tuple[tuple[Literal["low", "high"], str], ...] = (("low", "lower"), ("high", "upper"))
    products = []
    for side, word in sides:
        name = f"{output.task}_{side}"
        part = f"{word} end of the {level} % interval"
        bound = Bound(intervals=manifest.calibration.intervals[output.task], level=level, side=side)
        layer = replace(base, name=name, bands=(name,), part=part)
        products.append(Product(layer=layer, output=output, bound=bound))
    return products


def values_of(product: Product, values: Array) -> Array:
    """Return what a product shows of blended values, ``(channel, y, x)``: itself, or a bound."""
    if product.bound is None:
        return values
    bound, clip = product.bound, product.layer.task.range
    low, high = bound.intervals.bounds(here(values), level=bound.level, clip=clip)
    return low if bound.side == "low" else high


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


def encode(layer: Layer, values: Array, valid: NDArray[np.bool_]) -> NDArray[np.generic]:
    """Turn blended values into what is stored, where they are; the host gets what is finished.

    Parameters
    ----------
    layer : Layer
        Which map.
    values : array
        ``(channel, y, x) float32`` on any device: blended class probabilities, or values in
        physical units.
    valid : ndarray
        ``(y, x)`` True = valid; every other pixel becomes nodata.

    Returns
    -------
    ndarray
        ``(band, y, x)`` of the layer's dtype, which may lie where the values do. A pixel where the
        network gave a number that is not finite is nodata as well.
    """
    if layer.kind == "classes":
        codes = decode_classes(layer.task, values)
        codes[~there(valid, values)] = CLASS_NODATA
        return here(codes)[None]
    xp = namespace(values)
    sound = xp.all(xp.isfinite(values), axis=0)
    sound &= there(valid, values)
    if layer.kind == "values":
        if bool(xp.all(sound)):
            return here(values)
        return here(xp.where(sound, values, there(_NAN, values)))
    if len(layer.bands) == 1 != values.shape[0]:
        values = xp.max(values, axis=0, keepdims=True)
    steps = xp.round(xp.clip(values, 0, 1) * PROBABILITY_STEPS)
    steps = xp.where(sound, steps, there(_NO_SHARE, values))
    return here(steps).astype(np.uint16)


def encode_product(
    product: Product, values: Mapping[str, Array], flags: NDArray[np.uint8]
) -> NDArray[np.generic]:
    """Return ``(band, y, x)`` of a map's dtype.

    Parameters
    ----------
    product : Product
        Which map.
    values : mapping
        Output name to ``(channel, y, x) float32`` on any device, blended.
    flags : ndarray
        ``(y, x)`` of the same pixels at the scene's resolution.
    """
    if product.output is None:
        return with_confidence(flags, values, product.judged)[None]
    valid = coarsen_valid(valid_of(flags), product.stride)
    return encode(product.layer, values_of(product, values[product.output.name]), valid)


def coarsen_valid(valid: NDArray[np.bool_], stride: int) -> NDArray[np.bool_]:
    """Return which output pixels stand on valid input pixels only; edges count what is there."""
    if stride == 1:
        return valid
    height, width = valid.shape
    pad = (-height % stride, -width % stride)
    padded = np.pad(valid, ((0, pad[0]), (0, pad[1])), constant_values=True)
    blocks = padded.reshape(padded.shape[0] // stride, stride, -1, stride)
    return np.logical_and.reduce(blocks, axis=(1, 3))  # type: ignore[no-any-return]

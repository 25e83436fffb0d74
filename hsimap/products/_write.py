"""One map with everything that lies beside it."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from hsimap.crashpoints import crash_point
from hsimap.products._cog import write_cog
from hsimap.products._layer import BLOCK, CODED
from hsimap.products._styles import write_aux, write_qml

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.products._cog import CogWriter, ReadWindow
    from hsimap.products._layer import Layer

_COARSE = 1024


def write_layer(
    folder: Path, layer: Layer, read: ReadWindow, *, writer: CogWriter | None = None
) -> list[Path]:
    """Write ``<name>.tif``, ``<name>.qml`` and, for codes, ``<name>.tif.aux.xml``.

    Parameters
    ----------
    folder : Path
        Where to.
    layer : Layer
        What.
    read : callable
        ``Window -> (band, y, x)`` of the layer's dtype.
    writer : CogWriter, optional
        Has encoded the rows that were ready before.

    Returns
    -------
    list of Path
        The files, the map first.

    Raises
    ------
    StorageError, VerificationError
        See :meth:`CogWriter.finish`.
    """
    path = folder / f"{layer.name}.tif"
    if writer is None:
        write_cog(path, layer, read)
    else:
        writer.finish(path)
    written = [path, folder / f"{layer.name}.qml"]
    codes = codes_in(path, layer) if writer is None else writer.statistics.codes
    style = write_qml(layer, display_limits(path, layer), codes=codes)
    written[1].write_bytes(style)
    if layer.kind in CODED:
        written.append(folder / f"{layer.name}.tif.aux.xml")
        written[2].write_bytes(write_aux(layer))
    crash_point("styles-written")
    return written


def codes_in(path: Path, layer: Layer) -> frozenset[int] | None:
    """Return the numbers that stand in a map of flags; None for any other, which names its own."""
    if layer.kind != "flags":
        return None
    found: set[int] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver="GTiff") as file:
            for row in range(0, file.height, BLOCK):
                rows = (row, min(row + BLOCK, file.height))
                found.update(np.unique(file.read(1, window=(rows, (0, file.width)))).tolist())
    return frozenset(found)


def read_coarse(path: Path, *, side: int = _COARSE) -> NDArray[np.generic]:
    """Return ``(band, y, x)`` of a map from the overviews, at most ``side`` pixels a side."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver="GTiff") as file:
            step = max(1, -(-max(file.height, file.width) // side))
            shape = (file.count, -(-file.height // step), -(-file.width // step))
            values: NDArray[np.generic] = file.read(out_shape=shape)
            return values


def display_limits(path: Path, layer: Layer) -> tuple[float, float]:
    """Return what the colour ramp spans, in physical values, as QGIS applies a band's scale.

    That is 0 to 1 for probabilities and saliency, a task's range where it has one, else the
    middle 96 % of the values.
    """
    if layer.kind != "values" or layer.task.kind == "saliency":
        return 0.0, 1.0
    if layer.task.range is not None:
        return layer.task.range
    state = path.stat()
    return _middle(path, state.st_ino, state.st_mtime_ns)


@lru_cache(maxsize=256)  # the style, the preview and the project of a map show the same
def _middle(path: Path, *state: int) -> tuple[float, float]:
    """Return what the middle 96 % of a map's values span; ``state`` tells apart what it held."""
    del state
    values = read_coarse(path)
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(known, (2, 98)))
    return (low, high) if high > low else (low, low + 1.0)

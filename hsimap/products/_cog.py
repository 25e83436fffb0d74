"""Cloud-optimised GeoTIFFs: streamed, styled, read back."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hsimap._version import __version__
from hsimap.crashpoints import crash_point
from hsimap.errors import StorageError, VerificationError
from hsimap.geometry import Window
from hsimap.products._layer import BLOCK, Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    ReadWindow = Callable[[Window], NDArray[np.generic]]

_OVERVIEWS: Final = {"classes": "MODE", "values": "AVERAGE", "probabilities": "AVERAGE"}
_PREDICTOR: Final = {"classes": "NO", "values": "FLOATING_POINT", "probabilities": "STANDARD"}
_GDAL: Final = {"GDAL_PAM_ENABLED": "NO", "GDAL_NUM_THREADS": "2", "GDAL_CACHEMAX": 128 << 20}


def write_cog(path: Path, layer: Layer, read: ReadWindow) -> None:
    """Write a map as COG, in bounded memory, and compare it with its source.

    Parameters
    ----------
    path : Path
        Written to; a temporary tiled GeoTIFF stands beside it meanwhile.
    layer : Layer
        What it is.
    read : callable
        ``Window -> (band, y, x)`` of the layer's dtype, called for whole blocks.

    Raises
    ------
    StorageError
        If the disk is full or fails, GDAL's silent failures at close included.
    VerificationError
        If what reads back is not what was written.
    """
    plain = path.with_suffix(".plain.tif")
    try:
        with rasterio.Env(**_GDAL), warnings.catch_warnings(), loud_gdal(path):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            _write_plain(plain, layer, read)
            rasterio.shutil.copy(plain, path, driver="COG", **_cog_options(layer))
        crash_point("map-written")
        _sync(path)
        crash_point("map-durable")
        _verify(path, layer, read)
        crash_point("map-verified")
    except (RasterioError, OSError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path} cannot be written: {error}") from error
    finally:
        plain.unlink(missing_ok=True)


def blocks(layer: Layer) -> Iterator[Window]:
    """Yield the blocks of a map, row by row."""
    height, width = layer.grid.height, layer.grid.width
    for row in range(0, height, BLOCK):
        for col in range(0, width, BLOCK):
            window = Window(row=row, col=col, height=BLOCK, width=BLOCK)
            yield window.clip(height=height, width=width)


def _slices(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (
        (window.row, window.row + window.height),
        (window.col, window.col + window.width),
    )


def _write_plain(path: Path, layer: Layer, read: ReadWindow) -> None:
    grid = layer.grid
    profile = {
        "driver": "GTiff",
        "dtype": layer.dtype,
        "count": len(layer.bands),
        "height": grid.height,
        "width": grid.width,
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": layer.nodata,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "band",
        "BIGTIFF": "IF_SAFER",
    }
    with rasterio.open(path, "w", **profile) as file:
        for index, name in enumerate(layer.bands, 1):
            file.set_band_description(index, name)
        _describe(file, layer)
        for window in blocks(layer):
            file.write(read(window), window=_slices(window))


def _describe(file: Any, layer: Layer) -> None:  # noqa: ANN401  # rasterio has no types
    file.update_tags(TIFFTAG_SOFTWARE=f"hsimap {__version__}", **dict(layer.tags))
    n = len(layer.bands)
    if layer.kind == "classes":
        palette = {label.code: _rgba(label.color) for label in layer.task.classes}
        file.write_colormap(1, palette)
        file.colorinterp = [ColorInterp.palette]
        return
    file.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * (n - 1)
    if layer.kind == "values" and layer.task.unit:
        file.units = [layer.task.unit] * n
    if layer.scale != 1:
        file.scales = [layer.scale] * n


def _rgba(color: str) -> tuple[int, int, int, int]:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue, 255


def _cog_options(layer: Layer) -> dict[str, str]:
    return {
        "COMPRESS": "DEFLATE",
        "LEVEL": "6",
        "PREDICTOR": _PREDICTOR[layer.kind],
        "BLOCKSIZE": str(BLOCK),
        "BIGTIFF": "IF_SAFER",
        "OVERVIEWS": "IGNORE_EXISTING",
        "OVERVIEW_RESAMPLING": _OVERVIEWS[layer.kind],
        "OVERVIEW_COMPRESS": "DEFLATE",
        "NUM_THREADS": "2",
        "STATISTICS": "NO" if layer.kind == "classes" else "YES",
        "SPARSE_OK": "FALSE",
    }


def _verify(path: Path, layer: Layer, read: ReadWindow) -> None:
    with rasterio.Env(**_GDAL), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, driver="GTiff") as file:
            for window in blocks(layer):
                found, expected = file.read(window=_slices(window)), read(window)
                same = np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")
                if not same:
                    raise VerificationError(
                        f"{path} does not read back as it was written at row {window.row}, column"
                        f" {window.col}; the disk may be failing"
                    )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def loud_gdal(path: Path) -> Iterator[None]:
    """Raise what rasterio only logs: a flush at close that fails does not raise by itself."""
    logger = logging.getLogger("rasterio")
    caught: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            caught.append(record.getMessage())

    handler = Collector(level=logging.ERROR)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
    if caught:
        raise StorageError(f"{path} cannot be written: {caught[0]}")

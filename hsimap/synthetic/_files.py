"""Write a simulated flight line as GeoTIFFs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import rasterio
from affine import Affine

from hsimap.errors import UsageError
from hsimap.synthetic._optics import FWHM_NM, N_BANDS, WAVELENGTH_NM
from hsimap.synthetic._scene import Block, flight_line, make_block
from hsimap.synthetic._sensor import NODATA, SCALE
from hsimap.synthetic._tasks import CLASS_TASKS, TASKS, VALUE_TASKS
from hsimap.synthetic._trees import PIXEL_M

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

GENERATOR_VERSION: Final = 1
"""Changes whenever the same size and seed would give another scene."""
MIN_SIZE: Final = 16
FILES: Final = ("scene", "classes", "variables", "stand_id", "split")
_ORIGIN: Final = (356_000.0, 6_860_000.0)
_TILE: Final = 64
_LAYERS: Final[dict[str, dict[str, Any]]] = {
    "scene": {"count": N_BANDS, "dtype": "int16", "nodata": NODATA, "predictor": 2},
    "classes": {"count": len(CLASS_TASKS), "dtype": "uint8", "nodata": 0},
    "variables": {"count": len(VALUE_TASKS), "dtype": "float32", "nodata": float("nan")},
    "stand_id": {"count": 1, "dtype": "int32", "nodata": 0},
    "split": {"count": 1, "dtype": "uint8", "nodata": 0},
}


def write_sample(folder: str | os.PathLike[str], *, size: int, seed: int) -> dict[str, Path]:
    """Write a simulated boreal flight line with its labels.

    Parameters
    ----------
    folder : path
        Where to; made if it is not there. Files of the same names are replaced.
    size : int
        Side in pixels of 0.7 m, at least 16.
    seed : int
        Which forest, at least 0. The same size and seed give the same bytes.

    Returns
    -------
    dict
        Of paths: ``scene`` (128 bands, int16 reflectance x 10 000, 0 = nodata), ``classes``
        (uint8, a band a task, 0 = no label), ``variables`` (float32, a band a task, physical
        units, NaN = no label), ``stand_id`` (int32) and ``split`` (uint8: 1 train, 2 validation,
        3 test).

    Raises
    ------
    UsageError
        If the size or the seed is out of range.
    """
    if size < MIN_SIZE:
        raise UsageError(f"size of a sample must be at least {MIN_SIZE} px, got {size}")
    if seed < 0:
        raise UsageError(f"seed of a sample must not be negative, got {seed}")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    paths = {name: place / f"{name}.tif" for name in FILES}
    line = flight_line(size=size, seed=seed)
    grid = {"width": size, "height": size, "transform": ground(seed)}
    write_layers(paths, (make_block(line, window) for window in line.blocks()), grid=grid)
    return paths


def write_layers(paths: dict[str, Path], blocks: Iterable[Block], *, grid: dict[str, Any]) -> None:
    """Write blocks as GeoTIFFs.

    Parameters
    ----------
    paths : dict
        File by layer; any of ``FILES``.
    blocks : iterable of Block
        The whole line, block by block.
    grid : dict
        ``width`` and ``height`` in px, and ``transform`` to EPSG:3067.
    """
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), ExitStack() as stack:
        files = {
            name: stack.enter_context(_create(path, name, grid)) for name, path in paths.items()
        }
        for name, file in files.items():
            _describe(name, file)
        for block in blocks:
            _write(files, block)


def ground(seed: int) -> Affine:
    """Return the transform of a forest's pixels, north up, to EPSG:3067."""
    corner = (_ORIGIN[0] + 10_000.0 * (seed % 10), _ORIGIN[1])
    return Affine.translation(*corner) @ Affine.scale(PIXEL_M, -PIXEL_M)


def _create(path: Path, name: str, grid: dict[str, Any]) -> Any:  # noqa: ANN401  # rasterio has no types
    path.unlink(missing_ok=True)
    return rasterio.open(
        path,
        "w",
        driver="GTiff",
        crs="EPSG:3067",
        **grid,
        tiled=True,
        blockxsize=_TILE,
        blockysize=_TILE,
        compress="deflate",
        zlevel=9,
        interleave="pixel",
        bigtiff="if_safer",
        **_LAYERS[name],
    )


def _describe(name: str, file: Any) -> None:  # noqa: ANN401  # rasterio has no types
    match name:
        case "scene":
            file.update_tags(generator=f"hsimap synthetic {GENERATOR_VERSION}", scale_factor=SCALE)
            file.scales = (SCALE,) * N_BANDS
            file.descriptions = tuple(f"{nm:.2f} nm" for nm in WAVELENGTH_NM)
            for band, nm in enumerate(WAVELENGTH_NM, start=1):
                file.update_tags(
                    band, wavelength=f"{nm:.3f}", wavelength_units="nm", fwhm=f"{FWHM_NM:.2f}"
                )
        case "classes":
            file.descriptions = CLASS_TASKS
        case "variables":
            file.descriptions = VALUE_TASKS
            file.units = tuple(TASKS[task]["unit"] for task in VALUE_TASKS)
        case _:
            file.descriptions = (name,)


def _write(files: dict[str, Any], block: Block) -> None:
    window = block.window
    place = rasterio.windows.Window(window.col, window.row, window.width, window.height)
    layers = {
        "scene": np.moveaxis(block.image, -1, 0),
        "classes": block.classes,
        "variables": block.variables,
        "stand_id": block.stand_id[None],
        "split": block.split[None],
    }
    for name, file in files.items():
        file.write(layers[name], window=place)

"""A folder of finished maps, as its manifest describes it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from hsimap.errors import InputError, UsageError
from hsimap.products._layer import Layer, layers_of
from hsimap.products._manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class MapFolder:
    """The maps of one scene or of one mosaic."""

    name: str
    """Of the scene or of the mosaic."""
    path: Path
    """Where ``<layer>.tif`` lie."""
    layers: tuple[Layer, ...]
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """Empty while the maps are not finished."""

    def file(self, layer: Layer) -> Path:
        """Return the raster of a layer."""
        return self.path / f"{layer.name}.tif"


def open_maps(path: Path) -> MapFolder:
    """Return the maps of a finished folder.

    Raises
    ------
    UsageError
        If the folder holds no finished maps, or its manifest does not describe them.
    VerificationError
        If the manifest is damaged.
    """
    manifest = read_manifest(path)
    layers = layers_of(manifest)
    if not layers:
        raise UsageError(
            f"{path / MANIFEST} does not describe its layers, as an older hsimap wrote it; map the"
            " scene again with --overwrite"
        )
    scene = manifest.get("scene") or {}
    name = str(scene.get("name") or path.resolve().name)
    return MapFolder(name=name, path=path, layers=layers, manifest=manifest)


class MapReader:
    """Windows of a finished map.

    Parameters
    ----------
    folder : MapFolder
        Where it lies.
    layer : Layer
        Which one.

    Raises
    ------
    InputError
        If the file is missing, cannot be read or is not as the manifest says.
    """

    def __init__(self, folder: MapFolder, layer: Layer) -> None:
        self.layer, self._path = layer, folder.file(layer)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                self._file = rasterio.open(self._path, driver="GTiff")
        except RasterioError as error:
            raise InputError(f"{self._path} cannot be read: {error}") from None
        found = (self._file.count, self._file.height, self._file.width, self._file.dtypes[0])
        wanted = (len(layer.bands), layer.grid.height, layer.grid.width, layer.dtype)
        if found != wanted:
            self.close()
            raise InputError(f"{self._path} is {found} and its manifest says {wanted}; map again")

    def read(self, window: Window) -> NDArray[np.generic]:
        """Return ``(band, y, x)`` stored numbers of a window that lies inside the map."""
        rows, cols = window.slices
        area = ((rows.start, rows.stop), (cols.start, cols.stop))
        try:
            values: NDArray[np.generic] = self._file.read(window=area)
        except RasterioError as error:
            raise InputError(f"{self._path} cannot be read at {window}: {error}") from None
        return values

    def valid(self, values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Return ``(band, y, x)`` True = not nodata."""
        if self.layer.kind == "values":
            known: NDArray[np.bool_] = ~np.isnan(values)
            return known
        here: NDArray[np.bool_] = np.not_equal(values, self.layer.nodata)
        return here

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

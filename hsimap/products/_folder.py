"""A folder of finished maps, as its manifest describes it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hsimap.errors import InputError, UsageError
from hsimap.products._layer import Layer, layers_of
from hsimap.products._manifest import MANIFEST, read_manifest
from hsimap.products._read import RasterFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


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


def open_folders(paths: Sequence[Path]) -> list[MapFolder]:
    """Return the maps of finished folders; where names of scenes repeat, by those of the folders.

    Raises
    ------
    UsageError, VerificationError
        As :func:`open_maps`.
    """
    folders = [open_maps(path) for path in paths]
    if len({folder.name for folder in folders}) == len(folders):
        return folders
    names = folder_names([path.resolve() for path in paths])
    return [replace(folder, name=name) for folder, name in zip(folders, names, strict=True)]


def folder_names(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder: its own, with as many of its parents as tell it apart.

    Raises
    ------
    UsageError
        If two are the same.

    Examples
    --------
    >>> from pathlib import Path
    >>> folder_names([Path("maps/a/line"), Path("maps/b/line")])
    ['a_line', 'b_line']
    """
    depth = max(len(folder.parts) for folder in folders)
    for n in range(1, depth + 1):
        names = ["_".join(part.strip("/") for part in folder.parts[-n:]) for folder in folders]
        if len(set(names)) == len(names):
            return names
    raise UsageError(f"the folders {', '.join(map(str, folders))} are not all different")


class MapReader(RasterFile):
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
        path = folder.file(layer)
        if not path.exists():
            raise InputError(f"{path} is missing; map the scene again with --overwrite")
        super().__init__(path, driver="GTiff")
        self.layer = layer
        found = (self._file.count, self._file.height, self._file.width, self._file.dtypes[0])
        wanted = (len(layer.bands), layer.grid.height, layer.grid.width, layer.dtype)
        if found != wanted:
            self.close()
            raise InputError(f"{path} is {found} and its manifest says {wanted}; map again")
        self.grid = layer.grid

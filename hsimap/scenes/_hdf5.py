"""HDF5 files: which product one is, and its arrays by chunk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from hsimap.errors import InputError
from hsimap.scenes._chunked import ChunkReader
from hsimap.scenes._storage import Storage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.geometry import Window

_COPIED: Final = {"gzip": "deflate", "szip": "szip", "lzf": "lzf", None: "none"}


def open_file(path: Path) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    InputError
        If it is no sound HDF5 file.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is no readable HDF5 file: {error}") from error


def find(group: h5py.Group, path: str) -> Any:  # noqa: ANN401  # a group, a dataset or None
    """Return what stands at a path, None where there is nothing.

    Names are compared without regard to case: producers changed them over the years.

    Raises
    ------
    InputError
        If the path leads into another file.
    """
    node: Any = group
    for part in path.split("/"):
        if not isinstance(node, h5py.Group):
            return None
        name = part if part in node else _same(node, part)
        if name is None:
            return None
        if isinstance(node.get(name, getlink=True), h5py.ExternalLink):
            raise InputError(f"{group.file.filename}: {path} lies in another file; copy it in")
        node = node[name]
    return node


def _same(group: h5py.Group, name: str) -> str | None:
    return next((key for key in group if key.lower() == name.lower()), None)


def dataset(group: h5py.Group, path: str) -> h5py.Dataset:
    """Return the array at a path.

    Raises
    ------
    InputError
        If there is none, or if its samples lie in other files.
    """
    found = find(group, path)
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{group.file.filename} has no {group.name.rstrip('/')}/{path}")
    if found.is_virtual or found.external:
        raise InputError(f"{group.file.filename}: {path} lies in other files; copy it in")
    return found


def numbers(values: Any) -> tuple[float, ...]:  # noqa: ANN401  # an attribute, a dataset or None
    """Return an attribute or a small dataset as numbers, empty where it is None."""
    if values is None:
        return ()
    if isinstance(values, h5py.Dataset):
        values = values[()]
    return tuple(float(value) for value in np.ravel(values))


def text(values: Any) -> str:  # noqa: ANN401
    """Return an attribute or a dataset of one text, empty where it is None."""
    if values is None:
        return ""
    if isinstance(values, h5py.Dataset):
        values = values[()]
    value = np.ravel(np.asarray(values, dtype=object))[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def chunk_reader(found: h5py.Dataset, axes: tuple[int, int, int]) -> ChunkReader:
    """Return a reader of a cube with a handle of its own.

    Parameters
    ----------
    found : Dataset
        Three axes of numbers.
    axes : tuple of int
        Which of them is band, y, x.

    Raises
    ------
    InputError
        If the array is of another kind.
    """
    if found.ndim != 3 or found.dtype.kind not in "uif":  # noqa: PLR2004  # band, y, x
        raise InputError(
            f"{found.file.filename}: {found.name} is {found.shape} of {found.dtype}; a scene is an"
            f" array of three axes and of numbers"
        )
    source = partial(_open_dataset, found.file.filename, found.name)
    return ChunkReader(source, axes, driver="HDF5", compression=_codec)


def _open_dataset(path: str, name: str) -> h5py.Dataset:
    return h5py.File(path, "r")[name]


def _codec(array: h5py.Dataset) -> str:
    return _COPIED.get(array.compression, str(array.compression)) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneLayer:
    """A ``(y, x)`` array of a file; the file is open only while it is read."""

    path: str
    """The file."""
    name: str
    """The array in it."""
    nodata: float | None = None
    """Stored value of a missing sample."""

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return the values of a window."""
        with open_file(Path(self.path)) as file:
            stored = file[self.name][window.slices]
        values: NDArray[np.float32] = stored.astype(np.float32)
        if self.nodata is not None:
            values[stored == self.nodata] = np.nan
        return values


class PlanesReader:
    """Several ``(y, x)`` arrays of a file as the bands of one raster.

    Parameters
    ----------
    path : str
        The file.
    names : sequence of str
        The arrays, of one shape and type.
    """

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self._path, self._names = path, tuple(names)
        self._file = h5py.File(path, "r")
        self._planes = [self._file[name] for name in names]
        height, width = self._planes[0].shape
        self.shape = (len(names), height, width)
        self.dtype = np.dtype(self._planes[0].dtype).newbyteorder("=")
        chunks = self._planes[0].chunks or (1, width)
        self.storage = Storage(
            driver="HDF5", interleave="bsq", block=chunks, compression=_codec(self._planes[0])
        )

    @classmethod
    def of(cls, planes: Sequence[h5py.Dataset]) -> PlanesReader:
        """Return a reader of datasets, with a handle of its own.

        Raises
        ------
        InputError
            If they are not ``(y, x)`` arrays of one shape.
        """
        if any(plane.ndim != 2 or plane.shape != planes[0].shape for plane in planes):  # noqa: PLR2004
            names = ", ".join(plane.name for plane in planes)
            raise InputError(f"{planes[0].file.filename}: {names} are not (y, x) of one shape")
        return cls(planes[0].file.filename, [plane.name for plane in planes])

    def __reduce__(self) -> tuple[Any, ...]:
        return PlanesReader, (self._path, self._names)

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values."""
        if out is None:
            out = np.empty((len(bands), window.height, window.width), self.dtype)
        for plane, band in zip(out, bands, strict=True):
            plane[...] = self._planes[band][window.slices]
        return out, None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

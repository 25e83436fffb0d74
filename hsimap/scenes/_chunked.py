"""Windows of a chunked cube: Zarr and HDF5, in any order of the axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import InputError
from hsimap.scenes._storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.geometry import Window

_PIECE: Final = 32 << 20
"""Bytes that are read at a time before their axes are turned."""
_INTERLEAVE: Final = {(0, 1, 2): "bsq", (1, 0, 2): "bil", (2, 0, 1): "bip"}


class ChunkReader:
    """Windows of a cube that is stored in chunks.

    Every chunk that a window touches is decoded once, and no more bands are decoded than the
    chunks of those asked for hold. Reading is safe from several threads.

    Parameters
    ----------
    source : callable
        Opens the cube, an h5py or Zarr array of three axes; picklable, so that the reader is.
    axes : tuple of int
        Which axis of the cube is band, y, x; ``(2, 0, 1)`` for ``(y, x, band)``.
    driver : str
        As :class:`Storage` names it.
    compression : callable
        Takes the array and returns its codec in lower case, or none.
    """

    def __init__(
        self,
        source: Callable[[], Any],
        axes: tuple[int, int, int],
        *,
        driver: str,
        compression: Callable[[Any], str],
    ) -> None:
        self._arguments = source, axes, driver, compression
        self._array = source()
        self._file = getattr(self._array, "file", None)
        self._axes = axes
        bands, height, width = (self._array.shape[axis] for axis in axes)
        self.shape = (bands, height, width)
        self.dtype = np.dtype(self._array.dtype).newbyteorder("=")
        chunks = self._array.chunks or _unchunked(self._array.shape)
        depth, rows, cols = (min(chunks[axis], self._array.shape[axis]) for axis in axes)
        self._depth, self._rows = depth, rows
        self.storage = Storage(
            driver=driver,
            interleave=_INTERLEAVE.get(axes, "chunks"),
            block=(rows, cols),
            compression=compression(self._array),
            bands=depth,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._arguments

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values; such a cube has no mask of its own."""
        if out is None:
            out = np.empty((len(bands), window.height, window.width), self.dtype)
        wanted = np.asarray(bands, dtype=np.int64)
        cols = slice(window.col, window.col + window.width)
        for low, high in self._runs(wanted):
            here = np.flatnonzero((wanted >= low) & (wanted < high))
            for top, bottom in self._pieces(window, high - low):
                part = self._cut((slice(low, high), slice(top, bottom), cols))
                rows = slice(top - window.row, bottom - window.row)
                _copy(part, wanted[here] - low, out[:, rows], here)
        return out, None

    def _cut(self, where: tuple[slice, slice, slice]) -> NDArray[np.generic]:
        """Return ``(band, y, x)`` values of a box."""
        selection = [slice(None)] * 3
        for axis, part in zip(self._axes, where, strict=True):
            selection[axis] = part
        try:
            values = np.asarray(self._array[tuple(selection)])
        except (OSError, RuntimeError, ValueError) as error:
            rows, cols = where[1:]
            raise InputError(
                f"{_name(self._array)} cannot be read at rows {rows.start} to {rows.stop}, columns"
                f" {cols.start} to {cols.stop}: {error}"
            ) from error
        return values.transpose(self._axes)

    def _runs(self, wanted: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield ranges of bands that share chunks or whose chunks are neighbours."""
        if not wanted.size:
            return
        slabs = np.unique(wanted // self._depth)
        for slab in np.split(slabs, np.flatnonzero(np.diff(slabs) > 1) + 1):
            inside = wanted[
                (wanted // self._depth >= slab[0]) & (wanted // self._depth <= slab[-1])
            ]
            yield int(inside.min()), int(inside.max()) + 1

    def _pieces(self, window: Window, n_bands: int) -> Iterator[tuple[int, int]]:
        """Yield ranges of rows that end where chunks do."""
        row_bytes = max(n_bands * window.width * self.dtype.itemsize, 1)
        step = max(_PIECE // row_bytes // self._rows, 1) * self._rows
        top, end = window.row, window.row + window.height
        while top < end:
            bottom = min((top // self._rows) * self._rows + step, end)
            yield top, bottom
            top = bottom

    def close(self) -> None:
        """Close the file, where there is one."""
        if self._file is not None:
            self._file.close()


def _copy(
    part: NDArray[np.generic],
    chosen: NDArray[np.int64],
    out: NDArray[np.generic],
    places: NDArray[np.intp],
) -> None:
    """Copy chosen bands to their places, a row at a time: 6 times as fast where axes are turned."""
    whole = np.array_equal(chosen, np.arange(len(part))) and len(places) == len(out)
    for y in range(part.shape[1]):
        if whole:
            out[:, y] = part[:, y]
        else:
            out[places, y] = part[chosen, y]


def _rebuild(
    source: Callable[[], Any],
    axes: tuple[int, int, int],
    driver: str,
    compression: Callable[[Any], str],
) -> ChunkReader:
    return ChunkReader(source, axes, driver=driver, compression=compression)


def _unchunked(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunks that stand for a plain array: lines along its last axis."""
    return (*(1 for _ in shape[:-1]), shape[-1])


def _name(array: Any) -> str:  # noqa: ANN401  # h5py or Zarr
    return str(getattr(array, "store_path", None) or f"{array.file.filename}:{array.name}")

"""Cloud-optimised GeoTIFFs: tiles and overviews made as rows come, assembled once, read back."""

from __future__ import annotations

import logging
import os
import struct
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
import rasterio
from imagecodecs import deflate_crc32 as crc32
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile

from hsimap._version import __version__
from hsimap.crashpoints import crash_point
from hsimap.errors import StorageError, VerificationError
from hsimap.geometry import Window
from hsimap.products import _tiff
from hsimap.products._layer import BLOCK, CODED, Layer, describe_codes, legend_of
from hsimap.products._overviews import halve, level_shapes
from hsimap.products._statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    ReadWindow = Callable[[Window], NDArray[np.generic]]

_PREDICTOR: Final = {"classes": 1, "flags": 1, "values": 3, "probabilities": 2}
_GDAL: Final = {"GDAL_PAM_ENABLED": "NO"}
_CHUNK: Final = 8 << 20


class CogWriter:
    """Makes one map's tiles and overviews while its rows come in, and the file at the end.

    Tiles are compressed once, into a scratch file a level, and copied undecoded from there. The
    bytes depend on the values alone, not on how many rows each step brings.

    Parameters
    ----------
    scratch : Path
        Folder of the scratch files; they are gone after :meth:`finish` and :meth:`close`.
    layer : Layer
        What the map is.
    read : callable
        ``Window -> (band, y, x)`` of the layer's dtype; asked for finished rows only, and once.
    """

    def __init__(self, scratch: Path, layer: Layer, read: ReadWindow) -> None:
        self._layer, self._read, self._row = layer, read, 0
        self._levels = [
            _Level(scratch / f"{layer.name}.{k}.tiles", layer, shape)
            for k, shape in enumerate(level_shapes(layer.grid.height, layer.grid.width))
        ]
        self._crcs: list[int] = []
        self.statistics = Statistics(layer)
        """Of the rows that were encoded."""

    @property
    def encoded_rows(self) -> int:
        """Rows of the map whose tiles are made, from the first on."""
        return self._row

    def advance(self, rows: int) -> None:
        """Encode every whole row of blocks among the first ``rows`` rows, which are final."""
        grid = self._layer.grid
        with rasterio.Env(**_GDAL), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            while self._row < grid.height and min(self._row + BLOCK, grid.height) <= rows:
                window = _block_row(self._layer, self._row)
                values = np.ascontiguousarray(self._read(window))
                self._crcs.append(crc32(values.data))  # type: ignore[arg-type]  # any buffer will do
                self.statistics.add(values)
                self._push(0, values)
                self._row += window.height

    def _push(self, index: int, values: NDArray[np.generic]) -> None:
        """Encode one row of blocks of a level and hand its half to the next level."""
        self._levels[index].encode(values)
        if index + 1 < len(self._levels):
            ready = self._levels[index + 1].collect(halve(self._layer, values))
            if ready is not None:
                self._push(index + 1, ready)

    def finish(self, path: Path) -> None:
        """Encode what is left, write the file, make it durable and read all of it back.

        Raises
        ------
        StorageError
            If the disk is full or fails.
        VerificationError
            If what reads back is not what was written.
        """
        try:
            self.advance(self._layer.grid.height)
            self._verify(path, self._assemble(path))
            crash_point("map-verified")
        except (RasterioError, OSError) as error:
            path.unlink(missing_ok=True)
            raise StorageError(f"{path} cannot be written: {error}") from error
        finally:
            self.close()

    def _assemble(self, path: Path) -> list[tuple[int, int]]:
        """Write header, overviews and map in one go; return length and CRC-32 of each part."""
        with rasterio.Env(**_GDAL), warnings.catch_warnings(), loud_gdal(path):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            base = _describe(self._layer, self.statistics)
        directories = [base] + [_tiff.overview_of(base, *lv.shape) for lv in self._levels[1:]]
        head = _tiff.lay_out(directories, [level.sizes for level in self._levels])
        with path.open("wb") as file:
            file.write(head)
            file.flush()
            for level in reversed(self._levels):
                level.copy_to(file.fileno())
            crash_point("map-written")
            os.fsync(file.fileno())
        crash_point("map-durable")
        return [(len(head), crc32(head))] + [(lv.length, lv.crc) for lv in self._levels[::-1]]

    def _verify(self, path: Path, parts: list[tuple[int, int]]) -> None:
        """Compare every byte with what was meant, and the decoded map with what was encoded."""
        problem = f"{path} does not read back as it was written"
        with path.open("rb") as file:
            for length, crc in parts:
                start = file.tell()
                if _checksum(file, length) != crc:
                    raise VerificationError(
                        f"{problem} in the {length} bytes from {start} on; the disk may be failing"
                    )
        with rasterio.Env(**_GDAL), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path, driver="GTiff", num_threads=2) as file:
                for k, crc in enumerate(self._crcs):
                    window = _block_row(self._layer, k * BLOCK)
                    if crc32(file.read(window=_slices(window))) != crc:
                        row = window.row
                        raise VerificationError(f"{problem} at row {row}; the disk may be failing")

    def close(self) -> None:
        """Delete the scratch files."""
        for level in self._levels:
            level.close()


class _Level:
    """The tiles of a map or of one of its overviews, as they will stand in the file."""

    def __init__(self, path: Path, layer: Layer, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.sizes: list[int] = []
        """Bytes of each tile, row by row."""
        self.crc = 0
        """CRC-32 of those bytes."""
        self._path, self._layer = path, layer
        self._handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o644)
        self.length = 0
        """Bytes of all tiles with what stands around them."""
        self._pending: list[NDArray[np.generic]] = []
        self._rows = 0

    def collect(self, values: NDArray[np.generic]) -> NDArray[np.generic] | None:
        """Take rows; return a row of blocks once it is whole."""
        self._pending.append(values)
        self._rows += values.shape[1]
        waiting = sum(part.shape[1] for part in self._pending)
        if waiting < BLOCK and self._rows < self.shape[0]:
            return None
        ready = np.concatenate(self._pending, axis=1)
        self._pending = []
        return ready

    def encode(self, values: NDArray[np.generic]) -> None:
        """Compress one row of blocks and append it."""
        parts = []
        for tile in encode_tiles(self._layer, values):
            self.sizes.append(len(tile))
            parts += [struct.pack("<I", len(tile)), tile, tile[-4:]]
        data = b"".join(parts)
        self.crc = crc32(data, self.crc)
        view = memoryview(data)
        while view:
            written = os.pwrite(self._handle, view, self.length)
            self.length += written
            view = view[written:]

    def copy_to(self, target: int) -> None:
        """Append all tiles to an open file, undecoded."""
        done = 0
        while done < self.length:
            n = os.sendfile(target, self._handle, done, self.length - done)
            if n == 0:
                raise OSError(f"{self._path} became shorter while it was copied")
            done += n

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            self._path.unlink(missing_ok=True)


def write_cog(path: Path, layer: Layer, read: ReadWindow) -> None:
    """Write a whole map, in bounded memory; see :class:`CogWriter`."""
    try:
        writer = CogWriter(path.parent, layer, read)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
    writer.finish(path)


def _block_row(layer: Layer, row: int) -> Window:
    grid = layer.grid
    return Window(row=row, col=0, height=min(BLOCK, grid.height - row), width=grid.width)


def _slices(window: Window) -> tuple[tuple[int, int], tuple[int, int]]:
    return (window.row, window.row + window.height), (window.col, window.col + window.width)


def _checksum(file: BinaryIO, length: int) -> int:
    """Return the CRC-32 of the next bytes of a file."""
    crc = 0
    while length and (piece := file.read(min(_CHUNK, length))):
        crc, length = crc32(piece, crc), length - len(piece)
    return crc


def encode_tiles(layer: Layer, values: NDArray[np.generic]) -> Iterator[bytes]:
    """Yield the compressed tiles of one row of blocks, from left to right.

    Parameters
    ----------
    layer : Layer
        Decides the predictor; tiles that pass the edge are filled with its nodata.
    values : ndarray
        ``(band, <= BLOCK, x)`` of the layer's dtype.
    """
    fill = ((0, 0), (0, -values.shape[1] % BLOCK), (0, -values.shape[2] % BLOCK))
    if any(after for _, after in fill):
        values = np.pad(values, fill, constant_values=layer.nodata)
    with MemoryFile() as memory:
        with memory.open(**_profile(layer, *values.shape[1:])) as file:
            file.write(values)
        data = memory.getbuffer()
        tiles = _tiff.read_directory(data)
        offsets = _tiff.numbers(tiles[_tiff.TILE_OFFSETS])
        for offset, size in zip(offsets, _tiff.numbers(tiles[_tiff.TILE_SIZES]), strict=True):
            yield bytes(data[offset : offset + size])


def _profile(layer: Layer, height: int, width: int) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "dtype": layer.dtype,
        "count": len(layer.bands),
        "height": height,
        "width": width,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "interleave": "pixel",
        "compress": "ZSTD",
        "zstd_level": 1,
        "predictor": _PREDICTOR[layer.kind],
        "BIGTIFF": "NO",
        "ENDIANNESS": "LITTLE",
    }


def _describe(layer: Layer, statistics: Statistics) -> _tiff.Directory:
    """Let GDAL write the directory of a map without pixels: place, names, units, colours."""
    grid = layer.grid
    place = {"crs": grid.crs, "transform": grid.transform, "nodata": layer.nodata}
    profile = _profile(layer, grid.height, grid.width) | place | {"SPARSE_OK": True}
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            for index, name in enumerate(layer.bands, 1):
                file.set_band_description(index, name)
                file.update_tags(index, **statistics.tags(index - 1))
            file.update_tags(TIFFTAG_SOFTWARE=f"hsimap {__version__}", **dict(layer.tags))
            _describe_bands(file, layer)
        return _tiff.read_directory(memory.getbuffer())


def _describe_bands(file: Any, layer: Layer) -> None:  # noqa: ANN401  # rasterio has no types
    n = len(layer.bands)
    for index in range(1, n + 1):
        file.update_tags(index, **describe_codes(layer))
    if layer.kind in CODED:
        file.write_colormap(1, {code: _rgba(color) for code, _, color in legend_of(layer)})
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

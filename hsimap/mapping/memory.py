"""How much memory a run needs, from its tiles and what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from hsimap.geometry import round_up
from hsimap.mapping.intervals import bounded_tasks
from hsimap.mapping.recycling import batches_in_use, reads_in_use
from hsimap.mapping.tiling import READ_AHEAD
from hsimap.products import BLOCK

if TYPE_CHECKING:
    from hsimap.bundle import BundleManifest
    from hsimap.mapping.tiling import TilePlan

BASE_BYTES: Final = 80 << 20
"""Interpreter and libraries, without pages that are backed by files: 66 MiB were measured with ONNX
Runtime, GDAL and a small network loaded."""
_NETWORK_COPIES: Final = 6
"""Times that a network's file lies in memory: as read, rewritten, and in the order that suits the
processor."""
WRITE_BEHIND: Final = 2
"""Squares that wait to be written while the network goes on."""
MAPS_AT_A_TIME: Final = 2
"""Maps that are made durable, compressed or finished side by side."""
_CACHE: Final = 32 << 20
"""What the file library may keep of what it decoded, in bytes; more of it changed nothing."""
_BLOCK_CACHE: Final = 128 << 20
"""The same where rows of blocks are decoded once: neighbouring windows share a column of blocks."""
_BLOCKS: Final = 64 << 20
"""What our own decoder keeps of such blocks, and again what it may have in work."""
_CACHE_SHARE: Final = 12
"""It gets no more than this part of the budget."""
_SLACK: Final = 1.05
"""Freed memory that the C library keeps, over what is counted."""
_ENCODING: Final = 8
"""Bytes a pixel of a row of blocks while one map is compressed; each map keeps half a row of
overviews besides, measured."""
_ACTIVATION_BYTES: Final = 4096.0
"""Assumed where a bundle does not state its own, in bytes per pixel of a tile."""


class Wanted(Protocol):
    """What of a run's options decides its memory; ``MapSettings`` is one."""

    @property
    def runtime(self) -> str:
        """What runs the network; auto = whatever is fastest of what may be taken."""

    @property
    def memory(self) -> int:
        """Budget of the whole process, in bytes."""

    @property
    def probabilities(self) -> str:
        """Which probability maps are written: all, max or none."""

    @property
    def intervals(self) -> int | None:
        """Level of the prediction intervals that are written; None = none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a run reads its scene, as far as that takes memory."""

    itemsize: int
    """Bytes of one stored sample."""
    as_stored: bool = False
    """Whether the network is given the scene's integers as they are."""
    is_apart: bool = False
    """Whether the network computes in a memory of its own, as on a GPU."""
    at_once: int = 1
    """Tiles of a row that are read in one piece."""
    block: int = 0
    """Rows of the file's blocks, where those below a tile row are kept for the next one; else 0."""
    streams: int = 1
    """Forwards that are run side by side."""
    is_decoded: bool = True
    """Whether the scene is decoded block by block, and some of that kept."""
    keeps: bool = True
    """Whether our own decoder does that, and not the file library."""

    @property
    def cache(self) -> int:
        """Most bytes that are kept of decoded blocks."""
        if not self.block:
            return _CACHE
        return _BLOCKS if self.keeps else _BLOCK_CACHE


def cache_bytes(memory: int, reading: Reading) -> int:
    """Return how much of a budget may go to decoded blocks that are kept, in bytes."""
    return min(reading.cache, memory // _CACHE_SHARE)


def estimate_memory(
    tiles: TilePlan,
    manifest: BundleManifest,
    settings: Wanted,
    *,
    reading: Reading,
) -> int:
    """Return the estimated peak of the process, in bytes (see ``docs/concepts.md``)."""
    n_bands, shared = manifest.input.n_bands, max(tiles.side - tiles.kept, 0)
    pixel = n_bands * reading.itemsize + 1
    # Pieces in use and ahead; a tile that is cut out of a wider piece.
    wide = min(reading.at_once, tiles.n_cols)
    in_use = reads_in_use(reading.streams, as_stored=reading.as_stored, cuts=wide > 1)
    columns = (READ_AHEAD + in_use) * (wide * tiles.kept + shared)
    columns += tiles.side * batches_in_use(reading.streams) if wide > 1 else 0
    stored = tiles.side * columns * pixel + _kept_bytes(tiles, reading, pixel=pixel)
    area, held = tiles.side**2, (WRITE_BEHIND + reading.streams) * tiles.batch
    forward = _forward_bytes(tiles, manifest, reading, settings.runtime) * reading.streams
    channels = [output.channels / output.stride**2 for output in manifest.outputs]
    # One square waits or is written, one map at a time, while the next one is computed; of the
    # rows above and below the ramps alone.
    canvases = area * 4 * (sum(channels) * held + 2 * max(channels))
    canvases += 8 * sum(channels) * tiles.ramp * tiles.width
    blocks = min(BLOCK, tiles.height) * tiles.width
    encoding = blocks * (output_bytes(manifest, settings) / 2 + _ENCODING * MAPS_AT_A_TIME)
    network = _NETWORK_COPIES * max((entry.size for entry in manifest.files.values()), default=0)
    cache = cache_bytes(settings.memory, reading) * reading.is_decoded
    cache *= 2 if reading.block and reading.keeps else 1
    counted = BASE_BYTES + network + stored + forward + canvases + encoding + cache
    return int(counted * _SLACK)


def output_bytes(manifest: BundleManifest, settings: Wanted) -> int:
    """Return the bytes a pixel that the maps take before they are compressed."""
    total = 1.0  # the flags
    bounded = bounded_tasks(manifest, settings.intervals)
    for output in manifest.outputs:
        if output.kind == "categorical":
            bands = {"all": output.channels, "max": 1, "none": 0}[settings.probabilities]
            total += (1 + 2 * bands) / output.stride**2
        else:
            maps = 3 if output.name in bounded else 1
            total += 4 * maps * output.channels / output.stride**2
    return -(-int(total * 100) // 100)


def _forward_bytes(
    tiles: TilePlan, manifest: BundleManifest, reading: Reading, runtime: str
) -> float:
    """Return what a batch takes in the network, its input included."""
    n_bands, pixels = manifest.input.n_bands, tiles.side**2 * tiles.batch
    as_stored = reading.as_stored and manifest.stored_activation_bytes_per_px is not None
    needed = activation_bytes(manifest, runtime, as_stored=as_stored)
    activations = 0 if reading.is_apart else needed
    if as_stored:
        gathered = n_bands * reading.itemsize if tiles.batch > 1 else 0
        return pixels * (4 + gathered + activations)
    # What a batch is gathered in, and the tile that is converted.
    image = pixels * (n_bands + 1) * 4 + (tiles.batch > 1) * tiles.side**2 * n_bands * 4
    return image + pixels * activations


def activation_bytes(manifest: BundleManifest, runtime: str, *, as_stored: bool) -> float:
    """Return the bytes a pixel of a tile that a forward takes beside its input.

    Where ncnn may be taken, the larger need of it and ONNX Runtime, so that tiles do not depend on
    which of them turns out faster.
    """
    plain = manifest.activation_bytes_per_px or _ACTIVATION_BYTES
    if as_stored:
        plain = manifest.stored_activation_bytes_per_px or plain
    in_ncnn = manifest.ncnn_activation_bytes_per_px or 0
    return max(plain, in_ncnn) if may_use_ncnn(manifest, runtime) else plain


def may_use_ncnn(manifest: BundleManifest, runtime: str) -> bool:
    """Say whether a network is run in ncnn, or may turn out to be."""
    return runtime == "ncnn" or any(
        record.runtime == "ncnn" and record.verdict != "refused" for record in manifest.acceptance
    )


def _kept_bytes(tiles: TilePlan, reading: Reading, *, pixel: int) -> int:
    """Return what keeping the lowest blocks of a tile row takes, and the room to decode into."""
    block = reading.block
    if not block:
        return 0
    shared = max(tiles.side - tiles.kept, 0)
    columns = min(reading.at_once * tiles.kept + shared, tiles.width)
    below = rows_below(tiles, block) * (tiles.width + columns)
    decoded = 0 if reading.keeps else (tiles.side + block) * columns
    return (below + decoded) * pixel


def rows_below(tiles: TilePlan, block: int) -> int:
    """Return the most rows of pixels that a tile row leaves to the next one, of whole blocks."""
    tops = range(tiles.row - tiles.trim, tiles.row + tiles.height - tiles.trim, tiles.kept)
    return max(round_up(top + tiles.side, block) - top - tiles.kept for top in tops)

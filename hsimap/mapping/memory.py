"""How much memory a run needs, from its tiles and what it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from hsimap.mapping.intervals import bounded_tasks
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
WRITE_BEHIND: Final = 1
"""Strips between blending and the journal: a kill loses that one and the tile row in hand."""
_CACHE: Final = 32 << 20
"""What the file library may keep of what it decoded, in bytes; more of it changed nothing."""
_BLOCK_CACHE: Final = 128 << 20
"""The same where rows of blocks are decoded once: neighbouring windows share a column of blocks."""
_CACHE_SHARE: Final = 12
"""It gets no more than this part of the budget."""
SLACK: Final = 1.05
"""Freed memory that the C library keeps, over what is counted."""
_ENCODING: Final = 8
"""Bytes a pixel of a row of blocks while one map is compressed; each map keeps half a row of
overviews besides, measured."""
_ACTIVATION_BYTES: Final = 4096.0
"""Assumed where a bundle does not state its own, in bytes per pixel of a tile."""


class Wanted(Protocol):
    """What of a run's options decides its memory; ``MapSettings`` is one."""

    @property
    def memory(self) -> int:
        """Budget of the whole process, in bytes."""

    @property
    def probabilities(self) -> str:
        """Which probability maps are written: all, max or none."""

    @property
    def intervals(self) -> int | None:
        """Level of the prediction intervals that are written; None = none."""


def cache_bytes(memory: int, *, block_rows: bool = False) -> int:
    """Return how much of a budget the file library may keep of what it decoded, in bytes."""
    return min(_BLOCK_CACHE if block_rows else _CACHE, memory // _CACHE_SHARE)


def estimate_memory(
    tiles: TilePlan,
    manifest: BundleManifest,
    settings: Wanted,
    *,
    itemsize: int,
    at_once: int,
    as_stored: bool = False,
) -> int:
    """Return the estimated peak of the process, in bytes (see ``docs/concepts.md``)."""
    n_bands, shared = manifest.input.n_bands, max(tiles.side - tiles.kept, 0)
    # Pieces in use and ahead; a tile that is cut out of a wider piece.
    wide = min(at_once, tiles.n_cols)
    columns = (READ_AHEAD + 1) * (wide * tiles.kept + shared) + (tiles.side if wide > 1 else 0)
    stored = tiles.side * columns * (n_bands * itemsize + 1)
    area = tiles.side**2
    activations = area * (manifest.activation_bytes_per_px or _ACTIVATION_BYTES)
    image = area * (n_bands + 1) * 4
    stated = manifest.stored_activation_bytes_per_px
    if stated is not None and as_stored:
        activations, image = area * stated, area * 4
    channels = [output.channels / output.stride**2 for output in manifest.outputs]
    # One square waits or is written, one map at a time, while the next one is computed; of the
    # rows above and below the ramps alone.
    canvases = area * 4 * (sum(channels) * (WRITE_BEHIND + 1) + 2 * max(channels))
    canvases += 8 * sum(channels) * tiles.ramp * tiles.width
    blocks = min(BLOCK, tiles.height) * tiles.width
    encoding = blocks * (output_bytes(manifest, settings) / 2 + _ENCODING)
    network = _NETWORK_COPIES * max((entry.size for entry in manifest.files.values()), default=0)
    counted = BASE_BYTES + network + stored + image + activations + canvases + encoding
    return int((counted + cache_bytes(settings.memory)) * SLACK)


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


def kept_bytes(tiles: TilePlan, block: int, at_once: int, *, pixel: int) -> int:
    """Return what keeping the lowest blocks of a tile row takes, and the room to decode into."""
    if not block:
        return 0
    shared = max(tiles.side - tiles.kept, 0)
    columns = min(at_once * tiles.kept + shared, tiles.width)
    below = (shared + block) * (tiles.width + columns)
    return int((below + (tiles.side + block) * columns) * pixel * SLACK)

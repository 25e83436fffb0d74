"""What a user may ask of a mapping run, and the plan that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from hsimap.errors import MismatchError, ResourceError
from hsimap.mapping.tiling import TilePlan, TileRules, plan_tiles
from hsimap.tasks import Scope

if TYPE_CHECKING:
    from hsimap.bundle import BundleManifest
    from hsimap.geometry import Grid

Probabilities = Literal["all", "max", "none"]
BASE_BYTES: Final = 400 << 20
"""Interpreter, libraries and weights, as measured with ONNX Runtime and GDAL loaded (340 MiB)."""
_CACHE: Final = 256 << 20
"""Most that the file library may keep of what it decoded, in bytes."""
_SLACK: Final = 1.05
"""Freed memory that the C library keeps, over what is counted."""
_CACHE_SHARE: Final = 8
"""It gets no more than this part of the budget."""
_ACTIVATION_BYTES: Final = 4096.0
"""Assumed where a bundle does not state its own, in bytes per pixel of a tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """The options of ``hsimap predict``."""

    runtime: str = "auto"
    """auto, torch, onnx or openvino."""
    precision: str = "auto"
    """fp32, bf16 or int8; auto = the fastest that the bundle holds an acceptance of."""
    device: str = "auto"
    """auto, cpu or cuda; a device that is asked for and absent is an error."""
    threads: int | None = None
    """Threads of the network; None = one a core."""
    tile: int | None = None
    """Kept side of a tile, in pixels; None = chosen from the scene's shape and the memory."""
    trim: int | None = None
    """Context thrown away on each side of a tile, in pixels; None = the bundle's."""
    ramp: int | None = None
    """Cross-fade between tiles, in pixels; None = the bundle's."""
    memory: int = 4 << 30
    """Budget of the whole process, in bytes."""
    probabilities: Probabilities = "all"
    """Which probability maps are written: one band a class, the highest only, or none."""
    overwrite: bool = False
    """Replace the result of a different run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """What waits between the stages of a run; more evens out stages of uneven speed."""

    read_ahead: int
    """Tiles that are read while one is computed."""
    write_behind: int
    """Strips that are written while one is computed."""


BUFFERS: Final = (Buffers(read_ahead=2, write_behind=1), Buffers(read_ahead=1, write_behind=1))
"""From the most to the least; with the last one every stage still has work. A kill loses the strips
that wait, so that there is never more than one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPlan:
    """A tile grid and what it costs."""

    tiles: TilePlan
    buffers: Buffers
    memory_bytes: int
    """Estimated peak of the process."""
    output_bytes: int
    """Uncompressed size of the maps on disk."""
    notes: tuple[str, ...]
    """Values that were rounded, a sentence each."""

    def describe(self) -> dict[str, object]:
        """Return the plan as plain data, sizes in pixels and bytes."""
        tiles = self.tiles
        return {
            "height": tiles.height,
            "width": tiles.width,
            "tile": tiles.kept,
            "trim": tiles.trim,
            "ramp": tiles.ramp,
            "read_side": tiles.side,
            "alignment": tiles.alignment,
            "tiles": tiles.n_rows * tiles.n_cols,
            "strips": tiles.n_rows,
            "computed_per_mapped": round(tiles.ratio, 4),
            "read_ahead": self.buffers.read_ahead,
            "write_behind": self.buffers.write_behind,
            "memory_bytes": self.memory_bytes,
            "output_bytes": self.output_bytes,
        }


def plan_map(
    grid: Grid, manifest: BundleManifest, settings: MapSettings, *, itemsize: int
) -> MapPlan:
    """Resolve the tile grid of a scene from its shape, the bundle, the options and the memory.

    Parameters
    ----------
    grid : Grid
        The scene's grid.
    manifest : BundleManifest
        The model's rules.
    settings : MapSettings
        The user's options.
    itemsize : int
        Bytes of one stored sample of the scene.

    Raises
    ------
    ResourceError
        If even the smallest tile exceeds the memory.
    MismatchError
        If an output speaks of whole patches, which have no place on a map.
    """
    _refuse_patches(manifest)
    asked = {"tile": settings.tile, "trim": settings.trim, "ramp": settings.ramp}
    rules = TileRules(
        alignment=manifest.alignment,
        patch=manifest.patch,
        trim=manifest.tile.trim if settings.trim is None else settings.trim,
        ramp=manifest.tile.ramp if settings.ramp is None else settings.ramp,
        max_tile=manifest.tile.max_tile,
        tile=settings.tile,
    )

    def memory(tiles: TilePlan, buffers: Buffers = BUFFERS[-1]) -> int:
        needed = estimate_memory(tiles, manifest, itemsize=itemsize, buffers=buffers)
        return int((needed + cache_bytes(settings.memory)) * _SLACK)

    tiles = plan_tiles(
        height=grid.height,
        width=grid.width,
        rules=rules,
        fits=lambda candidate: memory(candidate) <= settings.memory,
    )
    needed = memory(tiles)
    if needed > settings.memory:
        raise ResourceError(
            f"mapping with a tile of {tiles.kept} px needs about {needed / 2**20:.0f} MiB, more"
            f" than the memory budget of {settings.memory / 2**20:.0f} MiB; raise --memory"
            + ("" if settings.tile is None else " or lower --tile")
        )
    buffers = next(some for some in BUFFERS if memory(tiles, some) <= settings.memory)
    return MapPlan(
        tiles=tiles,
        buffers=buffers,
        memory_bytes=memory(tiles, buffers),
        output_bytes=grid.height * grid.width * _output_bytes(manifest, settings.probabilities),
        notes=_rounding_notes(asked, tiles),
    )


def _refuse_patches(manifest: BundleManifest) -> None:
    for output in manifest.outputs:
        if output.scope is not Scope.PIXEL:
            raise MismatchError(
                f"output {output.name!r} has scope {output.scope.value!r}; only outputs of scope"
                f" 'pixel' can be mapped"
            )


def cache_bytes(memory: int) -> int:
    """Return how much of a budget the file library may keep of what it decoded, in bytes."""
    return min(_CACHE, memory // _CACHE_SHARE)


def estimate_memory(
    tiles: TilePlan, manifest: BundleManifest, *, itemsize: int, buffers: Buffers
) -> int:
    """Return the estimated peak of the process, in bytes (see ``docs/concepts.md``)."""
    area, n_bands = tiles.side**2, manifest.input.n_bands
    # One tile is computed; the newest is put together of the columns that are shared and the rest.
    stored = area * (n_bands * itemsize + 1) * (buffers.read_ahead + 2)
    image = area * (n_bands + 1) * 4
    activations = area * (manifest.activation_bytes_per_px or _ACTIVATION_BYTES)
    row = (tiles.kept + tiles.ramp) * tiles.width
    channels = sum(output.channels / output.stride**2 for output in manifest.outputs)
    largest = max(output.channels / output.stride**2 for output in manifest.outputs)
    # One strip is computed, the others wait or are written: one map at a time is encoded.
    canvases = row * 4 * (channels * (buffers.write_behind + 1) + 2 * largest)
    return int(BASE_BYTES + stored + image + activations + canvases)


def _output_bytes(manifest: BundleManifest, probabilities: Probabilities) -> int:
    total = 0.0
    for output in manifest.outputs:
        if output.kind == "categorical":
            bands = {"all": output.channels, "max": 1, "none": 0}[probabilities]
            total += (1 + 2 * bands) / output.stride**2
        else:
            total += 4 * output.channels / output.stride**2
    return -(-int(total * 100) // 100)


def _rounding_notes(asked: dict[str, int | None], tiles: TilePlan) -> tuple[str, ...]:
    got = {"tile": tiles.kept, "trim": tiles.trim, "ramp": tiles.ramp}
    return tuple(
        f"--{name} {value} became {got[name]} px (steps of {tiles.alignment} px, read side at least"
        f" the training patch)"
        for name, value in asked.items()
        if value is not None and value != got[name]
    )

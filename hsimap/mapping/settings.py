"""What a user may ask of a mapping run, and the plan that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from hsimap.errors import MismatchError, ResourceError
from hsimap.mapping.tiling import READ_AHEAD, TilePlan, TileRules, plan_tiles
from hsimap.products import BLOCK
from hsimap.tasks import Scope

if TYPE_CHECKING:
    from hsimap.bundle import BundleManifest
    from hsimap.geometry import Grid

Probabilities = Literal["all", "max", "none"]
BASE_BYTES: Final = 400 << 20
"""Interpreter, libraries and weights, as measured with ONNX Runtime and GDAL loaded (340 MiB)."""
WRITE_BEHIND: Final = 2
"""Strips that wait between blending and the disk."""
_READ_PIECES: Final = 3
"""Pieces of a tile row in memory: in use, read, and about to be read."""
_SPARE: Final = 3
"""Tiles beside the first that a piece should have: lines of a raw file are read nearly whole."""
_ENCODING: Final = 8
"""Rows of blocks in work while one map is compressed; each map keeps one of overviews besides."""
_ACTIVATION_BYTES: Final = 4096.0
"""Assumed where a bundle does not state its own, in bytes per pixel of a tile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """The options of ``hsimap predict``."""

    runtime: str = "auto"
    """auto, torch or onnx."""
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
class MapPlan:
    """A tile grid and what it costs."""

    tiles: TilePlan
    at_once: int
    """Tiles of a row that are read in one piece, as far as memory is left."""
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
    _refuse_scopes(manifest)
    asked = {"tile": settings.tile, "trim": settings.trim, "ramp": settings.ramp}
    rules = _rules(manifest, settings)

    def memory(tiles: TilePlan) -> int:
        return estimate_memory(tiles, manifest, settings.probabilities, itemsize=itemsize)

    def piece(tiles: TilePlan) -> int:
        bands = manifest.input.n_bands
        return _READ_PIECES * tiles.side * tiles.kept * bands * itemsize

    def lay(spare: int) -> TilePlan:
        return plan_tiles(
            height=grid.height,
            width=grid.width,
            rules=rules,
            fits=lambda tiles: memory(tiles) + spare * piece(tiles) <= settings.memory,
        )

    tiles = lay(_SPARE)
    if memory(tiles) + _SPARE * piece(tiles) > settings.memory:
        tiles = lay(0)
    needed = memory(tiles)
    if needed > settings.memory:
        raise ResourceError(
            f"mapping with a tile of {tiles.kept} px needs about {needed / 2**20:.0f} MiB, more"
            f" than the memory budget of {settings.memory / 2**20:.0f} MiB; raise --memory"
            + ("" if settings.tile is None else " or lower --tile")
        )
    at_once = min(tiles.n_cols, 1 + (settings.memory - needed) // piece(tiles))
    return MapPlan(
        tiles=tiles,
        at_once=at_once,
        memory_bytes=needed + (at_once - 1) * piece(tiles),
        output_bytes=grid.height * grid.width * _output_bytes(manifest, settings.probabilities),
        notes=_rounding_notes(asked, tiles),
    )


def _rules(manifest: BundleManifest, settings: MapSettings) -> TileRules:
    """Return what the bundle asks of the tile grid, and the user in its place."""
    return TileRules(
        alignment=manifest.alignment,
        patch=manifest.patch,
        trim=manifest.tile.trim if settings.trim is None else settings.trim,
        ramp=manifest.tile.ramp if settings.ramp is None else settings.ramp,
        max_tile=manifest.tile.max_tile,
        tile=settings.tile,
    )


def _refuse_scopes(manifest: BundleManifest) -> None:
    for output in manifest.outputs:
        if output.scope is not Scope.PIXEL:
            raise MismatchError(
                f"output {output.name!r} has scope {output.scope.value!r}; only outputs of scope"
                f" 'pixel' can be mapped"
            )


def estimate_memory(
    tiles: TilePlan, manifest: BundleManifest, probabilities: Probabilities, *, itemsize: int
) -> int:
    """Return the estimated peak of the process, in bytes (see ``docs/concepts.md``)."""
    area = tiles.side**2
    stored = area * manifest.input.n_bands * itemsize * (READ_AHEAD + 2)
    image = area * manifest.input.n_bands * 4
    activations = area * (manifest.activation_bytes_per_px or _ACTIVATION_BYTES)
    row = (tiles.kept + tiles.ramp) * tiles.width
    channels = sum(output.channels / output.stride**2 for output in manifest.outputs)
    canvases = row * channels * 4 * (WRITE_BEHIND + 2)
    encoding = BLOCK * tiles.width * (_output_bytes(manifest, probabilities) + 4 * _ENCODING)
    return int(BASE_BYTES + stored + image + activations + canvases + encoding)


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

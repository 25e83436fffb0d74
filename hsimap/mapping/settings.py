"""What a user may ask of a mapping run, and the plan that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Final, Literal

from hsimap.bundle import ONNX
from hsimap.errors import MismatchError, ResourceError
from hsimap.mapping.intervals import bounded_tasks
from hsimap.mapping.memory import (
    Reading,
    cache_bytes,
    estimate_memory,
    may_use_ncnn,
    output_bytes,
)
from hsimap.mapping.pieces import even_piece, widest_piece
from hsimap.mapping.tiling import TilePlan, TileRules, plan_tiles
from hsimap.runtimes import runs_side_by_side
from hsimap.streams import available_cpus
from hsimap.tasks import Scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.bundle import BundleManifest
    from hsimap.geometry import Grid
    from hsimap.labels import Area, AreaSpec
    from hsimap.scenes import Storage
    from hsimap.spectra import Resample

Probabilities = Literal["all", "max", "none"]
_WHOLE_ROW: Final = 1 << 30
_ROOMS: Final = (
    (((_WHOLE_ROW, 0), (1, 256)), 1.03),
    (((1, 256),), 1.1),
    (((4, 0),), 1.03),
    (((2, 0),), 1.03),
)
"""Tiles read in one piece and rows of a block kept, either of which there is to be memory for, and
the most that smaller tiles for their sake may add to the computed pixels: a compressed file is
decoded once, which saves 2 to 4 CPU s a million pixels of 128 bands, a raw one read in whole lines.
The tiles do not depend on how the scene lies on the disk."""
_STREAMS: Final = {False: 1.02, True: 1.05}
"""The most that smaller tiles may add to the computed pixels for the sake of forwards side by side,
each with its share of the threads, and the same where ncnn may run them: on two cores that saves 5
to 20 % of a light network's time in ONNX Runtime, nothing of a heavy one's, and 20 to 27 % in ncnn.
"""
_BLOCKED: Final = frozenset({"GeoTIFF", "Zarr", "HDF5"})
"""Drivers whose files are decoded a block at a time."""
_LARGEST_BLOCK: Final = 1024
"""Side in pixels; larger blocks are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """The options of ``hsimap predict``."""

    runtime: str = "auto"
    """auto, torch, onnx, openvino or ncnn."""
    precision: str = "auto"
    """fp32, bf16 or int8; auto = the fastest that the bundle holds an acceptance of."""
    device: str = "auto"
    """auto, cpu or cuda; a device that is asked for and absent is an error."""
    threads: int | None = None
    """Threads of the network; None = one a core."""
    compiled: bool = False
    """Have torch compile the network for the shape of its batches before the first one."""
    tile: int | None = None
    """Kept side of a tile, in pixels; None = chosen from the scene's shape and the memory."""
    batch: int | None = None
    """Tiles in one forward; None = 1 on a CPU, on a GPU as many as its memory takes."""
    trim: int | None = None
    """Context thrown away on each side of a tile, in pixels; None = the bundle's."""
    ramp: int | None = None
    """Cross-fade between tiles, in pixels; None = the bundle's."""
    memory: int = 4 << 30
    """Budget of the whole process, in bytes."""
    probabilities: Probabilities = "all"
    """Which probability maps are written: one band a class, the highest only, or none."""
    intervals: int | None = None
    """Level in percent of the prediction intervals that are written beside the values."""
    resample: Resample = "auto"
    """What is done where the scene has other bands than the model: never, auto or always."""
    force: bool = False
    """Map a scene that does not look like the model's training scenes."""
    overwrite: bool = False
    """Replace the result of a different run."""
    area: AreaSpec | None = None
    """What of the scene is mapped; None = all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapPlan:
    """A tile grid and what it costs."""

    tiles: TilePlan
    at_once: int
    """Tiles of a row that are read in one piece, as far as memory is left."""
    streams: int
    """Forwards run side by side; while the runtime is not chosen, as many as memory allows."""
    cache_bytes: int
    """What the file library may keep of what it decoded."""
    block_rows: bool
    """Whether each row of the file's blocks is decoded once and kept for the next tile row."""
    memory_bytes: int
    """Estimated peak of the process."""
    output_bytes: int
    """Uncompressed size of the maps on disk."""
    notes: tuple[str, ...]
    """Values that were rounded, a sentence each."""
    area: Area | None = None
    """Which pixels are mapped; None = all."""

    def grid(self, scene: Grid) -> Grid:
        """Return the grid of the maps, given the scene's."""
        return scene if self.area is None else scene.crop(self.area.window)

    def pixels(self, strips: Sequence[int]) -> int:
        """Return how many pixels of the maps lie in some strips."""
        windows = (self.tiles.in_maps(self.tiles.strip(k)) for k in strips)
        return sum(window.height * window.width for window in windows)

    def describe(self) -> dict[str, object]:
        """Return the plan as plain data, sizes in pixels and bytes."""
        tiles = self.tiles
        height, width = tiles.map_shape
        return {
            "height": height,
            "width": width,
            "tile": tiles.kept,
            "trim": tiles.trim,
            "ramp": tiles.ramp,
            "read_side": tiles.side,
            "tiles_per_forward": tiles.batch,
            "alignment": tiles.alignment,
            "tiles": tiles.n_rows * tiles.n_cols,
            "strips": tiles.n_rows,
            "tiles_read_at_once": self.at_once,
            "forwards_side_by_side": self.streams,
            "blocks_decoded_once": self.block_rows,
            "computed_per_mapped": round(tiles.ratio, 4),
            "memory_bytes": self.memory_bytes,
            "output_bytes": self.output_bytes,
        }


def plan_map(
    grid: Grid,
    manifest: BundleManifest,
    settings: MapSettings,
    *,
    itemsize: int,
    storage: Storage | None = None,
    as_stored: bool = False,
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
    storage : Storage, optional
        How the scene lies on the disk.
    as_stored : bool
        Whether the network is given the scene's integers as they are.

    Raises
    ------
    ResourceError
        If even the smallest tile exceeds the memory.
    MismatchError
        If an output speaks of whole patches, which have no place on a map.
    """
    _refuse_patches(manifest)
    bounded_tasks(manifest, settings.intervals)
    plain = Reading(itemsize=itemsize, as_stored=as_stored, is_apart=settings.device == "cuda")
    layouts = _Layouts(grid, manifest, settings)
    fits, (tiles, plain) = layouts.fits, layouts.choose(plain)
    keeps = storage is None or storage.keeps
    keeping = replace(plain, block=_block_to_keep(storage), keeps=keeps)
    reading = keeping if fits(tiles, keeping) else plain
    widest = widest_piece(tiles, manifest.input.n_bands * itemsize + 1, reading, storage)
    at_once = even_piece(tiles, widest, lambda n: fits(tiles, replace(reading, at_once=n)))
    reading = replace(reading, at_once=at_once, is_decoded=_is_decoded(storage))
    return MapPlan(
        tiles=tiles,
        at_once=at_once,
        streams=plain.streams,
        cache_bytes=cache_bytes(settings.memory, reading),
        block_rows=reading.block > 0,
        memory_bytes=layouts.needed(tiles, reading),
        output_bytes=grid.height * grid.width * output_bytes(manifest, settings),
        notes=(*_rounding_notes(settings, tiles), *_interval_notes(manifest, settings)),
    )


class _Layouts:
    """Tile grids of one scene for ways of reading it."""

    def __init__(self, grid: Grid, manifest: BundleManifest, settings: MapSettings) -> None:
        self._grid, self._manifest, self._settings = grid, manifest, settings

    def needed(self, tiles: TilePlan, reading: Reading) -> int:
        """Return the memory of a run, in bytes."""
        return estimate_memory(tiles, self._manifest, self._settings, reading=reading)

    def fits(self, tiles: TilePlan, *readings: Reading) -> bool:
        """Say whether the budget suffices however the scene is read."""
        return all(self.needed(tiles, reading) <= self._settings.memory for reading in readings)

    def lay(self, *readings: Reading) -> TilePlan:
        """Return the best tiles that fit however the scene is read, or the smallest."""
        return plan_tiles(
            height=self._grid.height,
            width=self._grid.width,
            rules=_rules(self._manifest, self._settings),
            fits=lambda tiles: self.fits(tiles, *readings),
        )

    def choose(self, plain: Reading) -> tuple[TilePlan, Reading]:
        """Return tiles that leave room for what saves time and costs little, and the streams."""
        tiles, settings = self.lay(plain), self._settings
        if not self.fits(tiles, plain):
            raise _too_little(tiles, self.needed(tiles, plain), settings)
        price = _STREAMS[may_use_ncnn(self._manifest, settings.runtime)]
        for n in _streams(self._manifest, settings):
            wide = replace(plain, streams=n)
            found = self._worth(price, tiles, wide)
            if found is not None:
                tiles, plain = found, wide
                break
        for rooms, price in _ROOMS:
            readings = [replace(plain, at_once=n, block=rows) for n, rows in rooms]
            found = self._worth(price, tiles, *readings)
            if found is not None:
                return found, plain
        return tiles, plain

    def _worth(self, price: float, plain: TilePlan, *readings: Reading) -> TilePlan | None:
        """Return tiles that leave room for readings, if they are worth their price."""
        tiles = self.lay(*readings)
        return tiles if self.fits(tiles, *readings) and tiles.ratio <= plain.ratio * price else None


def _streams(manifest: BundleManifest, settings: MapSettings) -> list[int]:
    """Return how many forwards may run side by side, most first: only some runtimes can, on a CPU.

    A batch that the user asks for is another way to the same end.
    """
    runtime = "onnx" if settings.runtime == "auto" else settings.runtime
    can = runs_side_by_side(runtime) and not settings.compiled and settings.device != "cuda"
    if not can or settings.batch or ONNX not in manifest.files:
        return []
    threads = settings.threads or available_cpus()
    return [n for n in range(threads, 1, -1) if threads % n == 0]


def restrict(plan: MapPlan, area: Area) -> MapPlan:
    """Return the part of a plan that an area needs; its tiles are those of the whole scene."""
    whole, window = plan.tiles, area.window
    tiles = whole.part(window)
    share = window.height * window.width / (whole.height * whole.width)
    return replace(
        plan,
        tiles=tiles,
        at_once=min(plan.at_once, tiles.n_cols),
        output_bytes=ceil(plan.output_bytes * share),
        notes=(*plan.notes, *area.notes),
        area=area,
    )


def _too_little(tiles: TilePlan, needed: int, settings: MapSettings) -> ResourceError:
    return ResourceError(
        f"mapping with a tile of {tiles.kept} px needs about {needed / 2**20:.0f} MiB, more than"
        f" the memory budget of {settings.memory / 2**20:.0f} MiB; raise --memory"
        + ("" if settings.tile is None else " or lower --tile")
    )


def _is_decoded(storage: Storage | None) -> bool:
    """Whether the file library decodes a scene, block by block."""
    return storage is None or storage.driver in _BLOCKED


def _block_to_keep(storage: Storage | None) -> int:
    """Return the rows of the file's blocks, 0 where decoding them twice costs little."""
    if storage is None or storage.driver not in _BLOCKED or storage.compression == "none":
        return 0
    return storage.block[0] if max(storage.block) <= _LARGEST_BLOCK else 0


def _rules(manifest: BundleManifest, settings: MapSettings) -> TileRules:
    """Return what the bundle asks of the tile grid, and the user in its place."""
    return TileRules(
        alignment=manifest.alignment,
        patch=manifest.patch,
        trim=manifest.tile.trim if settings.trim is None else settings.trim,
        ramp=manifest.tile.ramp if settings.ramp is None else settings.ramp,
        max_tile=manifest.tile.max_tile,
        tile=settings.tile,
        batch=1 if settings.batch is None else settings.batch,
    )


def _refuse_patches(manifest: BundleManifest) -> None:
    for output in manifest.outputs:
        if output.scope is not Scope.PIXEL:
            raise MismatchError(
                f"output {output.name!r} has scope {output.scope.value!r}; only outputs of scope"
                f" 'pixel' can be mapped"
            )


def _interval_notes(manifest: BundleManifest, settings: MapSettings) -> tuple[str, ...]:
    bounded = bounded_tasks(manifest, settings.intervals)
    values = [o.task for o in manifest.outputs if o.kind == "continuous" and o.name == o.task]
    missing = [name for name in values if name not in bounded] if bounded else []
    if not missing:
        return ()
    told = f"no {settings.intervals} % interval is mapped of {', '.join(missing)}"
    return (f"{told}: the validation fold had too few labels",)


def _rounding_notes(settings: MapSettings, tiles: TilePlan) -> tuple[str, ...]:
    asked = {"tile": settings.tile, "trim": settings.trim, "ramp": settings.ramp}
    got = {"tile": tiles.kept, "trim": tiles.trim, "ramp": tiles.ramp}
    return tuple(
        f"--{name} {value} became {got[name]} px (steps of {tiles.alignment} px, read side at least"
        f" the training patch)"
        for name, value in asked.items()
        if value is not None and value != got[name]
    )

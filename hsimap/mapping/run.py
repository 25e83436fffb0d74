"""Map one scene into one folder: plan, compute, commit."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from hsimap._version import __version__
from hsimap.crashpoints import crash_point, planned_crash
from hsimap.mapping.adapter import RecyclingSource, SceneAdapter
from hsimap.mapping.checks import check_room, check_unchanged, is_finished, make_folder
from hsimap.mapping.commit import finalise, read_finished
from hsimap.mapping.encoding import Product, coarsen_valid, encode, products_of, values_of
from hsimap.mapping.engine import Engine, Square, rows_needed
from hsimap.mapping.events import Listener, StripClock, ignore
from hsimap.mapping.journal import LayerStore, RunFolder, locked
from hsimap.mapping.prepare import look_at, middle_tile, open_route, pixels_of, plan_scene
from hsimap.mapping.probe import resolve_route
from hsimap.mapping.settings import WRITE_BEHIND, MapPlan, MapSettings
from hsimap.mapping.tiling import READ_AHEAD
from hsimap.streams import drain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.mapping.adapter import Pixels
    from hsimap.runtimes import Runtime
    from hsimap.scenes import Scene
    from hsimap.tasks import Output

    Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapReport:
    """What became of a mapping run."""

    folder: Path
    """Where the maps are."""
    files: tuple[str, ...]
    """Names of the files of the finished folder."""
    plan: MapPlan
    already_complete: bool
    """Whether the folder held the finished result of the same run before."""
    seconds: float
    pixels: int
    """Pixels that this call mapped; those of resumed strips are not among them."""
    strips_resumed: int
    """Strips that an interrupted run had left finished."""
    notes: tuple[str, ...]
    """What was guessed, rounded or assumed, a sentence each."""

    def facts(self) -> dict[str, object]:
        """Return what a program wants to know of it, as plain JSON data."""
        return {
            "out": str(self.folder),
            "maps": [name for name in self.files if name.endswith(".tif")],
            "already_complete": self.already_complete,
            "seconds": round(self.seconds, 3),
            "pixels": self.pixels,
            "pixels_per_second": round(self.pixels / max(self.seconds, 1e-9)),
            "strips": self.plan.tiles.n_rows,
            "strips_resumed": self.strips_resumed,
        }


def map_scene(
    scene: Scene,
    bundle: Bundle,
    *,
    settings: MapSettings,
    out: Path,
    progress: Progress = lambda done, total: None,  # noqa: ARG005  # a silent default
    listen: Listener = ignore,
) -> MapReport:
    """Map a scene with a bundle into ``out``; resume where an equal run was interrupted.

    Parameters
    ----------
    scene : Scene
        The raster.
    bundle : Bundle
        The model.
    settings : MapSettings
        Runtime, tile, memory and what is written.
    out : Path
        Folder of this scene's maps.
    progress : callable
        Called with the number of finished and of all tiles.
    listen : callable
        Called with each event; see :data:`hsimap.mapping.events.Listener`.

    Raises
    ------
    MismatchError
        If the scene does not fit the model.
    InputError
        If the scene's files change while they are read.
    OutputExistsError
        If ``out`` holds the result of a different run and ``settings.overwrite`` is False.
    LockedError, StorageError, ResourceError, VerificationError
        See :mod:`hsimap.errors`.
    """
    started = time.monotonic()
    planned_crash()
    adapter = SceneAdapter(scene, bundle.manifest.input, resample=settings.resample)
    plan = plan_scene(scene, adapter, bundle, settings)
    tile = partial(middle_tile, adapter, plan)
    route, told = resolve_route(bundle, settings, out=out, sample=tile)
    wanted, notes = list[int](), (*adapter.notes, *plan.notes, *told)
    with ExitStack() as stack:
        runtime = stack.enter_context(closing(open_route(bundle, settings, route)))
        identity = _identity(adapter, bundle, plan, runtime=runtime, settings=settings)
        make_folder(out)
        stack.enter_context(locked(out))
        _tell_start(listen, out, plan, identity=identity, notes=notes)
        already = is_finished(out, identity, overwrite=settings.overwrite)
        if not already:
            check_room(out, plan)
            looks = look_at(adapter, bundle.manifest.input, force=settings.force)
            notes += looks.notes
            run = RunFolder(out, identity, overwrite=settings.overwrite)
            stack.callback(run.close)
            job = _Job(plan, _products(scene, bundle, settings), run, listen)
            stack.callback(job.close)
            wanted = job.wanted
            job.compute(pixels_of(adapter, plan), runtime, bundle.manifest.outputs, progress)
            check_unchanged(scene, identity)
            record = _record(scene, bundle, plan, identity=identity, notes=notes) | looks.facts
            finalise(out, run, job.stores, record=record, started=started)
    report = MapReport(
        folder=out,
        files=tuple(sorted(read_finished(out)["files"])),
        plan=plan,
        already_complete=already,
        seconds=time.monotonic() - started,
        pixels=sum(plan.tiles.strip(k).height for k in wanted) * plan.tiles.width,
        strips_resumed=0 if already else plan.tiles.n_rows - len(wanted),
        notes=notes,
    )
    listen("finish", {**report.facts(), "exit_code": 0})
    return report


def _tell_start(
    listen: Listener,
    out: Path,
    plan: MapPlan,
    *,
    identity: dict[str, object],
    notes: tuple[str, ...],
) -> None:
    listen("start", {"out": str(out), "plan": plan.describe(), "identity": identity})
    for note in notes:
        listen("warning", {"message": note})


class _Job:
    """The strips that are still to be computed, and where they go."""

    def __init__(
        self, plan: MapPlan, products: list[Product], run: RunFolder, listen: Listener
    ) -> None:
        tiles = plan.tiles
        self._tiles, self._at_once, self._run = tiles, plan.at_once, run
        self._clock = StripClock(tiles, listen)
        self.stores: list[tuple[Product, LayerStore]] = []
        for product in products:
            store = LayerStore(run.path / f"{product.layer.name}.strips", product.layer)
            self.stores.append((product, store))
        self.wanted = [k for k in range(tiles.n_rows) if not self._is_sound(k)]
        self._missing = set(self.wanted)

    def _rows(self, strip: int, stride: int) -> tuple[int, int]:
        """Return the first row and the number of rows of a strip in an output of this stride."""
        window = self._tiles.strip(strip)
        return window.row // stride, -(-window.height // stride)

    def _is_sound(self, strip: int) -> bool:
        stored = self._run.done.get(strip)
        return stored is not None and all(
            store.checksum(*self._rows(strip, product.output.stride))
            == stored.get(product.layer.name)
            for product, store in self.stores
        )

    def _tile_counter(self, progress: Progress) -> Callable[[], None]:
        """Return what the engine calls after each tile."""
        total = len(self.wanted) * self._tiles.n_cols
        count = 0

        def step() -> None:
            nonlocal count
            count = min(count + 1, total)
            progress(count, total)

        return step

    def compute(
        self, source: Pixels, runtime: Runtime, outputs: Sequence[Output], progress: Progress
    ) -> None:
        """Compute, encode, write and journal what is missing; writing overlaps computing."""
        engine = Engine(
            self._tiles,
            RecyclingSource(source, READ_AHEAD + 1),
            runtime=runtime,
            outputs=outputs,
            on_tile=self._tile_counter(progress),
            at_once=self._at_once,
        )
        self._clock.start(self.wanted, len(rows_needed(self._tiles, self.wanted)))
        # While a strip is made durable, no more than a tile row is computed.
        behind = max(self._tiles.n_cols - WRITE_BEHIND, 1)
        strips = drain(self._write, engine.squares(self.wanted), depth=WRITE_BEHIND)
        settled = drain(self._settle, strips, depth=behind)
        with closing(settled):  # type: ignore[type-var]  # drain is a generator
            for _ in settled:
                pass
        crash_point("strips-complete")

    def _write(self, square: Square) -> int | None:
        """Store one square; return its strip where that is whole now."""
        tile = square.tile
        for product, store in self.stores:
            stride, name = product.output.stride, product.output.name
            valid = coarsen_valid(square.valid, stride)
            values = encode(product.layer, values_of(product, square.values[name]), valid)
            store.write(tile.footprint.row // stride, tile.footprint.col // stride, values)
        return tile.row if tile.col == self._tiles.n_cols - 1 else None

    def _settle(self, strip: int | None) -> None:
        """Make a whole strip durable, journal it, and make tiles of the rows that are final.

        What the last strip leaves is done at the end, several maps at a time.
        """
        if strip is None:
            return
        self._finish(strip)
        first = min(self._missing, default=strip)
        for product, store in self.stores:
            store.cog.advance(first * self._tiles.kept // product.output.stride)

    def _finish(self, strip: int) -> None:
        """Make a strip durable and journal it with the CRC-32 of what the file now holds."""
        crash_point("strip-written")
        crc = {
            product.layer.name: store.checksum(*self._rows(strip, product.output.stride))
            for product, store in self.stores
        }
        for _, store in self.stores:
            store.sync()
        crash_point("strip-durable")
        self._run.record(strip, crc)
        crash_point("strip-journalled")
        self._clock.finished(strip)
        self._missing.discard(strip)

    def close(self) -> None:
        """Give the files back."""
        for _, store in self.stores:
            store.close()


def _identity(
    adapter: SceneAdapter, bundle: Bundle, plan: MapPlan, *, runtime: Runtime, settings: MapSettings
) -> dict[str, object]:
    """Return what makes two runs the same, as plain JSON data."""
    tiles, scene = plan.tiles, adapter.scene
    identity: dict[str, object] = {
        "hsimap": __version__,
        "model": bundle.digest,
        "scene": scene.fingerprint(),
        "reading": {
            "nodata": str(scene.nodata),
            "scale": str(adapter.scale),
            "resample": settings.resample,
        },
        "tiles": {"tile": tiles.kept, "trim": tiles.trim, "ramp": tiles.ramp},
        "runtime": runtime.describe(),
        "probabilities": settings.probabilities,
        "versions": {name: version(name) for name in ("numpy", "rasterio")},
    }
    if settings.intervals is not None:
        identity["intervals"] = settings.intervals
    plain: dict[str, object] = json.loads(json.dumps(identity))
    return plain


def _record(
    scene: Scene,
    bundle: Bundle,
    plan: MapPlan,
    *,
    identity: dict[str, object],
    notes: tuple[str, ...],
) -> dict[str, object]:
    """Return what the manifest says beside files, statistics and times."""
    return {
        "identity": identity,
        "scene": {"name": scene.name, "path": str(scene.path) if scene.path else None},
        "model": {"name": bundle.manifest.name, "digest": bundle.digest},
        "plan": plan.describe(),
        "notes": list(notes),
    }


def _products(scene: Scene, bundle: Bundle, settings: MapSettings) -> list[Product]:
    """Return the maps; their tags are the provenance and hold no clock, so that bytes repeat."""
    tags = {
        "HSIMAP_MODEL": bundle.manifest.name,
        "HSIMAP_MODEL_DIGEST": bundle.digest,
        "HSIMAP_SCENE": scene.name,
    }
    return products_of(bundle.manifest, scene.grid, settings=settings, tags=tags)

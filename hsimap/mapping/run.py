"""Map one scene into one folder: plan, compute, commit."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap._version import __version__
from hsimap.errors import OutputExistsError, StorageError
from hsimap.mapping.adapter import RecyclingSource, SceneAdapter
from hsimap.mapping.commit import finalise, read_finished
from hsimap.mapping.encoding import Product, coarsen_valid, encode, products_of
from hsimap.mapping.engine import Engine, Strip
from hsimap.mapping.journal import RUN_FOLDER, LayerStore, RunFolder, differing_fields, locked
from hsimap.mapping.settings import WRITE_BEHIND, MapPlan, MapSettings, plan_map
from hsimap.mapping.tiling import READ_AHEAD
from hsimap.runtimes import open_runtime
from hsimap.streams import drain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.mapping.tiling import TilePlan
    from hsimap.runtimes import Runtime
    from hsimap.scenes import Scene

    Progress = Callable[[int, int], None]

_DISK_FACTOR: Final = 3.7
"""Strips, tiles with overviews (4/3), and the same again while a single map is copied."""


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
    notes: tuple[str, ...]
    """What was guessed, rounded or assumed, a sentence each."""


def map_scene(
    scene: Scene,
    bundle: Bundle,
    *,
    settings: MapSettings,
    out: Path,
    progress: Progress = lambda done, total: None,  # noqa: ARG005  # a silent default
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

    Raises
    ------
    MismatchError
        If the scene does not fit the model.
    OutputExistsError
        If ``out`` holds the result of a different run and ``settings.overwrite`` is False.
    LockedError, StorageError, ResourceError, VerificationError
        See :mod:`hsimap.errors`.
    """
    started = time.monotonic()
    adapter = SceneAdapter(scene, bundle.manifest.input)
    plan = plan_map(scene.grid, bundle.manifest, settings, itemsize=adapter.itemsize)
    notes = (*adapter.notes, *plan.notes)
    with ExitStack() as stack:
        runtime = stack.enter_context(closing(_open(bundle, settings)))
        identity = _identity(scene, bundle, plan, runtime=runtime, settings=settings)
        _make_folder(out)
        stack.enter_context(locked(out))
        already = _is_finished(out, identity, overwrite=settings.overwrite)
        if not already:
            _check_room(out, plan)
            run = RunFolder(out, identity, overwrite=settings.overwrite)
            stack.callback(run.close)
            job = _Job(plan.tiles, _products(scene, bundle, settings), run)
            stack.callback(job.close)
            engine = Engine(
                plan.tiles,
                RecyclingSource(adapter, READ_AHEAD + 1),
                runtime=runtime,
                outputs=bundle.manifest.outputs,
                on_tile=job.tile_counter(progress),
                at_once=plan.at_once,
            )
            job.compute(engine)
            record = _record(scene, bundle, plan, identity=identity, notes=notes)
            finalise(out, run, job.stores, record=record, started=started)
    return MapReport(
        folder=out,
        files=tuple(sorted(read_finished(out)["files"])),
        plan=plan,
        already_complete=already,
        seconds=time.monotonic() - started,
        notes=notes,
    )


class _Job:
    """The strips that are still to be computed, and where they go."""

    def __init__(self, tiles: TilePlan, products: list[Product], run: RunFolder) -> None:
        self._tiles, self._run = tiles, run
        self.stores: list[tuple[Product, LayerStore]] = []
        for product in products:
            store = LayerStore(run.path / f"{product.layer.name}.strips", product.layer)
            self.stores.append((product, store))
        self.todo = [k for k in range(tiles.n_rows) if not self._is_sound(k)]
        self._missing = set(self.todo)

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

    def tile_counter(self, progress: Progress) -> Callable[[], None]:
        """Return what the engine calls after each tile."""
        total = len(self.todo) * self._tiles.n_cols
        count = 0

        def step() -> None:
            nonlocal count
            count = min(count + 1, total)
            progress(count, total)

        return step

    def compute(self, engine: Engine) -> None:
        """Compute, encode, write and journal what is missing; writing overlaps computing."""
        for _ in drain(self._write, engine.strips(self.todo), depth=WRITE_BEHIND):
            pass

    def _write(self, strip: Strip) -> None:
        crc = {}
        for product, store in self.stores:
            stride = product.output.stride
            values = encode(
                product.layer, strip.values[product.output.name], coarsen_valid(strip.valid, stride)
            )
            crc[product.layer.name] = store.write(self._rows(strip.index, stride)[0], values)
        for _, store in self.stores:
            store.sync()
        self._run.record(strip.index, crc)
        self._missing.discard(strip.index)
        self._encode()

    def _encode(self) -> None:
        """Make tiles of the rows above the first strip that is missing."""
        first = min(self._missing, default=self._tiles.n_rows)
        for product, store in self.stores:
            store.cog.advance(first * self._tiles.kept // product.output.stride)

    def close(self) -> None:
        """Give the files back."""
        for _, store in self.stores:
            store.close()


def _open(bundle: Bundle, settings: MapSettings) -> Runtime:
    return open_runtime(
        bundle, runtime=settings.runtime, device=settings.device, threads=settings.threads
    )


def _identity(
    scene: Scene, bundle: Bundle, plan: MapPlan, *, runtime: Runtime, settings: MapSettings
) -> dict[str, object]:
    """Return what makes two runs the same, as plain JSON data."""
    tiles = plan.tiles
    identity = {
        "hsimap": __version__,
        "model": bundle.digest,
        "scene": scene.fingerprint(),
        "tiles": {"tile": tiles.kept, "trim": tiles.trim, "ramp": tiles.ramp},
        "runtime": runtime.describe(),
        "probabilities": settings.probabilities,
    }
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
    return products_of(bundle.manifest, scene.grid, probabilities=settings.probabilities, tags=tags)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".hsimap-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"cannot write to {out}: {error.strerror}; choose another --out"
        ) from error


def _is_finished(out: Path, identity: dict[str, object], *, overwrite: bool) -> bool:
    """Say whether ``out`` holds the finished result of this very run; refuse another's."""
    manifest = read_finished(out)
    if not manifest:
        foreign = [] if (out / RUN_FOLDER).exists() else sorted(out.glob("*.tif"))
        if foreign and not overwrite:
            raise OutputExistsError(
                f"{out} holds {foreign[0].name}, which no finished run of hsimap wrote; choose"
                f" another --out or use --overwrite"
            )
        return False
    stored = manifest.get("identity", {})
    if stored == identity:
        shutil.rmtree(out / RUN_FOLDER, ignore_errors=True)
        return True
    if not overwrite:
        fields = ", ".join(differing_fields(identity, stored))
        raise OutputExistsError(
            f"{out} holds the maps of a different run (differs in: {fields}); choose another --out"
            f" or use --overwrite"
        )
    return False


def _check_room(out: Path, plan: MapPlan) -> None:
    needed = int(plan.output_bytes * _DISK_FACTOR)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise StorageError(
            f"{out} has {free / 2**20:.0f} MiB free and the run needs about {needed / 2**20:.0f}"
            f" MiB; free some space or choose another --out"
        )


def estimate_run(scene: Scene, bundle: Bundle, settings: MapSettings) -> tuple[MapPlan, float]:
    """Plan a run and time one tile of it.

    Parameters
    ----------
    scene, bundle, settings
        As for :func:`map_scene`; nothing is written.

    Returns
    -------
    plan : MapPlan
        Tiles, memory and output size.
    seconds : float
        Time of one tile (read and network, after a first one that warms up) times the tiles.
    """
    adapter = SceneAdapter(scene, bundle.manifest.input)
    plan = plan_map(scene.grid, bundle.manifest, settings, itemsize=adapter.itemsize)
    tiles = plan.tiles
    middle = tiles.tile(tiles.n_rows // 2, tiles.n_cols // 2)
    with closing(_open(bundle, settings)) as runtime:
        seconds = 0.0
        for _ in range(2):
            started = time.monotonic()
            values, valid = adapter.read(middle.read)
            mask = valid.astype(np.float32)[None, None]
            runtime.forward(adapter.to_network(values)[None], mask)
            seconds = time.monotonic() - started
    return plan, seconds * tiles.n_rows * tiles.n_cols

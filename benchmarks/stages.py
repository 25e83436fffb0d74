"""CPU seconds of decoding, of the network, and of encoding a finished run, each by itself.

    python benchmarks/stages.py MODEL SCENE MAPS MEMORY RUNTIME PRECISION

MAPS is the folder that ``hsimap predict`` made with that model, scene, memory, runtime and
precision. Each is measured on one core. Prints one line of JSON: ``decode``, ``forward``,
``encode`` and ``start`` (seconds), the plan's ``ratio`` of computed to mapped pixels, ``mpx`` of
the scene, and under ``busy`` the first three once more: the mean of one copy a core, which do the
same at the same time. Cores share their memory, their last cache and their clock, so that what
one of them does alone is not what each does when all are at work, as in a run.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import rasterio

from hsimap.bundle import Bundle
from hsimap.cli._progress import parse_bytes
from hsimap.mapping import MapPlan, MapSettings, SceneAdapter
from hsimap.mapping.encoding import products_of
from hsimap.mapping.engine import groups_of, read_groups
from hsimap.mapping.prepare import pixels_of, plan_scene
from hsimap.mapping.recycling import RecyclingSource
from hsimap.mapping.tiling import READ_AHEAD
from hsimap.products._cog import write_cog
from hsimap.runtimes import open_runtime
from hsimap.scenes import bound_cache, open_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

    from numpy.typing import NDArray

    from hsimap.geometry import Window

START = """
import sys
import hsimap.mapping
from hsimap.bundle import Bundle
from hsimap.runtimes import open_runtime

open_runtime(Bundle.load(sys.argv[1]), threads=1, runtime=sys.argv[2], precision=sys.argv[3])
"""
FORWARDS = 6
"""Tiles that the network is timed on."""


def decode(adapter: SceneAdapter, plan: MapPlan) -> tuple[float, list[tuple[NDArray[Any], ...]]]:
    """Read the whole scene as a run does; return CPU seconds and a few valid tiles."""
    source = RecyclingSource(pixels_of(adapter, plan), READ_AHEAD)
    started = time.process_time()
    for row in range(plan.tiles.n_rows):
        for _ in read_groups(source, plan.tiles, groups_of(plan.tiles, row, plan.at_once)):
            pass
    seconds = time.process_time() - started
    tiles = [plan.tiles.tile(plan.tiles.n_rows // 2, c) for c in range(plan.tiles.n_cols)]
    read = (adapter.read(tile.read) for tile in tiles[len(tiles) // 4 :][:FORWARDS])
    return seconds, [(values, valid) for values, valid in read if valid.any()]


def empty_tiles(adapter: SceneAdapter, plan: MapPlan) -> int:
    """Count the tiles without a valid pixel, which are not run."""
    tiles = (
        plan.tiles.tile(r, c) for r in range(plan.tiles.n_rows) for c in range(plan.tiles.n_cols)
    )
    grid = (plan.tiles.height, plan.tiles.width)
    foots = (tile.footprint.clip(height=grid[0], width=grid[1]) for tile in tiles)
    return sum(not adapter.read(foot)[1].any() for foot in foots)


def encode(maps: Path, scene: Path, bundle: Bundle) -> float:
    """Write the finished maps anew; return CPU seconds without reading them."""
    grid = open_scene(scene).grid
    seconds = 0.0
    settings = MapSettings(probabilities="none")
    products = products_of(bundle.manifest, grid, settings=settings, tags={})
    with tempfile.TemporaryDirectory(dir=maps.parent) as scratch:
        for product in products:
            with rasterio.open(maps / f"{product.layer.name}.tif") as file:
                values = file.read()

            def read(window: Window, values: NDArray[Any] = values) -> NDArray[Any]:
                return values[:, *window.slices]

            started = time.process_time()
            write_cog(Path(scratch) / f"{product.layer.name}.tif", product.layer, read)
            seconds += time.process_time() - started
    return seconds


def measure(arguments: list[str], together: Callable[[], object]) -> dict[str, float]:
    """Return the CPU seconds of the three stages, the plan's ratio, and the scene's size.

    ``together`` is called before each stage.
    """
    model, scene, maps = map(Path, arguments[:3])
    memory, (route, precision) = parse_bytes(arguments[3]), arguments[4:6]
    bundle = Bundle.load(model)
    opened = open_scene(scene)
    adapter, grid = SceneAdapter(opened, bundle.manifest.input), opened.grid
    settings = MapSettings(
        memory=memory, runtime=route, precision=precision, probabilities="none",
        threads=os.cpu_count(),  # those of the run, whatever this copy is held to
    )  # fmt: skip
    plan = plan_scene(opened, adapter, bundle, settings)
    bound_cache(plan.cache_bytes)
    together()
    decoding, tiles = decode(adapter, plan)
    runtime = open_runtime(bundle, threads=1, runtime=route, precision=precision)
    batches = [(v[None], m[None, None].astype("f4")) for v, m in tiles]
    if not adapter.is_stored:
        batches = [(adapter.to_network(v[0])[None], m) for v, m in batches]
    for batch in batches[:2]:  # the second one finds its memory
        runtime.forward(*batch)
    together()
    started = time.process_time()
    for batch in batches:
        runtime.forward(*batch)
    each = (time.process_time() - started) / len(batches)
    n_tiles = plan.tiles.n_rows * plan.tiles.n_cols - empty_tiles(adapter, plan)
    together()
    return {
        "decode": decoding, "forward": each * n_tiles, "encode": encode(maps, scene, bundle),
        "ratio": plan.tiles.ratio, "mpx": grid.height * grid.width / 1e6,
    }  # fmt: skip


def copy_on(core: int, arguments: list[str], barrier: Barrier, told: Queue[object]) -> None:
    """Measure on one core, stage by stage with the others."""
    os.sched_setaffinity(0, {core})
    told.put(measure(arguments, barrier.wait))


def measure_on(cores: Sequence[int], arguments: list[str]) -> dict[str, float]:
    """Return the mean of copies that do the same at the same time, each held to a core."""
    context = multiprocessing.get_context("spawn")
    barrier, told = context.Barrier(len(cores)), context.Queue()
    copies = [
        context.Process(target=copy_on, args=(core, arguments, barrier, told)) for core in cores
    ]
    for one in copies:
        one.start()
    found = [told.get() for _ in copies]
    for one in copies:
        one.join()
    return {key: mean(one[key] for one in found) for key in found[0]}


def main() -> None:
    """Measure and print."""
    arguments, cores = sys.argv[1:7], sorted(os.sched_getaffinity(0))
    found: dict[str, Any] = measure_on(cores[:1], arguments)
    started = time.perf_counter()
    opening = [sys.executable, "-c", START, arguments[0], *arguments[4:6]]
    subprocess.run(opening, check=True)  # noqa: S603  # our own
    found["start"] = time.perf_counter() - started
    busy = measure_on(cores, arguments)
    found["busy"] = {stage: busy[stage] for stage in ("decode", "forward", "encode")}
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""What stands before a run: its plan, its network, its pixels, and how long it will take."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hsimap.geometry import alignment_of
from hsimap.labels import Area
from hsimap.mapping.adapter import SceneAdapter
from hsimap.mapping.blockrows import BlockRows
from hsimap.mapping.radiometry import check_radiometry, compare_spectra, sample_pixels
from hsimap.mapping.settings import MapPlan, MapSettings, plan_map, restrict
from hsimap.runtimes import choices, open_runtime, runs_side_by_side
from hsimap.scenes import bound_cache
from hsimap.streams import available_cpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.bundle import Bundle, InputSpec
    from hsimap.geometry import Grid
    from hsimap.mapping.radiometry import Radiometry
    from hsimap.mapping.recycling import Pixels
    from hsimap.runtimes import Route, Runtime
    from hsimap.scenes import Scene

    Batch = tuple[NDArray[np.generic], NDArray[np.float32]]


def plan_scene(
    scene: Scene, adapter: SceneAdapter, bundle: Bundle, settings: MapSettings
) -> MapPlan:
    """Plan the tiles and the memory of a scene as it lies on the disk; hold its cache to that.

    Where an area is asked for, its tiles are some of those that the whole scene would have.
    """
    plan = plan_map(
        scene.grid,
        bundle.manifest,
        settings,
        itemsize=adapter.itemsize,
        storage=adapter.storage,
        as_stored=adapter.is_stored,
    )
    bound_cache(plan.cache_bytes)
    return in_area(plan, scene.grid, bundle, settings)


def in_area(plan: MapPlan, grid: Grid, bundle: Bundle, settings: MapSettings) -> MapPlan:
    """Return the part of a scene's plan that the settings' area needs; all of it without one."""
    if settings.area is None:
        return plan
    steps = (output.stride for output in bundle.manifest.outputs)
    return restrict(plan, Area(settings.area, grid, step=alignment_of(*steps)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What a scene looks like beside the model's training scenes."""

    facts: dict[str, object]
    """For the manifest: how each band was got, the comparison, whether it was overruled."""
    notes: tuple[str, ...]
    """What is unusual, a sentence each."""


def compare_with(adapter: SceneAdapter, wanted: InputSpec) -> Radiometry | None:
    """Return a scene's mean spectrum against a model's; None where there is nothing to compare."""
    if wanted.mean_spectrum is None:
        return None
    pixels = sample_pixels(adapter.read_measured, adapter.shape)
    return compare_spectra(pixels, wanted.mean_spectrum, wavelength_nm=wanted.wavelength_nm)


def look_at(adapter: SceneAdapter, wanted: InputSpec, *, force: bool) -> Looks:
    """Compare a scene with what the model was trained on, before the first tile.

    Raises
    ------
    MismatchError
        If maps of the scene would be worthless and ``force`` is False.
    """
    found = compare_with(adapter, wanted)
    notes = check_radiometry(found, scene=adapter.scene.name, force=force)
    facts: dict[str, object] = {
        "bands": {way: adapter.match.ways.count(way) for way in sorted(set(adapter.match.ways))},
        "radiometry": None if found is None else found.as_dict(),
        "forced": force and found is not None and bool(found.faults()),
    }
    return Looks(facts=facts, notes=notes)


def routes_of(bundle: Bundle, settings: MapSettings) -> list[Route]:
    """Return the routes that a run may take, as :func:`hsimap.runtimes.choices`."""
    only_torch = settings.compiled and settings.runtime == "auto"
    return choices(
        bundle,
        runtime="torch" if only_torch else settings.runtime,
        precision=settings.precision,
        device=settings.device,
    )


def streams_of(route: Route, plan: MapPlan) -> int:
    """Return how many forwards a run of a plan makes side by side on a route."""
    return plan.streams if runs_side_by_side(route.runtime) else 1


def open_route(
    bundle: Bundle, settings: MapSettings, route: Route, *, stay: bool = False, streams: int = 1
) -> Runtime:
    """Open the network on the route that a run takes; results may ``stay`` on a GPU.

    Each of the ``streams``, forwards side by side, gets its share of the threads.
    """
    return open_runtime(
        bundle,
        runtime=route.runtime,
        precision=route.precision,
        device=settings.device,
        threads=(settings.threads or available_cpus()) // streams,
        stay=stay,
        compiled=settings.compiled,
    )


def pixels_of(adapter: SceneAdapter, plan: MapPlan) -> Pixels:
    """Return what the engine reads from: the scene, or its rows of blocks where they are kept."""
    return BlockRows(adapter, plan.tiles.kept) if plan.block_rows else adapter


def middle_tile(adapter: SceneAdapter, plan: MapPlan) -> Batch:
    """Read the tile in the middle of a scene, ``(batch, band, y, x)`` and ``(batch, 1, y, x)``.

    A batch of several holds it as often.
    """
    tiles = plan.tiles
    values, valid = adapter.read(tiles.tile(tiles.n_rows // 2, tiles.n_cols // 2).read)
    image = values if adapter.is_stored else adapter.to_network(values)
    batch = image[None], valid.astype(np.float32)[None, None]
    if tiles.batch == 1:
        return batch
    images, masks = (np.repeat(part, tiles.batch, axis=0) for part in batch)
    return images, masks


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
        Time of one batch (a read and the network, after a first one that warms up) times the
        batches, over those that run side by side.
    """
    adapter = SceneAdapter(scene, bundle.manifest.input, resample=settings.resample)
    plan = plan_scene(scene, adapter, bundle, settings)
    tiles = plan.tiles
    route = routes_of(bundle, settings)[0]
    plan = replace(plan, streams=streams_of(route, plan))
    with closing(open_route(bundle, settings, route, streams=plan.streams)) as runtime:
        seconds = 0.0
        for _ in range(2):
            started = time.monotonic()
            runtime.forward(*middle_tile(adapter, plan))
            seconds = time.monotonic() - started
    return plan, seconds / plan.streams * tiles.n_rows * -(-tiles.n_cols // tiles.batch)

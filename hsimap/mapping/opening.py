"""How a run begins: what it stands on, its folder, and the strips that are missing."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from hsimap.errors import ResourceError
from hsimap.mapping.adapter import SceneAdapter
from hsimap.mapping.checks import check_room
from hsimap.mapping.engine import Engine
from hsimap.mapping.events import Listener, ignore
from hsimap.mapping.identity import identity_of, maps_of
from hsimap.mapping.journal import RunFolder
from hsimap.mapping.prepare import Looks, look_at, middle_tile, pixels_of, plan_scene, streams_of
from hsimap.mapping.probe import resolve_route, stored_identity
from hsimap.mapping.recycling import RecyclingSource
from hsimap.mapping.strips import StripBook
from hsimap.mapping.tiling import READ_AHEAD, even_group

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.mapping.settings import MapPlan, MapSettings
    from hsimap.runtimes import Route, Runtime
    from hsimap.scenes import Scene


_BUSY_PIXELS: Final = 1 << 22
"""Of one batch; more of them keep no GPU busier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A scene, a model and a network that are open, and what follows from them."""

    scene: Scene
    bundle: Bundle
    adapter: SceneAdapter
    settings: MapSettings
    plan: MapPlan
    route: Route
    runtime: Runtime
    notes: tuple[str, ...]
    """What was guessed or assumed so far, a sentence each."""
    identity: dict[str, object]
    """What makes two runs the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BegunRun:
    """A run folder that is open, and the strips in it."""

    folder: RunFolder
    book: StripBook
    looks: Looks


def open_run(
    scene: Scene,
    bundle: Bundle,
    settings: MapSettings,
    *,
    out: Path,
    network: Callable[[Route, int], Runtime],
) -> OpenRun:
    """Plan a run, choose its route and open its network; nothing is written.

    Parameters
    ----------
    scene, bundle, settings, out
        As for :func:`hsimap.mapping.map_scene`.
    network : callable
        Opens the network on a route for so many forwards side by side; closing it is the
        caller's.

    Raises
    ------
    MismatchError
        If the scene does not fit the model, or a precision is not accepted.
    ResourceError
        If the memory does not suffice.
    """
    adapter = SceneAdapter(scene, bundle.manifest.input, resample=settings.resample)
    plan = plan_scene(scene, adapter, bundle, settings)
    sample = partial(middle_tile, adapter, plan)
    route, told = resolve_route(bundle, settings, out=out, sample=sample)
    plan = replace(plan, streams=streams_of(route, plan))
    runtime = network(route, plan.streams)
    if runtime.describe()["device"] != "cpu":
        plan = replace(_fit_device(runtime, adapter, bundle, settings, out=out), streams=1)
    return OpenRun(
        scene=scene,
        bundle=bundle,
        adapter=adapter,
        settings=settings,
        plan=plan,
        route=route,
        runtime=runtime,
        notes=(*adapter.notes, *plan.notes, *told),
        identity=identity_of(
            adapter, bundle, plan, runtime=_describe(runtime, plan.streams), settings=settings
        ),
    )


def _describe(runtime: Runtime, streams: int) -> dict[str, str]:
    """Return what a runtime says of itself, the threads of all forwards that run side by side."""
    told = runtime.describe()
    if streams > 1:
        told = {**told, "threads": str(int(told["threads"]) * streams)}
    return {**told, "streams": str(streams)}


def _fit_device(
    runtime: Runtime,
    adapter: SceneAdapter,
    bundle: Bundle,
    settings: MapSettings,
    *,
    out: Path,
) -> MapPlan:
    """Halve the batch, then the tile, until the device's memory takes them.

    A run that was begun keeps its own. What the user asked for stays what it is.
    """

    def lay(tile: int | None, batch: int | None) -> MapPlan:
        wanted = replace(settings, device="cuda", tile=tile, batch=batch)
        return plan_scene(adapter.scene, adapter, bundle, wanted)

    begun = {} if settings.overwrite else stored_identity(out).get("tiles", {})
    if begun:
        return lay(settings.tile or begun.get("tile"), settings.batch or begun.get("batch"))
    plan = lay(settings.tile, settings.batch)
    tile, batch = plan.tiles.kept, settings.batch or _most_at_once(plan)
    while True:
        try:
            plan = lay(tile, batch)
            runtime.forward(*middle_tile(adapter, plan))
        except ResourceError:
            if settings.batch is None and batch > 1:
                batch = even_group(plan.tiles.n_cols, batch // 2)
                continue
            tile = plan.tiles.kept // 2
            if settings.tile is not None or tile < max(bundle.manifest.patch, plan.tiles.ramp):
                raise
        else:
            return plan


def _most_at_once(plan: MapPlan) -> int:
    """Return how many tiles keep a GPU busy, of a row in batches of one size."""
    return even_group(plan.tiles.n_cols, max(1, _BUSY_PIXELS // plan.tiles.side**2))


def engine_of(opened: OpenRun, on_tile: Callable[[], None] = lambda: None) -> Engine:
    """Return what computes the strips of a run; ``on_tile`` is called after each tile."""
    plan = opened.plan
    pixels = pixels_of(opened.adapter, plan)
    return Engine(
        plan.tiles,
        RecyclingSource(
            pixels,
            READ_AHEAD,
            streams=plan.streams,
            cuts=plan.at_once > 1,
            columns=plan.tiles.side + (plan.at_once - 1) * plan.tiles.kept,
        ),
        runtime=opened.runtime,
        outputs=opened.bundle.manifest.outputs,
        on_tile=on_tile,
        at_once=plan.at_once,
        grows=not plan.block_rows,
        streams=plan.streams,
        area=plan.area,
    )


def begin_run(
    stack: ExitStack, opened: OpenRun, *, out: Path, listen: Listener = ignore
) -> BegunRun:
    """Check disk and spectra, open the run folder and see which strips are missing.

    Parameters
    ----------
    stack : ExitStack
        Closes what is opened here.
    opened : OpenRun
        Of this very output folder, whose lock the caller holds.
    out : Path
        The output folder.
    listen : Listener
        Told of each strip.

    Raises
    ------
    StorageError
        If the disk has too little room.
    MismatchError
        If maps of the scene would be worthless.
    OutputExistsError
        If a different run was begun there.
    """
    settings = opened.settings
    check_room(out, opened.plan)
    looks = look_at(opened.adapter, opened.bundle.manifest.input, force=settings.force)
    run = RunFolder(out, opened.identity, overwrite=settings.overwrite)
    stack.callback(run.close)
    return BegunRun(folder=run, book=open_book(stack, opened, run, listen=listen), looks=looks)


def open_book(
    stack: ExitStack, opened: OpenRun, run: RunFolder, *, listen: Listener = ignore
) -> StripBook:
    """Open the strips of a run folder."""
    maps = maps_of(opened.scene, opened.bundle, opened.plan, settings=opened.settings)
    return stack.enter_context(closing(StripBook(opened.plan.tiles, maps, run, listen=listen)))

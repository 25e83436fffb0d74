"""Which route a run takes: what the user says, what the bundle accepts, what is fastest here."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import VerificationError
from hsimap.geometry import round_up
from hsimap.mapping.commit import read_finished
from hsimap.mapping.prepare import open_route, routes_of
from hsimap.products import RUN_FOLDER
from hsimap.runtimes import Route, waiver_note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.mapping.prepare import Batch
    from hsimap.mapping.settings import MapSettings

_SIDE: Final = 320
"""Of the part of a tile that routes are timed on, in pixels; a whole one would take as long as a
strip of a small scene."""


def resolve_route(
    bundle: Bundle, settings: MapSettings, *, out: Path, sample: Callable[[], Batch]
) -> tuple[Route, list[str]]:
    """Return the route of a run, and what there is to say of it.

    Parameters
    ----------
    bundle : Bundle
        The model.
    settings : MapSettings
        Runtime and precision as the user asked.
    out : Path
        Output folder; a run that lies there, finished or not, keeps its route.
    sample : callable
        Gives ``(image, valid)`` of a real tile; called only where routes are to be timed.

    Raises
    ------
    MismatchError
        If a precision is asked for that the bundle was not accepted in.
    """
    routes = routes_of(bundle, settings)
    route, told = stored_route(out), []
    if route not in routes:
        route = routes[0]
        if len(routes) > 1:
            route, line = fastest(bundle, routes, sample(), settings=settings)
            told.append(line)
    note = waiver_note(bundle, route, device=settings.device)
    return route, told if note is None else [*told, note]


def stored_route(out: Path) -> Route | None:
    """Return the route of the run that an output folder holds; None where there is none."""
    told = stored_identity(out).get("runtime", {})
    if not told:
        return None
    precision = str(told.get("precision"))
    return Route(str(told.get("runtime")), "fp32" if precision == "float32" else precision)


def stored_identity(out: Path) -> dict[str, Any]:
    """Return the identity of the run, finished or not, that a folder holds; else nothing."""
    try:
        identity = read_finished(out).get("identity")
    except VerificationError:
        return {}  # a damaged manifest, of which more is said before the first strip
    if not identity:
        try:
            text = (out / RUN_FOLDER / "identity.json").read_text(encoding="utf-8")
            identity = json.loads(text)
        except (OSError, ValueError):
            return {}
    return identity if isinstance(identity, dict) else {}


def fastest(
    bundle: Bundle, routes: Sequence[Route], batch: Batch, *, settings: MapSettings
) -> tuple[Route, str]:
    """Time each route on a part of one tile and return the fastest, and a line that says so.

    Parameters
    ----------
    bundle : Bundle
        The model.
    routes : sequence of Route
        Those that may be taken; of equals the first wins.
    batch : tuple
        ``(image, valid)`` of a real tile.
    settings : MapSettings
        Threads and device.
    """
    manifest = bundle.manifest
    side = round_up(max(_SIDE, manifest.patch), manifest.alignment)
    image, valid = batch
    image = np.ascontiguousarray(image[..., :side, :side])
    valid = np.ascontiguousarray(valid[..., :side, :side])
    times: dict[Route, float] = {}
    for route in routes:
        with closing(open_route(bundle, settings, route)) as runtime:
            for _ in range(2):
                started = time.perf_counter()
                runtime.forward(image, valid)
                times[route] = time.perf_counter() - started
    best = min(times, key=lambda route: times[route])
    told = ", ".join(f"{route} {seconds:.3g} s" for route, seconds in times.items())
    return best, f"{best} is taken, the fastest of those accepted on {side} x {side} pixels: {told}"

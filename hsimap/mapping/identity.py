"""What makes two runs the same, what the manifest says of a run, and which maps it makes."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

from hsimap._version import __version__
from hsimap.mapping.encoding import Product, products_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsimap.bundle import Bundle
    from hsimap.mapping.adapter import SceneAdapter
    from hsimap.mapping.settings import MapPlan, MapSettings
    from hsimap.scenes import Scene


def identity_of(
    adapter: SceneAdapter,
    bundle: Bundle,
    plan: MapPlan,
    *,
    runtime: Mapping[str, str],
    settings: MapSettings,
) -> dict[str, object]:
    """Return what makes two runs the same, as plain JSON data.

    ``runtime`` is what the runtime says of itself, and its ``streams``.
    """
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
        "tiles": {"tile": tiles.kept, "trim": tiles.trim, "ramp": tiles.ramp, "batch": tiles.batch},
        "runtime": dict(runtime),
        "probabilities": settings.probabilities,
        "versions": {name: version(name) for name in ("numpy", "rasterio")},
    }
    if settings.intervals is not None:
        identity["intervals"] = settings.intervals
    if settings.area is not None:
        identity["area"] = settings.area.identity()
    plain: dict[str, object] = json.loads(json.dumps(identity))
    return plain


def record_of(
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


def maps_of(scene: Scene, bundle: Bundle, plan: MapPlan, *, settings: MapSettings) -> list[Product]:
    """Return the maps; their tags are the provenance and hold no clock, so that bytes repeat."""
    tags = {
        "HSIMAP_MODEL": bundle.manifest.name,
        "HSIMAP_MODEL_DIGEST": bundle.digest,
        "HSIMAP_SCENE": scene.name,
    }
    return products_of(bundle.manifest, plan.grid(scene.grid), settings=settings, tags=tags)

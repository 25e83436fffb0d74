"""Map one scene: plan, read, compute, blend, write, commit."""

from __future__ import annotations

from hsimap.mapping.acceptance import Samples, SceneSamples, export_routes
from hsimap.mapping.adapter import SceneAdapter
from hsimap.mapping.prepare import estimate_run
from hsimap.mapping.run import MapReport, map_scene
from hsimap.mapping.select import choose_model, output_folders
from hsimap.mapping.settings import MapPlan, MapSettings, plan_map

__all__ = [
    "MapPlan",
    "MapReport",
    "MapSettings",
    "Samples",
    "SceneAdapter",
    "SceneSamples",
    "choose_model",
    "estimate_run",
    "export_routes",
    "map_scene",
    "output_folders",
    "plan_map",
]

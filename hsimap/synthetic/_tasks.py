"""What the synthetic scenes are labelled with: TAIGA's 13 variables, their codes and units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hsimap.tasks import Task, task_from_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

CLASS_TASKS: Final = ("fertility_class", "soil_class", "main_tree_species_class")
"""Bands of ``classes.tif``, in order."""
VALUE_TASKS: Final = (
    "basal_area", "mean_dbh", "stem_density", "mean_height", "pine_share", "spruce_share",
    "birch_share", "woody_biomass", "leaf_area_index", "effective_leaf_area_index",
)  # fmt: skip
"""Bands of ``variables.tif``, in order."""

TASKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "fertility_class": {
        "kind": "categorical",
        "classes": {2: "herb_rich_heath", 3: "mesic_heath", 4: "sub_xeric_heath", 5: "xeric_heath"},
        "colors": {2: "#1b7837", 3: "#7fbf7b", 4: "#e7d4a8", 5: "#c2864a"},
    },
    "soil_class": {
        "kind": "categorical",
        "classes": {1: "mineral", 2: "organic"},
        "colors": {1: "#d8b365", 2: "#3b2a1a"},
    },
    "main_tree_species_class": {
        "kind": "categorical",
        "classes": {1: "scots_pine", 2: "norway_spruce", 3: "birch"},
        "colors": {1: "#e08214", 2: "#1a5276", 3: "#a6d96a"},
    },
    "basal_area": {"kind": "continuous", "unit": "m2 ha-1", "range": [0, 50]},
    "mean_dbh": {"kind": "continuous", "unit": "cm", "range": [0, 40]},
    "stem_density": {"kind": "continuous", "unit": "ha-1", "range": [0, 8000]},
    "mean_height": {"kind": "continuous", "unit": "m", "range": [0, 30]},
    "pine_share": {"kind": "continuous", "unit": "%", "range": [0, 100]},
    "spruce_share": {"kind": "continuous", "unit": "%", "range": [0, 100]},
    "birch_share": {"kind": "continuous", "unit": "%", "range": [0, 100]},
    "woody_biomass": {"kind": "continuous", "unit": "t ha-1", "range": [0, 300]},
    "leaf_area_index": {"kind": "continuous", "unit": "1", "range": [0, 13]},
    "effective_leaf_area_index": {"kind": "continuous", "unit": "1", "range": [0, 9]},
}
"""The ``tasks:`` of a recipe for these scenes; classes and units as in TAIGA (DOI 10.23729/
fe7ce882-8125-44e7-b0cf-ae652d7ed0d5), code 0 = no label. Shares are of basal area."""


def tasks() -> tuple[Task, ...]:
    """Return the 13 tasks of the synthetic scenes, classes first."""
    return tuple(task_from_mapping(name, TASKS[name]) for name in (*CLASS_TASKS, *VALUE_TASKS))

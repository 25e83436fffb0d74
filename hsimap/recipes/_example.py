"""A recipe with every default, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hsimap.config import dump_commented
from hsimap.recipes._files import parse_recipe

if TYPE_CHECKING:
    from hsimap.recipes._schema import Recipe

_EXAMPLE: Final[dict[str, Any]] = {
    "name": "example",
    "description": "Land cover and impervious share of one airborne scene",
    "scenes": [
        {
            "image": "scene.tif",
            "labels": {
                "landcover": {"raster": "landcover.tif"},
                "impervious_fraction": {"raster": "fractions.tif", "band": 1},
            },
            "split": {"blocks": {"size": 16, "buffer": 2}},
        }
    ],
    "tasks": {
        "landcover": {
            "kind": "categorical",
            "classes": {1: "roof", 2: "pavement", 3: "low_vegetation", 4: "tree", 5: "soil"},
            "colors": {1: "#b2182b"},
        },
        "impervious_fraction": {"kind": "continuous", "unit": "1", "range": [0, 1]},
    },
}


def commented_recipe(recipe: Recipe | None = None) -> str:
    """Return a recipe as YAML with every default written out and every key explained.

    Parameters
    ----------
    recipe : Recipe, optional
        By default an example with one scene and two tasks.

    Returns
    -------
    str
        YAML that reads back to the same recipe.
    """
    return dump_commented(recipe or parse_recipe(_EXAMPLE, root=Path()))

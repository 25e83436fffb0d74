"""The training recipe: schema, defaults, files."""

from hsimap.recipes._bands import select_bands
from hsimap.recipes._example import commented_recipe
from hsimap.recipes._files import (
    SceneFiles,
    list_recipes,
    load_recipe,
    parse_recipe,
    scene_files,
)
from hsimap.recipes._samples import cache_folder, sample_folder
from hsimap.recipes._schema import InputSettings, Recipe, SampleSpec, SceneSpec
from hsimap.recipes._taiga import band_descriptions, check_descriptions
from hsimap.recipes._training import (
    AugmentSettings,
    DwaSettings,
    GradNormSettings,
    LossSettings,
    TrainingSettings,
)

__all__ = [
    "AugmentSettings",
    "DwaSettings",
    "GradNormSettings",
    "InputSettings",
    "LossSettings",
    "Recipe",
    "SampleSpec",
    "SceneFiles",
    "SceneSpec",
    "TrainingSettings",
    "band_descriptions",
    "cache_folder",
    "check_descriptions",
    "commented_recipe",
    "list_recipes",
    "load_recipe",
    "parse_recipe",
    "sample_folder",
    "scene_files",
    "select_bands",
]

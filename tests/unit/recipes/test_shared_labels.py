"""Labels, stands and folds that a recipe states once for all of its images."""

import pytest

from hsimap.errors import UsageError
from hsimap.recipes import parse_recipe, scene_files

TASKS = {"species": {"kind": "categorical", "classes": {1: "pine", 2: "spruce"}}}
LABELS = {"species": {"vector": "stands.gpkg", "field": "main", "classes": {"P": 1, "S": 2}}}


def recipe(**fields):
    return {
        "name": "shared",
        "tasks": TASKS,
        "scenes": [{"image": "a.tif"}, {"image": "b.tif"}],
        "labels": LABELS,
        "split": {"field": "stand_id", "shares": [0.6, 0.2, 0.2]},
        **fields,
    }


def test_one_source_labels_and_splits_every_image(tmp_path):
    stated = parse_recipe(
        recipe(stands={"vector": "stands.gpkg", "field": "stand_id"}), root=tmp_path
    )
    first, second = scene_files(stated)
    assert first.labels == second.labels == stated.labels
    assert first.split == second.split
    assert first.split.vector == "stands.gpkg"
    assert first.stands == stated.stands


def test_an_image_may_state_its_own(tmp_path):
    own = {"image": "a.tif", "split": {"blocks": {"size": 40}}}
    found = scene_files(parse_recipe(recipe(scenes=[own, {"image": "b.tif"}]), root=tmp_path))
    assert found[0].split.blocks.size == 40
    assert found[1].split.field == "stand_id"


def test_what_is_stated_once_is_what_is_stated_for_each(tmp_path):
    once = parse_recipe(recipe(), root=tmp_path)
    assert (
        once.digest
        != parse_recipe(
            recipe(labels={"species": LABELS["species"] | {"buffer": -4}}), root=tmp_path
        ).digest
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": None}, "a.tif has no split"),
        ({"labels": {}}, "a.tif has no labels"),
        ({"stands": {"vector": "other.gpkg"}}, "needs vector"),
        ({"split": {"stands": {}}}, "needs stands"),
    ],
)
def test_what_is_missing_for_an_image_is_named(tmp_path, change, words):
    with pytest.raises(UsageError, match=words):
        parse_recipe(recipe(**change), root=tmp_path)

"""What a check of a recipe says."""

from __future__ import annotations

import numpy as np
import pytest
from scenefile import recipe_for, write_labelled_scene

from hsimap.recipes import load_recipe
from hsimap.synthetic import write_campaign
from hsimap.training import check_recipe, open_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def truth(folder):
    return write_labelled_scene(folder)


def test_it_counts_what_training_would_see(folder, truth):
    recipe = recipe_for(folder)
    lines = list(check_recipe(recipe))
    text = "\n".join(lines)
    assert any(line.startswith("bands: 5, ") for line in lines)
    assert "note: 5 of 6 bands are used" in text
    with open_recipe(recipe) as opened:
        for scene in opened.scenes:
            n = np.bincount(scene.folds.ravel(), minlength=4)
            (said,) = (line for line in lines if line.startswith(f"{scene.name}: 48 x 56 px"))
            for name, count in zip(("training", "validation", "test"), n[1:], strict=True):
                assert f"{name} {count} px" in said
    for task in recipe.tasks_list():
        assert any(line.startswith(f"{task.name}: labelled px training ") for line in lines)


CAMPAIGN = """
name: c
scenes: [{sample: {campaign: 4, size: 72, seed: 2}}]
tasks:
  basal_area: {kind: continuous, unit: m2 ha-1, range: [0, 20]}
  soil_class: {kind: categorical, classes: {1: mineral, 2: organic}}
"""


def test_a_campaign_is_a_scene_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HSIMAP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "c.yaml"
    path.write_text(CAMPAIGN)
    lines = list(check_recipe(load_recipe(path)))
    named = [line for line in lines if line.startswith("campaign4_72_2/line_")]
    assert [line.split(":")[0][-2:] for line in named] == ["01", "02", "03", "04"]
    assert all(" stands" in line for line in named)
    assert len({line.split(": ", 1)[1] for line in named}) == 4  # each its own pixels
    (basal,) = (line for line in lines if line.startswith("basal_area"))
    assert "reach the range's end 20" in basal
    (soil,) = (line for line in lines if line.startswith("soil_class"))
    assert "mineral" in soil
    assert not any("another" in line for line in lines)  # no stand in two folds
    written = write_campaign(tmp_path / "same", size=72, seed=2, lines=4)
    (cached,) = (tmp_path / "cache" / "samples").iterdir()
    mine, its = (folder / "line_03" / "scene.tif" for folder in (cached, tmp_path / "same"))
    assert written["line_03"]["scene"].read_bytes() == its.read_bytes() == mine.read_bytes()

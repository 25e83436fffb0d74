"""From a recipe to scenes: bands, units, labels, folds."""

from __future__ import annotations

import numpy as np
import pytest
from scenefile import DEAD, WAVELENGTHS, recipe_for, write_labelled_scene

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Window
from hsimap.labels import SplitSpec
from hsimap.labels._folds import block_folds
from hsimap.recipes import InputSettings
from hsimap.training import open_recipe

WHOLE = Window(row=0, col=0, height=48, width=56)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def truth(folder):
    return write_labelled_scene(folder)


def with_input(recipe, **settings):
    return recipe.model_copy(update={"input": InputSettings(**settings)}).at(recipe.root)


def test_dead_bands_are_dropped_and_said(folder, truth):
    with open_recipe(recipe_for(folder)) as opened:
        assert opened.input.n_bands == 5
        assert opened.input.wavelength_nm == WAVELENGTHS[:DEAD] + WAVELENGTHS[DEAD + 1 :]
        assert opened.input.dtype == "int16"
        assert any("5 of 6 bands are used" in note for note in opened.notes)
        values, valid = opened.scenes[0].view(1).read(WHOLE)
    expected = np.where(valid, np.delete(truth["image"], DEAD, axis=0), 0)
    assert np.array_equal(values, expected)
    assert valid[:, 3:].all()
    assert not valid[:, :3].any()


def test_labels_and_folds_are_those_of_the_files(folder, truth):
    with open_recipe(recipe_for(folder)) as opened:
        for fold in (1, 2, 3):
            targets = opened.scenes[0].view(fold).targets(WHOLE)
            own = truth["folds"] == fold
            assert np.array_equal(targets["cover"], np.where(own, truth["cover"], -1))
            expected = np.where(own, truth["depth"], np.nan)
            assert np.array_equal(targets["depth"], expected, equal_nan=True)
        assert opened.scenes[0].block == 8


@pytest.mark.parametrize(
    ("settings", "waves"),
    [
        ({"bands": "0:3"}, WAVELENGTHS[:3]),
        ({"bad_bands": "0,5"}, (550.0, 650.0, 850.0)),
        ({"wavelengths": (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)}, (1.0, 2.0, 3.0, 5.0, 6.0)),
    ],
)
def test_the_recipe_has_the_last_word_on_bands(folder, truth, settings, waves):
    with open_recipe(with_input(recipe_for(folder), **settings)) as opened:
        assert opened.input.wavelength_nm == waves


def test_scale_and_nodata_of_the_recipe_win(folder, truth):
    recipe = with_input(recipe_for(folder), scale=0.0001, nodata=-5)
    with open_recipe(recipe) as opened:
        assert (opened.input.scale, opened.input.nodata) == (0.0001, -5)
        assert opened.input.n_bands == 6


def test_wavelengths_of_the_wrong_number_are_refused(folder, truth):
    with pytest.raises(UsageError, match=r"input\.wavelengths has 2 numbers, but .* has 6 bands"):
        open_recipe(with_input(recipe_for(folder), wavelengths=(1.0, 2.0)))


def test_no_band_left_is_refused(folder, truth):
    with pytest.raises(InputError, match="no band of scene is left"):
        open_recipe(with_input(recipe_for(folder), bands="3"))


def test_a_scene_may_lack_a_task(folder, truth):
    write_labelled_scene(folder, name="other", seed=1)
    recipe = recipe_for(folder, names=("scene", "other"))
    second = recipe.scenes[1].model_copy(
        update={"labels": {"cover": recipe.scenes[1].labels["cover"]}}
    )
    recipe = recipe.model_copy(update={"scenes": (recipe.scenes[0], second)}).at(folder)
    with open_recipe(recipe) as opened:
        targets = opened.scenes[1].view(1).targets(WHOLE)
        assert np.isnan(targets["depth"]).all()
        assert (targets["cover"] >= 0).any()


def test_a_twin_of_fewer_tasks_has_the_folds_of_the_whole(folder, truth):
    recipe = recipe_for(folder)
    split = SplitSpec(blocks={"size": 8, "seed": 3})
    scene = recipe.scenes[0].model_copy(update={"split": split})
    recipe = recipe.model_copy(update={"scenes": (scene,)}).at(folder)
    twin = recipe.model_copy(update={"only_tasks": ("depth",)}).at(folder)
    strict = scene.model_copy(update={"split": split.model_copy(update={"require": ("cover",)})})
    required = twin.model_copy(update={"scenes": (strict,)}).at(folder)
    with open_recipe(recipe) as whole, open_recipe(twin) as part, open_recipe(required) as third:
        assert list(whole.scenes[0].labels) == ["cover", "depth"]
        assert list(part.scenes[0].labels) == list(third.scenes[0].labels) == ["depth"]
        assert np.array_equal(part.scenes[0].folds, whole.scenes[0].folds)
        # With the labels of depth alone other blocks would be dealt.
        alone = block_folds(np.isfinite(truth["depth"]), split.blocks)
        assert not np.array_equal(part.scenes[0].folds, alone)


def test_stands_of_scenes_that_are_split_alike_are_in_one_fold(folder, truth):
    write_labelled_scene(folder, name="other", seed=1)
    recipe = recipe_for(folder, names=("scene", "other"))
    split = SplitSpec(stands={"seed": 2})
    scenes = tuple(scene.model_copy(update={"split": split}) for scene in recipe.scenes)
    for order in (scenes, scenes[::-1]):
        turned = recipe.model_copy(update={"scenes": order}).at(folder)
        with open_recipe(turned) as opened:
            folds = np.stack([scene.folds for scene in opened.scenes])
            stands = np.stack([scene.stands for scene in opened.scenes])
        assert all(len(set(folds[stands == k])) == 1 for k in np.unique(stands))
        assert set(folds.ravel()) == {1, 2, 3}


def test_labels_beside_the_image_see_it_moved(folder, truth):
    recipe = recipe_for(folder)
    scene = recipe.scenes[0].model_copy(update={"label_offset": (1.0, -2.0)})
    moved = recipe.model_copy(update={"scenes": (scene,)}).at(recipe.root)
    for cache in (0.0, 1.0):
        training = recipe.training.model_copy(update={"cache_gib": cache})
        whole = moved.model_copy(update={"training": training}).at(recipe.root)
        with open_recipe(recipe) as opened, open_recipe(whole) as beside:
            values, valid = beside.scenes[0].view(1).read(WHOLE)
            there, known = opened.scenes[0].view(1).read(WHOLE.shift(rows=-1, cols=2))
            np.testing.assert_array_equal(values, there)
            np.testing.assert_array_equal(valid, known)
            ours, theirs = (scenes.scenes[0].view(1) for scenes in (beside, opened))
            targets = theirs.targets(WHOLE)
            for task, labels in ours.targets(WHOLE).items():
                np.testing.assert_array_equal(labels, targets[task])
    assert moved.data_digest != recipe.data_digest

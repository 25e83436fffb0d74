"""The recipe of TAIGA against the miniature in the published files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hsimap.config import load_yaml
from hsimap.errors import UsageError
from hsimap.geometry import Window
from hsimap.labels import TEST, TRAIN, VALIDATION
from hsimap.recipes import band_descriptions, check_descriptions, load_recipe, scene_files
from hsimap.synthetic import write_taiga
from hsimap.training import open_recipe

RECIPE = Path(__file__).parents[3] / "pipelines" / "taiga.yaml"
SIZE = 320


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_taiga(root / "taiga", size=SIZE, seed=1)
    return root


@pytest.fixture
def recipe(folder):
    return load_recipe(RECIPE, data=folder)


@pytest.fixture(scope="module")
def stored(folder):
    return np.memmap(folder / "taiga" / "forestdata_stands", "<i4", "r", shape=(SIZE, SIZE, 14))


def test_the_header_tells_what_each_band_is(folder, recipe):
    bands = band_descriptions(folder / "taiga" / "forestdata_stands")
    assert len(bands) == 14
    assert bands[3]["unit"] == [0.01, "m2/ha"]
    assert bands[13]["name"] == "standID"
    (files,) = scene_files(recipe)
    notes = check_descriptions(recipe.tasks_list(), files)
    assert len(notes) == 13
    assert "mean_dbh: band 5 of taiga/forestdata_stands, mean_dbh*100_[cm]" in notes


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("scenes.0.labels.mean_dbh.scale=1", ["'mean_dbh'", "band 5", "scale is 0.01", "says 1"]),
        ("scenes.0.labels.mean_dbh.band=6", ["'mean_dbh'", "stem_density_[1/ha]", "scale is 1"]),
        ("scenes.0.labels.soil_class.band=4", ["'soil_class'", "type is continuous"]),
        ("scenes.0.labels.basal_area={raster: taiga/forestdata_stands, band: 3}", ["type is cate"]),
        ("tasks.soil_class.classes={1: mineral, 9: rock}", ["set of codes", "[1, 9]"]),
        ("scenes.0.labels.soil_class.band=15", ["no band 15"]),
    ],
)
def test_a_recipe_that_contradicts_the_header_is_refused(folder, item, words):
    overrides = [item]
    if "classes" in item:
        overrides.append("tasks.soil_class.colors={}")
    recipe = load_recipe(RECIPE, overrides=overrides, data=folder)
    (files,) = scene_files(recipe)
    with pytest.raises(UsageError) as caught:
        check_descriptions(recipe.tasks_list(), files)
    for word in words:
        assert word in str(caught.value)


def test_rasters_without_descriptions_are_left_alone(tmp_path):
    assert band_descriptions(tmp_path / "none.tif") == ()
    (tmp_path / "a.hdr").write_text("ENVI\nsamples = 3\n")
    assert band_descriptions(tmp_path / "a") == ()


def test_descriptions_that_are_no_json_are_refused(tmp_path):
    (tmp_path / "a.hdr").write_text('ENVI\nband descriptions = {"a": {"type": oops}\n')
    with pytest.raises(UsageError, match="no JSON"):
        band_descriptions(tmp_path / "a")


def test_the_folds_are_whole_cells_of_listed_good_stands(recipe, folder, stored):
    bad = set((folder / "taiga" / "bad_stands_updated_15092020.csv").read_text().split())
    lines = (folder / "taiga" / "taiga_forest_stand_data.csv").read_text().splitlines()
    folds = {row.split(",")[0]: row.split(",")[-1] for row in lines}
    with open_recipe(recipe) as opened:
        (scene,) = opened.scenes
    found = scene.folds
    assert set(np.unique(found)) == {0, TRAIN, VALIDATION, TEST}
    usable = stored[..., 11] > 0
    usable &= np.isin(stored[..., 0], (2, 3, 4, 5))
    codes = {"training": 1, "holdout": 3}
    stands = np.unique(stored[..., 13])
    for row in range(0, SIZE - 12, 13):
        for col in range(0, SIZE - 12, 13):
            cell = (slice(row, row + 13), slice(col, col + 13))
            ids = {str(stand) for stand in np.unique(stored[cell][..., 13])}
            kinds = {codes.get(folds.get(stand, ""), 0) for stand in ids - bad}
            whole = usable[cell].all() and not ids & bad and len(kinds) == 1
            wanted = kinds.pop() if whole else 0
            assert len(np.unique(found[cell])) == 1
            code = found[row, col]
            assert code == wanted or (code, wanted) == (VALIDATION, TRAIN), (row, col)
    assert len(stands) > 20
    cells = {fold: int((found == fold).sum()) // 169 for fold in (TRAIN, VALIDATION)}
    assert cells[VALIDATION] == round(0.1 * sum(cells.values()))


def test_pixels_without_trees_or_of_rare_classes_are_in_no_fold(folder, stored):
    recipe = load_recipe(RECIPE, overrides=["scenes.0.split.cells.size=1"], data=folder)
    with open_recipe(recipe) as opened:
        folds = opened.scenes[0].folds
    bare, rare = stored[..., 11] == 0, np.isin(stored[..., 0], (1, 6))
    named = stored[..., 13] > 0
    assert (named & bare).any()
    assert rare.any()
    assert not folds[bare | rare].any()
    assert (folds[named] > 0).mean() > 0.5


def test_labels_are_in_physical_units_and_clipped(recipe, stored):
    with open_recipe(recipe) as opened:
        (scene,) = opened.scenes
        targets = scene.view(TRAIN).targets(Window(row=0, col=0, height=SIZE, width=SIZE))
    train = scene.folds == TRAIN
    values = stored[train]
    np.testing.assert_allclose(
        targets["basal_area"][train], (values[:, 3] / 100).clip(0, 35.51), rtol=1e-6
    )
    np.testing.assert_allclose(targets["spruce_share"][train], values[:, 8].clip(0, 84))
    assert (targets["birch_share"][train] == 0).any()  # 0 % is a value
    assert np.array_equal(targets["fertility_class"][train], values[:, 0] - 2)
    assert np.isnan(targets["mean_height"][~train]).all()


def test_missing_files_are_named_with_where_to_get_them(tmp_path):
    with pytest.raises(UsageError) as caught:
        load_recipe(RECIPE, data=tmp_path)
    message = str(caught.value)
    for word in ("20170615_reflectance_mosaic_128b", "forestdata_stands", "bad_stands", "10.23729"):
        assert word in message
    assert "\n" not in message


def test_110_bands_are_an_option(folder):
    recipe = load_recipe(RECIPE, overrides=["input.bands=0:110"], data=folder)
    with open_recipe(recipe) as opened:
        assert opened.input.n_bands == 110


def test_required_tasks_are_tasks(folder):
    with pytest.raises(UsageError, match="did you mean `leaf_area_index`"):
        load_recipe(RECIPE, overrides=["scenes.0.split.require=[leaf_area_indx]"], data=folder)


def test_the_recipe_and_the_synthetic_forest_share_their_tasks():
    mine, demo = (load_yaml(RECIPE.with_name(name)) for name in ("taiga.yaml", "boreal_demo.yaml"))
    assert list(mine["tasks"]) == list(demo["tasks"])
    for name, task in mine["tasks"].items():
        for key in set(task) - {"range"}:
            assert task[key] == demo["tasks"][name][key]

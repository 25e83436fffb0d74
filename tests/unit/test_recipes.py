"""Recipes: schema, errors, where files are looked for, identity, the shipped ones."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import textwrap
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hsimap.config import parse_yaml
from hsimap.errors import StorageError, UsageError
from hsimap.geometry import Grid
from hsimap.labels import (
    TEST,
    TRAIN,
    VALIDATION,
    LabelSpec,
    open_folds,
    open_labels,
    read_stands,
)
from hsimap.recipes import (
    Recipe,
    cache_folder,
    commented_recipe,
    list_recipes,
    load_recipe,
    parse_recipe,
    sample_folder,
    scene_files,
    select_bands,
)
from hsimap.recipes._extends import load_resolved
from hsimap.synthetic import _tasks as synthetic_tasks

PIPELINES = Path(__file__).parents[2] / "pipelines"
REAL = ("berlin_hymap", "neon_sjer", "enmap_potsdam", "indian_pines")
ISSUE_FORM = """
name: berlin-hymap
scenes:
  - image: berlin_hymap_9m/scene.tif
    labels:
      landcover: {raster: berlin_hymap_9m/landcover_level2.tif}
      impervious_fraction: {raster: berlin_hymap_9m/fractions.tif, band: impervious_fraction}
    stands: {raster: stand_id.tif}
    split: {raster: berlin_hymap_9m/split.tif, train: 1, validation: 2, test: 3, context: share}
tasks:
  landcover:
    {kind: categorical, classes: {1: roof, 2: pavement, 3: low_vegetation, 4: tree, 5: soil},
    colors: {1: "#b2182b"}}
  impervious_fraction: {kind: continuous, unit: "1", range: [0, 1]}
input: {scale: 0.0001, normalise: standardise}
network: {architecture: taiga, preset: tiny}
training: {patch: 32, batch: 16, epochs: 60, learning_rate: 0.001, balancing: uncertainty, seed: 0}
"""


@pytest.fixture
def form():
    return parse_yaml(ISSUE_FORM, source="issue")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("HSIMAP_DATA", raising=False)


def parse(form, **changes):
    return parse_recipe({**form, **changes}, root=Path(), source="r.yaml")


# --- the form ------------------------------------------------------------------------------------


def test_the_contract_form_is_read(form):
    recipe = parse(form)
    landcover, impervious = recipe.tasks_list()
    assert landcover.codes.tolist() == [1, 2, 3, 4, 5]
    assert landcover.classes[0].color == "#b2182b"
    assert impervious.range == (0.0, 1.0)
    scene = recipe.scenes[0]
    assert scene.labels["impervious_fraction"] == LabelSpec(
        raster="berlin_hymap_9m/fractions.tif", band="impervious_fraction"
    )
    assert scene.split.codes == {1: TRAIN, 2: VALIDATION, 3: TEST}
    assert scene.title == "berlin_hymap_9m/scene"
    assert recipe.input.scale == 0.0001
    assert recipe.network == {"architecture": "taiga", "preset": "tiny"}
    assert recipe.training.balancing == "uncertainty"
    assert recipe.training.augment.flips


@pytest.mark.parametrize(
    "split",
    [
        {"blocks": {"size": 16, "buffer": 2, "shares": [0.6, 0.2, 0.2], "seed": 0}},
        {"stands": {"shares": [0.6, 0.2, 0.2], "seed": 0}, "context": "mask"},
    ],
)
def test_the_other_splits_are_read(form, split):
    form["scenes"][0]["split"] = split
    assert parse(form).scenes[0].split.raster is None


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("training.epoch=5", ["`training.epoch`", "did you mean `epochs`?"]),
        ("epochs=5", ["`epochs`", "did you mean `training.epochs`?"]),
        ("scenes.0.label={}", ["`scenes.0.label`", "`labels`"]),
        ("scenes.0.labels.landcover.rater=a", ["landcover.rater`", "`raster`"]),
        ("scenes.0.split.trian=1", ["`scenes.0.split.trian`", "`train`"]),
        ("scenes.0.labels.landcovr={raster: a}", ["`landcovr`", "did you mean `landcover`?"]),
        ("tasks.landcover.clases={}", ["'landcover'", "'clases'", "'classes'"]),
        ("tasks.landcover.classes={yes: a}", ["'landcover'", "'yes'", "integers"]),
        ("tasks.landcover.kind=ordinal", ["'landcover'", "'ordinal'"]),
        ("tasks.landcover.colors={1: red}", ["'landcover'", "'red'"]),
        ("tasks.qa={kind: continuous}", ["'qa'"]),
        ("tasks.extra={kind: continuous}", ["'extra' has no labels in any scene"]),
        ("training.epochs=0", ["`training.epochs`", "greater than or equal to 1", "got 0"]),
        ("training.epochs='5'", ["`training.epochs`", "integer", "'5'"]),
        ("training.learning_rate=1e-3x", ["`training.learning_rate`", "'1e-3x'"]),
        ("training.learning_rate=.nan", ["`training.learning_rate`", "nan"]),
        ("training.seed=true", ["`training.seed`", "integer", "True"]),
        ("training.augment.flips=yes", ["`training.augment.flips`", "'yes'"]),
        ("training.balancing=gradnrm", ["`training.balancing`", "'uncertainty'", "'gradnrm'"]),
        ("training.task_weights={landcover: 2}", ["balancing: fixed"]),
        ("input.normalise=standardize", ["`input.normalise`", "'standardise'"]),
        ("input.bad_bands='5:3'", ["`input.bad_bands`", "'5:3'", "counted from 0"]),
        ("scenes.0.split=", ["berlin_hymap_9m/scene.tif has no split"]),
        ("scenes.0.labels=", ["`scenes.0.labels`"]),
        ("scenes.0.labels={}", ["has no labels"]),
        ("scenes.0.image=", ["either image or sample"]),
        ("scenes.0.sample={}", ["either image or sample"]),
        ("scenes.0.sample.sise=64", ["`scenes.0.sample.sise`", "`size`"]),
        ("scenes=[]", ["`scenes`", "at least 1"]),
        ("name=", ["`name`", "string"]),
        ("name=a b", ["`name`", "'a b'"]),
        ("name=../up", ["`name`"]),
    ],
)
def test_wrong_recipes_are_refused_in_one_line(tmp_path, item, words):
    path = tmp_path / "r.yaml"
    path.write_text(ISSUE_FORM, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_recipe(path, overrides=[item])
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("key", ["name", "scenes", "tasks"])
def test_what_must_be_there(form, key):
    del form[key]
    with pytest.raises(UsageError, match=f"r.yaml: `{key}` is missing"):
        parse(form)


def test_a_scene_listed_twice_would_leak(form):
    with pytest.raises(UsageError, match="listed twice"):
        parse(form, scenes=form["scenes"] * 2)


def test_fixed_weights_name_tasks(form):
    form["training"] = {"balancing": "fixed", "task_weights": {"landcovr": 2}}
    with pytest.raises(UsageError, match="did you mean `landcover`"):
        parse(form)
    form["training"]["task_weights"] = {"landcover": 2}
    assert parse(form).training.task_weights == {"landcover": 2.0}


# --- where files are looked for -------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, form):
    """A recipe, and four folders that each hold all files of the recipe."""
    path = tmp_path / "recipes" / "r.yaml"
    path.parent.mkdir()
    path.write_text(ISSUE_FORM, encoding="utf-8")
    files = ["scene", "landcover_level2", "fractions", "split"]
    for name in ["own", "option", "environment", "recipes"]:
        (tmp_path / name / "berlin_hymap_9m").mkdir(parents=True)
        (tmp_path / name / "stand_id.tif").touch()
        for file in files:
            (tmp_path / name / "berlin_hymap_9m" / f"{file}.tif").touch()
    return tmp_path


def test_the_order_of_the_places(folders, monkeypatch):
    path = folders / "recipes" / "r.yaml"
    assert load_recipe(path).root == folders / "recipes"
    monkeypatch.setenv("HSIMAP_DATA", str(folders / "environment"))
    assert load_recipe(path).root == folders / "environment"
    assert load_recipe(path, data=folders / "option").root == folders / "option"
    own = load_recipe(path, overrides=["data=../own"], data=folders / "option")
    assert own.root.resolve() == folders / "own"
    files = scene_files(own)[0]
    assert files.image == own.root / "berlin_hymap_9m/scene.tif"
    assert files.root == own.root
    assert files.labels == own.scenes[0].labels


@pytest.mark.parametrize(
    "name", ["stand_id.tif", *(f"berlin_hymap_9m/{n}.tif" for n in ["scene", "split", "fractions"])]
)
def test_a_missing_file_is_named_with_the_rule(folders, name, monkeypatch):
    for place in ["recipes", "environment", "option", "own"]:
        (folders / place / name).unlink()
    path = folders / "recipes" / "r.yaml"
    cases = [({}, "recipes", "neither --data nor HSIMAP_DATA is set")]
    cases += [({"data": folders / "option"}, "option", f"--data {folders / 'option'}")]
    for keywords, place, why in cases:
        with pytest.raises(UsageError) as caught:
            load_recipe(path, **keywords)
        assert str(folders / place / name) in str(caught.value)
        assert why in str(caught.value)
        assert caught.value.exit_code == 2
    monkeypatch.setenv("HSIMAP_DATA", str(folders / "environment"))
    with pytest.raises(UsageError, match="HSIMAP_DATA="):
        load_recipe(path)


def test_a_missing_recipe(tmp_path):
    with pytest.raises(UsageError, match=r"none\.yaml does not exist"):
        load_recipe(tmp_path / "none.yaml")


# --- identity -------------------------------------------------------------------------------------


def test_the_digest_does_not_depend_on_the_machine(form, folders):
    plain = parse(form)
    assert (
        load_recipe(folders / "recipes" / "r.yaml", data=folders / "option").digest == plain.digest
    )
    for changes in [
        {"data": "/elsewhere"},
        {"description": "other words"},
        {"training": {**form["training"], "devices": 2, "accelerator": "cpu"}},
        {"training": {**form["training"], "dispensable": 0.01}},  # measured after the training
        {"training": {**form["training"], "epochs": 60, "schedule": "cosine"}},
    ]:
        assert parse(form, **changes).digest == plain.digest
    here, there = deepcopy(form), deepcopy(form)
    here["scenes"][0]["image"] = "/a/scene.tif"
    there["scenes"][0]["image"] = "/b/scene.tif"
    assert parse(here).digest == parse(there).digest != plain.digest


@pytest.mark.parametrize(
    "item",
    [
        "name=b", "training.seed=1", "training.precision=bf16-mixed", "scenes.0.split.context=mask",
        "scenes.0.labels.landcover.nodata=9", "tasks.landcover.classes.1=house", "input.scale=0.01",
        "network.preset=small", "tasks.landcover.colors={1: '#000000'}",
    ],
)  # fmt: skip
def test_the_digest_changes_with_the_recipe(folders, item):
    path = folders / "recipes" / "r.yaml"
    assert load_recipe(path, overrides=[item]).digest != load_recipe(path).digest


def test_the_digest_is_the_same_in_another_process():
    code = (
        "from pathlib import Path; from hsimap.recipes import load_recipe;"
        f"print(load_recipe(Path({str(PIPELINES / 'boreal_demo.yaml')!r})).digest)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == load_recipe(PIPELINES / "boreal_demo.yaml").digest


def test_the_digest_of_older_results_stays(form):
    # Literals from the version that made docs/results; fields of today stand at their defaults.
    assert parse(form).digest == "89d3ee3a6df086ce5eed07c85a22f6c8dfd93f211d5c908a50b2b640e673c414"
    told = json.loads((PIPELINES.parent / "models/boreal-demo/manifest.json").read_text())
    assert told["provenance"]["recipe_digest"] == load_recipe(PIPELINES / "boreal_demo.yaml").digest


@pytest.mark.parametrize(
    "item",
    [
        "training.optimiser=sgd", "training.gradnorm={update_every: 5}", "training.momentum=0.8",
        "training.losses.focal_gamma=1", "training.sampling=balanced", "training.targets=minmax",
        "training.augment.smoothing=20", "scenes.0.label_offset=[0.5, 0]",
    ],
)  # fmt: skip
def test_a_later_field_counts_once_it_is_set(folders, item):
    path = folders / "recipes" / "r.yaml"
    assert load_recipe(path, overrides=[item]).digest != load_recipe(path).digest


def test_later_fields_at_their_default_do_not_count(form):
    plain = parse(form).digest
    form["training"] |= {
        "optimiser": "adamw", "losses": {"focal_alpha": 0.25}, "gradnorm": {"alpha": 1.0},
        "workers": 3, "cache_gib": 0.5,
    }  # fmt: skip
    assert parse(form, seeds=3).digest == plain


def test_recipes_of_the_same_data_agree_in_its_digest(folders):
    path = folders / "recipes" / "r.yaml"
    plain = load_recipe(path)
    same = ["training.epochs=5", "network.preset=small", "name=x", "input.normalise=l2"]
    assert load_recipe(path, overrides=same).data_digest == plain.data_digest != plain.digest
    assert plain.seeded(7).data_digest == plain.data_digest
    assert plain.seeded(7).training.seed == 7
    assert plain.seeded(7).root == plain.root
    other = load_recipe(path, overrides=["scenes.0.split.context=mask"])
    assert other.data_digest != plain.data_digest


# --- recipes that change others -------------------------------------------------------------------


@pytest.fixture
def family(tmp_path):
    """Three recipes in two folders, each a change of the one before."""
    (tmp_path / "more").mkdir()
    texts = {
        "base.yaml": ISSUE_FORM + "data: files\n",
        "more/middle.yaml": """
            extends: ../base.yaml
            name: middle
            training: {epochs: 7, losses: {categorical: focal}, augment: {turns: false}}
            network: {preset: null, dropout: 0.1}
        """,
        "last.yaml": """
            extends: more/middle.yaml
            name: last
            scenes:
              - image: other.tif
                labels: {landcover: {raster: l.tif}, impervious_fraction: {raster: f.tif}}
                split: {blocks: {size: 8}}
            only_tasks: [landcover]
            training: {losses: {categorical: cross_entropy}}
        """,
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return tmp_path


def test_mappings_are_merged_and_the_rest_is_replaced(family):
    middle = parse_recipe(load_resolved(family / "more/middle.yaml"), root=Path())
    assert middle.name == "middle"
    assert middle.training.epochs == 7
    assert middle.training.batch == 16
    assert middle.training.losses.categorical == "focal"
    assert middle.network == {"architecture": "taiga", "dropout": 0.1}
    last = parse_recipe(load_resolved(family / "last.yaml"), root=Path())
    assert [scene.image for scene in last.scenes] == ["other.tif"]
    assert [task.name for task in last.tasks_list()] == ["landcover"]
    assert last.training.losses.categorical == "cross_entropy"
    assert not last.training.augment.turns


def test_data_is_relative_to_the_file_that_says_so(family):
    for name, folder in [("base", family), ("last", family), ("more/middle", family / "more")]:
        data = load_resolved(family / f"{name}.yaml")["data"]
        assert (folder / data).resolve() == family / "files"


def test_a_family_is_listed_and_shown_whole(family):
    assert [name for _, name, _ in list_recipes(family)] == ["berlin-hymap", "last", "middle"]
    text = commented_recipe(parse_recipe(load_resolved(family / "last.yaml"), root=Path()))
    assert parse_recipe(parse_yaml(text, source="dump"), root=Path()).training.epochs == 7
    assert "extends" not in text.replace("# ", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: none.yaml\nname: a", "extends none.yaml, but there is no file"),
        ("extends: [a.yaml]\nname: a", "`extends` is the path of one recipe"),
        ("extends: ../base.yaml", "needs a `name` of its own"),
        ("extends: middle.yaml\nname: a", "extends itself: middle.yaml -> middle.yaml"),
    ],
)
def test_broken_families_are_told_in_one_line(family, text, words):
    path = family / "more" / "middle.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_longer_cycle_is_found(family):
    (family / "base.yaml").write_text("extends: last.yaml\nname: a", encoding="utf-8")
    with pytest.raises(UsageError, match=r"last\.yaml -> middle\.yaml -> base\.yaml -> last\.yaml"):
        load_recipe(family / "last.yaml")


def test_only_some_tasks(form):
    whole, part = parse(form), parse(form, only_tasks=["impervious_fraction"])
    assert [task.name for task in part.tasks_list()] == ["impervious_fraction"]
    assert part.all_tasks() == whole.all_tasks() == whole.tasks_list()
    assert part.digest != whole.digest
    every = list(reversed(form["tasks"]))
    assert parse(form, only_tasks=every).tasks_list() == whole.tasks_list()


@pytest.mark.parametrize(
    ("tasks", "words"),
    [(["landcovr"], "did you mean `landcover`?"), ([], "at least 1"), ("a", "`only_tasks`")],
)
def test_wrong_choices_of_tasks(form, tasks, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        parse(form, only_tasks=tasks)


# --- bands ----------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.data())
def test_selected_bands_are_what_slices_select(n, data):
    slices = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n)), min_size=1))
    slices = [(a, max(b, a + 1)) for a, b in slices]
    text = ",".join(f"{a}:{b}" if b - a > 1 else f" {a} " for a, b in slices)
    expected = sorted({i for a, b in slices for i in range(n)[a:b]})
    assert list(select_bands(text, n=n, key="input.bands")) == expected


def test_other_forms_of_bands():
    assert select_bands(":3", n=5, key="k") == (0, 1, 2)
    assert select_bands("3:", n=5, key="k") == (3, 4)
    assert select_bands((4, 1, 1), n=5, key="k") == (1, 4)
    assert select_bands(2, n=5, key="k") == (2,)


@pytest.mark.parametrize(
    "bands", ["", "a", "3:3", "5:2", "1 2", "-1", "1,,2", "1:2:3", (-1,), "٣:"]
)
def test_texts_that_select_no_bands(bands):
    with pytest.raises(UsageError, match="counted from 0"):
        select_bands(bands, n=9, key="k")


@pytest.mark.parametrize("bands", ["9", "0:10", "12:", (9,)])
def test_bands_that_the_scene_does_not_have(bands):
    with pytest.raises(UsageError, match=r"input\.bands names band \d+; the scene's 9 bands"):
        select_bands(bands, n=9, key="input.bands")


# --- the commented recipe, lists ------------------------------------------------------------------


def test_the_commented_recipe_reads_back_and_explains_every_key():
    for recipe in [None, *(load_recipe_of(name) for name in [*REAL, "boreal_demo"])]:
        text = commented_recipe(recipe)
        again = parse_recipe(parse_yaml(text, source="dump"), root=Path())
        assert again.model_dump() == (recipe or again).model_dump()
        assert again.digest == (recipe or again).digest
        assert yaml.safe_load(text)["training"]["learning_rate"] == again.training.learning_rate


def load_recipe_of(name):
    return parse_recipe(
        parse_yaml((PIPELINES / f"{name}.yaml").read_text(encoding="utf-8"), source=name),
        root=Path(),
    )


def test_every_key_has_a_description():
    def walk(model):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            if isinstance(field.annotation, type) and hasattr(field.annotation, "model_fields"):
                walk(field.annotation)

    walk(Recipe)


def test_recipes_are_listed_with_a_line_each(tmp_path):
    shutil.copytree(PIPELINES, tmp_path / "p")
    (tmp_path / "p" / "broken.yaml").write_text("scenes: [\n", encoding="utf-8")
    (tmp_path / "p" / "other.yaml").write_text("a: 1\n", encoding="utf-8")
    listed = list_recipes(tmp_path)
    whole = [path.stem for path, _, _ in listed if path.parent == tmp_path / "p"]
    assert whole == sorted([*REAL, "boreal_campaign", "boreal_demo", "broken", "taiga"])
    changed = {path.stem for path, _, _ in listed if path.parent != tmp_path / "p"}
    assert changed == {path.stem for path in PIPELINES.rglob("*.yaml") if path.parent != PIPELINES}
    for path, name, line in listed:
        assert line
        assert "\n" not in line
        if path.stem == "broken":
            assert line.startswith("cannot be used: ")
        else:
            folder = (
                "" if path.parent == tmp_path / "p" else f"{path.parent.name.replace('_', '-')}-"
            )
            assert name == folder + path.stem.replace("_", "-")
    assert list_recipes(tmp_path / "none") == []


# --- synthetic scenes -----------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HSIMAP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def generator(monkeypatch):
    """A stand-in for the generator that counts its calls."""
    calls = []

    def write_sample(folder, *, size, seed):
        calls.append((size, seed))
        folder.mkdir()
        (folder / "scene.tif").write_text(f"{size} {seed}", encoding="utf-8")

    monkeypatch.setattr("hsimap.synthetic.write_sample", write_sample, raising=False)
    return calls


def test_the_cache_is_where_it_is_said_to_be(monkeypatch, tmp_path):
    monkeypatch.delenv("HSIMAP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hsimap"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "hsimap"
    monkeypatch.setenv("HSIMAP_CACHE", "/c")
    assert cache_folder() == Path("/c")


def test_a_sample_is_generated_once(cache, generator):
    first = sample_folder(size=64, seed=3)
    assert sample_folder(size=64, seed=3) == first
    assert sample_folder(size=64, seed=4) != first
    assert generator == [(64, 3), (64, 4)]
    assert first.is_relative_to(cache)
    assert not list(cache.glob("samples/.writing*"))


def test_a_failed_generation_leaves_nothing(cache, monkeypatch):
    def write_sample(folder, *, size, seed):
        folder.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hsimap.synthetic.write_sample", write_sample, raising=False)
    with pytest.raises(StorageError, match=r"No space left on device.*HSIMAP_CACHE"):
        sample_folder(size=64, seed=3)
    assert list((cache / "samples").iterdir()) == []


def test_a_faster_process_wins(cache, generator, monkeypatch):
    def write_sample(folder, *, size, seed):
        folder.mkdir()
        rival = next((cache / "samples").iterdir()).parent / folder.name
        rival.mkdir()
        (rival / "scene.tif").write_text("rival", encoding="utf-8")

    monkeypatch.setattr("hsimap.synthetic.write_sample", write_sample)
    folder = sample_folder(size=64, seed=3)
    assert (folder / "scene.tif").read_text(encoding="utf-8") == "rival"
    assert not list(cache.glob("samples/.writing*"))


def test_sample_scenes_take_the_generated_files(cache, generator):
    cache.mkdir()
    (cache / "own.tif").touch()
    recipe = load_recipe(
        PIPELINES / "boreal_demo.yaml",
        overrides=["scenes=[{sample: {size: 64, seed: 5}, stands: {raster: own.tif}}]"],
        data=cache,
    )
    (files,) = scene_files(recipe)
    folder = sample_folder(size=64, seed=5)
    assert files.image == folder / "scene.tif"
    assert files.name == "sample_64_5"
    assert set(files.labels) == set(recipe.tasks)
    assert files.labels["soil_class"] == LabelSpec(
        raster=str(folder / "classes.tif"), band="soil_class"
    )
    assert files.labels["mean_dbh"].raster == str(folder / "variables.tif")
    assert files.split.raster == str(folder / "split.tif")
    assert files.stands.raster == "own.tif"


def test_generated_files_hold_what_the_demo_names(cache):
    recipe = load_recipe(
        PIPELINES / "boreal_demo.yaml", overrides=["scenes=[{sample: {size: 64, seed: 1}}]"]
    )
    (files,) = scene_files(recipe)
    with rasterio.open(files.image) as scene:
        grid = Grid(height=64, width=64, transform=scene.transform, crs=scene.crs.to_wkt())
    stands = read_stands(files.stands, grid=grid, root=files.root)
    folds = open_folds(files.split, grid=grid, root=files.root)
    assert (folds[stands == 0] == 0).all()
    for task in recipe.tasks_list():
        labels = open_labels(task, files.labels[task.name], grid=grid, root=files.root)
        values = labels.read(grid.window)
        labels.close()
        assert (np.isfinite(values) if values.dtype.kind == "f" else values >= 0).any()


# --- the shipped recipes --------------------------------------------------------------------------


def test_the_demo_maps_what_the_generator_makes():
    recipe = load_recipe(PIPELINES / "boreal_demo.yaml")
    made = {task.name: task.model_copy(update={"title": ""}) for task in synthetic_tasks.tasks()}
    assert [task.model_copy(update={"title": ""}) for task in recipe.tasks_list()] == [
        *made.values()
    ]
    assert all(scene.sample.seed != 0 for scene in recipe.scenes)


@pytest.mark.data
@pytest.mark.parametrize("name", REAL)
def test_shipped_recipes_fit_the_real_data(data_folder, name):
    recipe = load_recipe(PIPELINES / f"{name}.yaml", data=data_folder)
    (files,) = scene_files(recipe)
    with rasterio.open(files.image) as scene:
        crs = scene.crs.to_wkt() if scene.crs else None
        grid = Grid(height=scene.height, width=scene.width, transform=scene.transform, crs=crs)
    folds = open_folds(files.split, grid=grid, root=files.root)
    for task in recipe.tasks_list():
        labels = open_labels(task, files.labels[task.name], grid=grid, root=files.root)
        assert labels.notes == ()
        values = labels.read(grid.window)
        found = values[folds == TRAIN]
        if task.classes:
            assert set(np.unique(values)) <= set(range(-1, task.channels))
            assert set(range(task.channels)) <= set(np.unique(values))
            assert (found >= 0).any()
        else:
            low, high = task.range
            assert low <= np.nanmin(values) <= np.nanmax(values) <= high
            assert np.isfinite(found).any()
        labels.close()
    assert all((folds == fold).any() for fold in (TRAIN, VALIDATION, TEST))
    assert not math.isnan(recipe.training.learning_rate)

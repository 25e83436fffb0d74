"""A comparison trains what is missing, the first seed of all recipes first, and goes on."""

from __future__ import annotations

import json
from itertools import count
from types import SimpleNamespace

import pytest
from scenefile import recipe_for, write_labelled_scene
from typer.testing import CliRunner

from hsimap.cli._main import app
from hsimap.errors import UsageError
from hsimap.evaluation import read_results
from hsimap.training import Bench, _comparison, train_missing

SCORES = {"cover": {"balanced_accuracy": 0.5}, "depth": {"r2": 0.25}}


class Trainer:
    """Stands in for training; notes what it was asked for."""

    def __init__(self):
        self.calls, self.stop_at = [], None

    def __call__(self, recipe, out, *, run, resume, progress):
        place = (recipe.name, recipe.training.seed)
        if place == self.stop_at:
            run.mkdir(parents=True)
            (run / f"step-000000001-{'0' * 64}.pt").touch()
            raise KeyboardInterrupt
        self.calls.append((*place, resume, out.relative_to(run.parents[2]).as_posix()))
        told = {
            "recipe": recipe.name, "seed": recipe.training.seed, "recipe_digest": recipe.digest,
            "data_digest": recipe.data_digest,
        }  # fmt: skip
        manifest = SimpleNamespace(metrics=SCORES, provenance=told)
        return SimpleNamespace(manifest=manifest, digest="b")


@pytest.fixture(autouse=True)
def files_beside_the_recipe(monkeypatch):
    monkeypatch.delenv("HSIMAP_DATA", raising=False)


@pytest.fixture
def trainer(monkeypatch):
    trainer = Trainer()
    monkeypatch.setattr(_comparison, "train", trainer)
    return trainer


def trials(folder, *names, seeds=2):
    base = recipe_for(folder)
    named = [base.model_copy(update={"name": name}).at(base.root) for name in names]
    return [recipe.seeded(seed) for seed in range(seeds) for recipe in named]


def bench(folder, **changes):
    return Bench(**({"folder": folder / "out", "results": folder / "r.jsonl"} | changes))


def test_runs_go_on_where_they_were_stopped(tmp_path, trainer):
    runs, told = trials(tmp_path, "a", "b"), []
    trainer.stop_at = ("a", 1)
    with pytest.raises(KeyboardInterrupt):
        train_missing(runs, bench(tmp_path), finished=told.append)
    assert [(line["recipe"], line["seed"]) for line in told] == [("a", 0), ("b", 0)]
    trainer.stop_at = None
    assert train_missing(runs[2:], bench(tmp_path)) == 2
    assert trainer.calls == [
        ("a", 0, False, "models/a/seed-0"), ("b", 0, False, "models/b/seed-0"),
        ("a", 1, True, "models/a/seed-1"), ("b", 1, False, "models/b/seed-1"),
    ]  # fmt: skip
    lines = read_results(tmp_path / "r.jsonl")
    assert [line["recipe_digest"] for line in lines] == [run.digest for run in runs]
    assert {line["data_digest"] for line in lines} == {runs[0].data_digest}
    assert all(line["tasks"] == SCORES and line["machine"]["cpus"] >= 1 for line in lines)


def test_no_run_is_started_after_the_time_is_up(tmp_path, trainer, monkeypatch):
    clock = count(0, 50)
    monkeypatch.setattr(_comparison.time, "monotonic", lambda: next(clock))
    assert train_missing(trials(tmp_path, "a", "b"), bench(tmp_path, minutes=2)) == 2
    assert train_missing(trials(tmp_path, "a"), bench(tmp_path, minutes=0)) == 0


def test_several_devices_are_refused_before_anything_is_trained(tmp_path, trainer):
    runs = [*trials(tmp_path, "a", seeds=1), recipe_for(tmp_path, devices=2)]
    with pytest.raises(UsageError, match="2 devices"):
        train_missing(runs, bench(tmp_path))
    assert trainer.calls == []


RECIPE = """
name: {name}
scenes:
  - image: scene.tif
    labels: {{cover: {{raster: scene_cover.tif}}, depth: {{raster: scene_depth.tif}}}}
    stands: {{raster: scene_stands.tif}}
    split: {{raster: scene_folds.tif, block: 8}}
tasks:
  cover: {{kind: categorical, classes: {{1: a, 2: b, 3: c}}}}
  depth: {{kind: continuous, unit: m, range: [-1, 8]}}
network: {{architecture: spectral_spatial, width: {width}, dilations: [1]}}
training: {{patch: 8, batch: 4, epochs: 1, samples_per_epoch: 8, warmup_epochs: 0}}
{more}
"""


@pytest.fixture
def recipes(tmp_path):
    write_labelled_scene(tmp_path)

    def write(name, *, width=8, more=""):
        path = tmp_path / f"{name}.yaml"
        path.write_text(RECIPE.format(name=name, width=width, more=more))
        return str(path)

    return write


def compare(*words):
    return CliRunner().invoke(app, ["compare", *words], catch_exceptions=True)


def test_the_verb_trains_once_and_then_prints_at_once(tmp_path, recipes, monkeypatch):
    narrow, one = recipes("narrow"), recipes("one", width=12, more="only_tasks: [depth]")
    out = ["--out", str(tmp_path / "o"), "--quiet"]
    first = compare(narrow, one, *out)
    assert first.exit_code == 0, first.output
    lines = read_results(tmp_path / "o" / "results.jsonl")
    assert [(line["recipe"], line["seed"]) for line in lines] == [("narrow", 0), ("one", 0)]
    assert lines[0]["epochs"] == 1
    assert lines[0]["parameters"] < lines[1]["parameters"]
    assert lines[0]["macs_per_pixel"] > 0
    assert lines[0]["cpu_seconds"] > 0 < lines[0]["cpu_seconds_finishing"]
    monkeypatch.setattr(_comparison, "train", None)
    again = compare(narrow, one, *out)
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout == (tmp_path / "o" / "comparison.txt").read_text()
    assert "one has some of the tasks" in again.stdout
    page = (tmp_path / "o" / "comparison.html").read_text()
    assert "Training loss" in page
    told = json.loads(compare(narrow, one, *out, "--json").stdout)
    assert told["models"]["narrow"]["tasks"]["depth"]["mean"] == lines[0]["tasks"]["depth"]["r2"]
    more = compare(narrow, one, *out, "--seeds", "2", "--max-minutes", "0")
    assert "2 runs are still to be done: narrow seed 1, one seed 1" in more.stdout


def test_another_fold_is_scored_with_the_model_that_is_there(tmp_path, recipes):
    path, out = recipes("narrow"), ["--out", str(tmp_path / "o"), "--quiet"]
    assert compare(path, *out).exit_code == 0
    (model,) = (tmp_path / "o" / "models").glob("*/seed-0/manifest.json")
    before = model.stat().st_mtime_ns
    assert compare(path, *out, "--evaluate-fold", "validation").exit_code == 0
    assert model.stat().st_mtime_ns == before
    test, validation = read_results(tmp_path / "o" / "results.jsonl")
    assert (test["fold"], validation["fold"]) == ("test", "validation")
    assert test["tasks"]["cover"]["n"] != validation["tasks"]["cover"]["n"]
    found = [validation["tasks"]["cover"][k] for k in ("overall_accuracy", "balanced_accuracy")]
    score = (sum(found) / 2 + max(validation["tasks"]["depth"]["r2"], -1)) / 2
    assert score == pytest.approx(validation["validation_score"], abs=2e-3)


def test_recipes_that_cannot_be_compared_are_refused(tmp_path, recipes):
    first, other = recipes("a"), recipes("b", more="only_tasks: [depth]")
    text = (tmp_path / "b.yaml").read_text()
    out = ["--out", str(tmp_path / "o")]
    assert "two recipes are named a" in str(compare(first, first, *out).exception)
    (tmp_path / "b.yaml").write_text(text.replace("block: 8", "block: 8, context: mask"))
    assert "cannot be compared" in str(compare(first, other, *out).exception)

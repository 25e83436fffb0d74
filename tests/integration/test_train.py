"""Training from files to a bundle that maps."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hsimap.bundle import Bundle
from hsimap.errors import InputError, OutputExistsError, ResourceError
from hsimap.evaluation import append_result, score_task
from hsimap.mapping.lazy import predict
from hsimap.recipes import load_recipe
from hsimap.tasks import Kind
from hsimap.training import _loader, result_of, train, train_trials

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "training"))
from scenefile import recipe_for, write_labelled_scene  # beside the unit tests


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def truth(folder):
    return write_labelled_scene(folder)


@pytest.fixture(scope="module")
def bundle(folder, truth, tmp_path_factory):
    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("work")
    recipe = recipe_for(folder, epochs=20)
    return train(recipe, work / "model", run=work / "run", progress=False)


def weights(bundle):
    return bundle.weights()


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )


def test_the_bundle_tells_how_good_it_is_and_where_it_comes_from(bundle):
    loaded = Bundle.load(bundle.path)
    metrics, told = loaded.manifest.metrics, loaded.manifest.provenance
    assert metrics["cover"]["overall_accuracy"] > 0.9
    assert metrics["depth"]["r2"] > 0.8
    assert metrics["depth"]["standard_error"]["r2"] > 0
    assert metrics["cover"]["by_stand"]["n"] > 3
    assert told["recipe"] == "small"
    assert 0 < told["foreign_share_of_training_windows"] < 1
    assert told["seams"]["tried"]
    assert loaded.manifest.input.n_bands == 5
    assert "overall_accuracy" in (loaded.path / "MODEL_CARD.md").read_text()


def test_the_deployed_graph_maps_as_well_as_the_bundle_says(bundle, folder, truth):
    maps = predict(folder / "scene.tif", bundle)
    test = truth["folds"] == 3
    blocks = np.zeros(test.shape, dtype=int)
    for task in bundle.manifest.tasks:
        found = maps[task.name].to_numpy()
        if task.kind is Kind.CATEGORICAL:
            target = np.where(test, truth["cover"], -1)
            found = np.where(found == 255, -1, found.astype(int) - 1)
        else:
            target = np.where(test, truth["depth"], np.nan)
        scores = score_task(task, target, found, blocks=blocks)
        told = bundle.manifest.metrics[task.name]
        assert scores.n == told["n"]
        for name, value in scores.scores.items():
            assert told[name] == pytest.approx(value, abs=0.01)


def test_the_run_folder_holds_the_log_and_no_checkpoint(bundle):
    run = bundle.path.parent / "run"
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in records if "loss" in r] == list(range(1, 21))
    assert records[-1]["validation"]["cover"]["overall_accuracy"] > 0.9
    assert any(path.name.startswith("events") for path in (run / "tensorboard").iterdir())
    assert not list(run.glob("step-*"))


def test_a_result_line_says_who_and_how_well(bundle, tmp_path):
    append_result(tmp_path / "results.jsonl", result_of(bundle))
    line = json.loads((tmp_path / "results.jsonl").read_text())
    assert line["recipe_digest"] == bundle.manifest.provenance["recipe_digest"]
    assert line["tasks"]["depth"]["r2"] > 0.8
    assert line["seed"] == 0


def test_the_same_recipe_again_is_already_complete(bundle, folder):
    before = (bundle.path / "manifest.json").stat().st_mtime_ns
    recipe = recipe_for(folder, epochs=20)
    again = train(recipe, bundle.path, run=bundle.path.parent / "run", progress=False)
    assert again.digest == bundle.digest
    assert (bundle.path / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(OutputExistsError, match="another recipe"):
        train(recipe_for(folder, epochs=21), bundle.path, progress=False)


def completed(bundle, folder, out, changes, **training):
    """Return what training makes of a finished bundle with another description of its input."""
    shutil.copytree(bundle.path, out)
    wanted = bundle.manifest.input.model_copy(update=changes)
    Bundle.load(out).rewrite({"input": wanted})
    recipe = recipe_for(folder, epochs=20, **training)
    return train(recipe, out, run=out.parent / "run", progress=False)


def test_an_older_bundle_is_completed_with_the_spread_of_its_training_spectra(
    bundle, folder, tmp_path
):
    found = completed(bundle, folder, tmp_path / "old", {"spread": None})
    assert bundle.manifest.input.spread is not None
    assert found.manifest.input == bundle.manifest.input
    assert same(weights(found), weights(bundle))
    assert found.onnx == bundle.onnx
    told = dict(found.manifest.provenance)
    assert told.pop("spectra_measured_by") == bundle.manifest.provenance["commit"]
    assert told == bundle.manifest.provenance
    again = train(recipe_for(folder, epochs=20), tmp_path / "old", progress=False)
    assert again.digest == found.digest


def test_bands_that_the_network_can_do_without_are_looked_for_when_asked(bundle, folder, tmp_path):
    assert bundle.manifest.input.dispensable == ()
    found = completed(bundle, folder, tmp_path / "model", {}, dispensable=0.9)
    told = found.manifest.provenance["dispensable"]
    assert told["limit"] == 0.9
    assert told["cost"] <= 0.9
    assert 0 < len(found.manifest.input.dispensable) < 5
    assert "that a scene may lack" in (found.path / "MODEL_CARD.md").read_text()


def test_other_training_scenes_do_not_complete_a_bundle(bundle, folder, tmp_path):
    mean = tuple(value + 3 for value in bundle.manifest.input.mean_spectrum)
    with pytest.raises(InputError, match="their mean spectra differ"):
        completed(bundle, folder, tmp_path / "m", {"mean_spectrum": mean, "spread": None})


class CrashError(Exception):
    pass


def crash_after(monkeypatch, n):
    calls = []

    def load(draws, views, load=_loader.load_batch):
        calls.append(1)
        if len(calls) > n:
            raise CrashError
        return load(draws, views)

    monkeypatch.setattr(_loader, "load_batch", load)


def test_a_killed_run_resumes_to_the_same_bundle_weights(folder, truth, tmp_path, monkeypatch):
    whole = train(recipe_for(folder), tmp_path / "a", run=tmp_path / "run_a", progress=False)
    recipe = recipe_for(folder, checkpoint_seconds=0.0)
    crash_after(monkeypatch, 15)
    with pytest.raises(CrashError):
        train(recipe, tmp_path / "b", run=tmp_path / "run_b", progress=False)
    monkeypatch.undo()
    assert not (tmp_path / "b").exists()
    with pytest.raises(OutputExistsError, match="unfinished run"):
        train(recipe, tmp_path / "b", run=tmp_path / "run_b", progress=False)
    resumed = train(recipe, tmp_path / "b", run=tmp_path / "run_b", resume=True, progress=False)
    assert same(weights(whole), weights(resumed))
    lines = [json.loads(x) for x in (tmp_path / "run_b" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "validation" in line] == [1, 2, 3, 4]


def test_a_run_of_other_settings_is_not_resumed(folder, truth, tmp_path, monkeypatch):
    crash_after(monkeypatch, 5)
    with pytest.raises(CrashError):
        train(
            recipe_for(folder, checkpoint_seconds=0.0),
            tmp_path / "m", run=tmp_path / "run", progress=False,
        )  # fmt: skip
    monkeypatch.undo()
    other = recipe_for(folder, checkpoint_seconds=0.0, seed=1)
    with pytest.raises(OutputExistsError, match="other settings"):
        train(other, tmp_path / "m", run=tmp_path / "run", resume=True, progress=False)


def test_masked_context_trains_and_says_so(folder, truth, tmp_path):
    recipe = recipe_for(folder, context="mask")
    found = train(recipe, tmp_path / "m", run=tmp_path / "run", progress=False)
    told = found.manifest.provenance
    assert told["context"] == "mask"
    assert told["foreign_share_of_training_windows"] == 0


@pytest.mark.slow
def test_the_papers_network_trains_too(folder, truth, tmp_path):
    recipe = recipe_for(folder, patch=16, epochs=2)
    recipe = recipe.model_copy(
        update={"network": {"architecture": "taiga", "preset": "tiny", "widths": [4, 4, 8, 8]}}
    ).at(folder)
    found = train(recipe, tmp_path / "m", run=tmp_path / "run", progress=False)
    assert found.manifest.alignment > 1
    assert found.manifest.tile.trim % found.manifest.alignment == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_an_error(folder, truth, tmp_path):
    with pytest.raises(ResourceError, match="CUDA"):
        train(recipe_for(folder, accelerator="cuda"), tmp_path / "m", run=tmp_path / "run")


@pytest.mark.data
def test_the_berlin_recipe_trains(data_folder, tmp_path):
    recipe = load_recipe(
        Path(__file__).parents[2] / "pipelines" / "berlin_hymap.yaml",
        overrides=["training.epochs=2", "training.samples_per_epoch=16"],
        data=data_folder,
    )
    found = train(recipe, tmp_path / "m", run=tmp_path / "run", progress=False)
    assert set(found.manifest.metrics) == set(recipe.tasks)


def test_trials_of_a_recipe_are_resumed_and_compared(folder, truth, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = recipe_for(folder, epochs=2, seed=7, checkpoint_seconds=0.0)
    alone = train(recipe_for(folder, epochs=2, seed=1), tmp_path / "alone", progress=False)
    crash_after(monkeypatch, 15)  # two epochs of six steps: in the second trial
    with pytest.raises(CrashError):
        train_trials(recipe, tmp_path / "m", seeds=2, progress=False)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    told = []
    bundles = train_trials(
        recipe, tmp_path / "m", seeds=2, progress=False, finished=lambda b: told.append(b.path.name)
    )
    assert told == ["seed-1"]
    assert same(weights(bundles[1]), weights(alone))
    record = json.loads((tmp_path / "m" / "trials.json").read_text())
    r2 = next(s for s in record["scores"] if (s["task"], s["score"]) == ("depth", "r2"))
    assert r2["values"][1] == pytest.approx(alone.manifest.metrics["depth"]["r2"])
    assert r2["min"] < r2["mean"] < r2["max"]

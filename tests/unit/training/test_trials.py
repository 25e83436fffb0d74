"""Trials are resumed one by one, and their table says what numpy says."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from scenefile import recipe_for

from hsimap.errors import UsageError
from hsimap.tasks import task_from_mapping
from hsimap.training import _trials, collect_scores, format_trials, train_trials

TASKS = (
    task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 2: "b"}}),
    task_from_mapping("mean_height", {"kind": "continuous", "unit": "m"}),
)


def metrics(seed):
    rng = np.random.default_rng(seed)
    return {
        "cover": {
            "n": 90 + seed, "n_unmapped": 0, "overall_accuracy": float(rng.random()),
            "macro_f1": float(rng.random()), "confusion": [[1, 2], [3, 4]],
            "standard_error": {"overall_accuracy": 0.1},
            "by_stand": {"n": 5, "overall_accuracy": float(rng.random())},
        },
        "mean_height": {
            "n": 80, "r2": float(rng.random()), "rmse": float("nan") if seed == 1 else 0.5,
        },
    }  # fmt: skip


class Trainer:
    """Stands in for training: leaves a folder and counts what it was asked for."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at = [], fail_at

    def __call__(self, recipe, out, *, run, resume, overwrite, progress):
        seed = recipe.training.seed
        if seed == self.fail_at:
            run.mkdir(parents=True)
            (run / f"step-000000001-{'0' * 64}.pt").touch()
            raise KeyboardInterrupt
        self.calls.append((seed, out.exists() and not overwrite, resume, str(run)))
        out.mkdir(parents=True, exist_ok=True)
        told = {"recipe": "small", "seed": seed, "recipe_digest": recipe.digest}
        manifest = SimpleNamespace(tasks=TASKS, metrics=metrics(seed), provenance=told)
        return SimpleNamespace(manifest=manifest, digest=f"bundle{seed}", path=out)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return recipe_for(tmp_path, seed=99)


def test_scores_of_trials_are_those_of_numpy():
    scores = collect_scores(TASKS, [metrics(seed) for seed in range(4)])
    named = {(s.task.name, s.by, s.score): s for s in scores}
    assert set(named) == {
        ("cover", "pixel", "overall_accuracy"), ("cover", "pixel", "macro_f1"),
        ("cover", "stand", "overall_accuracy"), ("mean_height", "pixel", "r2"),
    }  # fmt: skip
    values = [metrics(seed)["cover"]["macro_f1"] for seed in range(4)]
    found = named["cover", "pixel", "macro_f1"].as_dict()
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["std"] == pytest.approx(np.std(values, ddof=1))
    assert (found["min"], found["max"], found["trials"]) == (min(values), max(values), 4)
    assert collect_scores(TASKS, [metrics(0)])[0].std is None


def test_the_text_has_the_papers_layout():
    text = format_trials(collect_scores(TASKS, [metrics(seed) for seed in range(3)]))
    lines = text.splitlines()
    assert lines[0] == "Categorical tasks, by pixel, 3 trials"
    assert lines[1].split("  ")[-1].strip() == "macro f1"
    mean = np.mean([metrics(seed)["cover"]["overall_accuracy"] for seed in range(3)])
    assert lines[2].split()[:2] == ["cover", f"{mean:.4g}"]
    assert [line.split()[0] for line in lines[3:6]] == ["min", "max", "std"]
    assert "Continuous tasks, by pixel, 3 trials" in lines
    assert any(line.startswith("mean height [m]") for line in lines)


def test_what_is_finished_is_not_done_again(recipe, tmp_path, monkeypatch):
    trainer, told = Trainer(fail_at=2), []
    monkeypatch.setattr(_trials, "train", trainer)
    out = tmp_path / "models" / "x"
    with pytest.raises(KeyboardInterrupt):
        train_trials(recipe, out, seeds=3, finished=lambda b: told.append(b.digest))
    trainer.fail_at = None
    bundles = train_trials(recipe, out, seeds=3, finished=lambda b: told.append(b.digest))
    assert [b.digest for b in bundles] == told == ["bundle0", "bundle1", "bundle2"]
    assert trainer.calls == [
        (0, False, False, "runs/x/seed-0"), (1, False, False, "runs/x/seed-1"),
        (0, True, False, "runs/x/seed-0"), (1, True, False, "runs/x/seed-1"),
        (2, False, True, "runs/x/seed-2"),
    ]  # fmt: skip
    train_trials(recipe, out, seeds=1, overwrite=True, finished=lambda b: told.append(b.digest))
    assert told[-1] == "bundle0"
    assert len(told) == 4


def test_the_files_hold_every_trial(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(_trials, "train", Trainer())
    train_trials(recipe, tmp_path / "m", seeds=3)
    record = json.loads((tmp_path / "m" / "trials.json").read_text())
    assert [trial["seed"] for trial in record["trials"]] == [0, 1, 2]
    assert len({trial["recipe_digest"] for trial in record["trials"]}) == 3
    score = record["scores"][0]
    assert score["values"] == [metrics(s)["cover"][score["score"]] for s in range(3)]
    rows = list(csv.DictReader((tmp_path / "m" / "trials.csv").read_text().splitlines()))
    assert len(rows) == len(record["scores"])
    assert float(rows[0]["mean"]) == pytest.approx(score["mean"])
    assert float(rows[0]["seed_2"]) == score["values"][2]
    assert (tmp_path / "m" / "trials.txt").read_text().startswith("Categorical tasks")


def test_trials_on_several_devices_are_refused(recipe):
    several = recipe.training.model_copy(update={"devices": 2})
    with pytest.raises(UsageError, match="one by one with --seed"):
        train_trials(recipe.model_copy(update={"training": several}), seeds=2)

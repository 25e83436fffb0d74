"""From training to calibrated maps and a report, through the command line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml

from hsimap.cli._main import run
from hsimap.mapping.lazy import predict
from hsimap.mapping.settings import MapSettings
from hsimap.training import train

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "training"))
from scenefile import recipe_for, write_labelled_scene  # beside the unit tests


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Return a folder with a scene, a recipe file and two models of it."""
    folder = tmp_path_factory.mktemp("work")
    write_labelled_scene(folder, height=96, width=96)
    for seed in (0, 1):
        recipe = recipe_for(folder, epochs=12, seed=seed)
        train(recipe, folder / f"seed{seed}", run=folder / "runs" / f"seed{seed}", progress=False)
    content = recipe.model_dump(mode="json", exclude_unset=True) | {"tasks": recipe.tasks}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_a_trained_bundle_is_calibrated_on_the_stands_of_the_validation_fold(work):
    from hsimap.bundle import Bundle

    bundle = Bundle.load(work / "seed0")
    found = bundle.manifest.calibration
    assert found.unit == "stand"
    assert 80 in found.intervals["depth"].levels
    assert bundle.manifest.network["temperature"] == found.temperature
    assert found.sharpness["cover"].nll_after <= found.sharpness["cover"].nll_before
    assert "## Calibration" in (bundle.path / "MODEL_CARD.md").read_text()


def test_interval_maps_are_written_around_the_value(work, tmp_path):
    arguments = ["predict", str(work / "scene.tif"), "--model", str(work / "seed0"), "--out"]
    assert run([*arguments, str(tmp_path), "--intervals", "80", "--quiet"]) == 0
    planes = {}
    for name in ("depth", "depth_low", "depth_high"):
        with rasterio.open(tmp_path / "scene" / f"{name}.tif") as file:
            planes[name] = file.read(1)
            assert np.isnan(file.nodata)
        assert (tmp_path / "scene" / f"{name}.qml").exists()
    known = np.isfinite(planes["depth"])
    for plane in planes.values():
        assert np.array_equal(np.isfinite(plane), known)
    low, value, high = (planes[f"depth{end}"][known] for end in ("_low", "", "_high"))
    assert (low <= value).all()
    assert (value <= high).all()
    assert (high - low).min() > 0
    lazy = predict(work / "scene.tif", work / "seed0", settings=MapSettings(intervals=80))
    np.testing.assert_allclose(lazy["depth_low"].to_numpy()[known], low, atol=1e-4)


def test_a_level_that_was_not_calibrated_is_refused(work, tmp_path, capsys):
    arguments = ["predict", str(work / "scene.tif"), "--model", str(work / "seed0"), "--out"]
    assert run([*arguments, str(tmp_path), "--intervals", "42"]) == 11
    assert "not at 42 %" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_evaluate_repeats_the_metrics_of_training_and_writes_a_report(work, tmp_path, capsys):
    models = [str(work / f"seed{seed}") for seed in (0, 1)]
    command = ["evaluate", *models, str(work / "recipe.yaml"), "--data", str(work)]
    command += ["--out", str(tmp_path / "report")]
    assert run([*command, "--runs", str(work / "runs")]) == 0
    assert "balanced_accuracy" in capsys.readouterr().out
    record = json.loads((tmp_path / "report" / "metrics.json").read_text())
    manifest = json.loads((work / "seed0" / "manifest.json").read_text())
    for task, told in manifest["metrics"].items():
        found = record["models"][0]["tasks"][task]["pixel"]
        for score in ("overall_accuracy", "kappa", "r2", "rmse", "pearson"):
            if score in told:
                assert found[score] == pytest.approx(told[score], abs=1e-4)
    assert set(record["comparison"]["mean_rank"]) == {"seed0", "seed1"}
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Run seed1" in page
    assert run(command) == 23
    assert "--overwrite" in capsys.readouterr().err


def test_inspect_of_a_recipe_tells_its_labels(work, tmp_path, capsys):
    recipe = str(work / "recipe.yaml")
    assert run(["inspect", recipe, "--data", str(work), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scenes"]["scene"]["stands_in_several_folds"] == 0
    assert 0 < told["share_of_training_windows_in_other_folds"] < 1
    assert told["tasks"]["depth"]["folds"]["test"]["pixels"] > 0
    assert run(["inspect", recipe, "--data", str(work), "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "No leak" in text
    assert "Jeffries-Matusita" in text
    assert json.loads((tmp_path / "dataset.json").read_text()) == told
    assert run(["inspect", str(work / "scene.tif"), "--out", str(tmp_path / "x")]) == 2


def test_export_on_a_recipe_calibrates_on_training_and_scores_on_validation_pixels(
    work, tmp_path, capsys
):
    from hsimap.bundle import Bundle

    shutil.copytree(work / "seed0", tmp_path / "model")
    command = ["export", str(tmp_path / "model"), "--recipe", str(work / "recipe.yaml")]
    command += ["--data", str(work), "--device", "cpu"]
    assert run([*command, "--calibrate", str(work / "scene.tif")]) == 2
    assert run(command) == 0
    assert "onnx int8" in capsys.readouterr().out
    record = next(r for r in Bundle.load(tmp_path / "model").manifest.acceptance
                  if r.precision == "int8")  # fmt: skip
    assert set(record.metrics) == {"cover", "depth"}
    assert "kappa" in record.metrics["cover"]
    assert set(record.metrics["depth"]) == {"r2", "pearson"}
    assert any(change != 0 for change in record.metrics["depth"].values())
    assert "validation fold" in record.scene
    worst = min(c for scores in record.metrics.values() for c in scores.values())
    assert any("points" in fault for fault in record.faults) == (worst < -0.5)
    assert record.pixels < 96 * 96 * 0.8  # the training pixels are not among them

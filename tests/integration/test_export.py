"""``hsimap export`` and ``--precision`` on files: offered, refused, waived, kept by a resume."""

from __future__ import annotations

import json

import pytest

from hsimap.bundle import INT8, Bundle
from hsimap.cli import _main


@pytest.fixture
def model(tmp_path, make_bundle):
    return make_bundle(tmp_path / "model").path


@pytest.fixture
def scene(tmp_path, write_scene):
    write_scene(tmp_path / "line.tif", height=300, width=600)
    return tmp_path / "line.tif"


def hsimap(*arguments):
    return _main.run([str(argument) for argument in arguments])


def predict(scene, model, out, *options):
    common = ("--model", model, "--out", out, "--threads", 1, "--device", "cpu", "-q")
    return hsimap("predict", scene, *common, *options)


def manifest(out):
    return json.loads((out / "line" / "manifest.json").read_text())


def test_a_precision_without_acceptance_is_refused(scene, model, tmp_path, capfd):
    assert predict(scene, model, tmp_path / "maps", "--precision", "int8") == 2
    assert hsimap("export", model, "--calibrate", scene) == 0
    table = capfd.readouterr().out
    assert "onnx int8" in table
    records = Bundle.load(model).manifest.acceptance  # bf16 as well, where the CPU has it
    record = next(found for found in records if found.precision == "int8")
    assert record.verdict == "refused"  # random weights of a few units: 8 bits do not suffice
    assert 0 < record.pixels < 300 * 600
    assert predict(scene, model, tmp_path / "maps", "--precision", "int8") == 11
    assert record.faults[0] in capfd.readouterr().err
    assert not (tmp_path / "maps").exists() or not list((tmp_path / "maps").rglob("*.tif"))
    assert predict(scene, model, tmp_path / "maps") == 0
    assert manifest(tmp_path / "maps")["identity"]["runtime"]["precision"] == "float32"


def test_a_waived_route_runs_and_every_run_says_so(scene, model, tmp_path):
    before = Bundle.load(model)
    assert hsimap("export", model, "--calibrate", scene, "--accept-unproven") == 0
    after = Bundle.load(model)
    verdicts = {found.precision: found.verdict for found in after.manifest.acceptance}
    assert verdicts["int8"] == "waived"
    assert INT8 in after.manifest.files
    assert after.digest != before.digest
    assert after.onnx == before.onnx
    assert predict(scene, model, tmp_path / "maps", "--precision", "int8") == 0
    told = manifest(tmp_path / "maps")
    assert told["identity"]["runtime"]["precision"] == "int8"
    assert any("waived" in note for note in told["notes"])


def test_a_finished_run_keeps_its_route(scene, model, tmp_path):
    assert hsimap("export", model, "--calibrate", scene, "--accept-unproven") == 0
    for precision in ("int8", "fp32"):
        out = tmp_path / precision
        assert predict(scene, model, out, "--precision", precision) == 0
        first = (out / "line" / "manifest.json").read_bytes()
        assert predict(scene, model, out) == 0  # auto would time them; the folder decides
        assert (out / "line" / "manifest.json").read_bytes() == first


def test_without_a_scene_only_memory_is_measured(model):
    before = Bundle.load(model).manifest
    assert hsimap("export", model) == 0
    after = Bundle.load(model).manifest
    assert after.activation_bytes_per_px != before.activation_bytes_per_px
    assert after.acceptance == ()
    assert set(after.files) == set(before.files)

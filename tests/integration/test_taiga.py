"""The recipe of TAIGA on a miniature in the published files, from the command line."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from hsimap.bundle import Bundle
from hsimap.cli._main import run

RECIPE = Path(__file__).parents[2] / "pipelines" / "taiga.yaml"
SMALL = (
    "training.epochs=1", "training.patch=32", "training.batch=4", "training.samples_per_epoch=8",
    "training.validate_every=1", "network.preset=tiny", "input.bands=40:48",
)  # fmt: skip


@pytest.fixture
def hsimap(tmp_path, monkeypatch):
    """Call the command line in this process and expect an exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HSIMAP_DATA", raising=False)

    def call(*arguments, code=0):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            found = run([str(argument) for argument in arguments])
        assert found == code, err.getvalue()
        return SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())

    return call


def test_what_is_missing_is_said_with_where_to_get_it(hsimap, tmp_path):
    done = hsimap("train", RECIPE, "--data", tmp_path, "--check", code=2)
    for word in ("forestdata_stands", "10.23729/fe7ce882", "AIROBEST"):
        assert word in done.stderr


def test_a_check_reads_all_and_writes_nothing(hsimap, tmp_path):
    hsimap("sample", tmp_path / "taiga", "--layout", "taiga", "--size", "320", "--seed", "1")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = hsimap("train", RECIPE, "--data", tmp_path, "--check")
    assert "bands: 128, 400 to 1000 nm" in done.stdout
    assert "these codes are ignored: 1 (0.1 %)" in done.stdout
    assert "training 8112 px in 21 stands" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.slow
def test_the_recipe_trains_on_the_miniature(hsimap, tmp_path):
    hsimap("sample", tmp_path / "taiga", "--layout", "taiga", "--size", "320", "--seed", "1")
    sets = [part for item in SMALL for part in ("--set", item)]
    one = ("--seed", "0")  # in place of the recipe's ten
    hsimap("train", RECIPE, "--data", tmp_path, "--out", tmp_path / "model", *one, *sets)
    bundle = Bundle.load(tmp_path / "model")
    tasks = {task.name: task for task in bundle.manifest.tasks}
    assert len(tasks) == 13
    assert tasks["basal_area"].range == (0, 35.51)
    assert [label.code for label in tasks["fertility_class"].classes] == [2, 3, 4, 5]
    assert bundle.manifest.input.scale == 0.0001


def test_a_campaign_is_written(hsimap, tmp_path):
    done = hsimap("sample", tmp_path, "--campaign", "2", "--size", "64", "--format", "envi")
    assert (tmp_path / "line_02" / "scene.bil.hdr").is_file()
    assert len(done.stdout.splitlines()) == 14
    hsimap("sample", tmp_path, "--campaign", "2", "--layout", "taiga", code=2)

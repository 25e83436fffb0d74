"""The command line on files: exit codes, one line an error, what is printed."""

import contextlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine

from hsimap.cli._main import run
from hsimap.mapping.journal import locked


@pytest.fixture
def hsimap(tmp_path, monkeypatch):
    """Call the command line in this process, in an empty folder, as a program would see it."""
    monkeypatch.chdir(tmp_path)
    for name in ("HSIMAP_MODEL", "HSIMAP_DATA"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(argument) for argument in arguments])
        return SimpleNamespace(returncode=code, stdout=out.getvalue(), stderr=err.getvalue())

    return call


@pytest.fixture
def line(tmp_path, write_scene):
    write_scene(tmp_path / "line.tif")
    return tmp_path / "line.tif"


def told(ran):
    """The one line that an error is."""
    lines = [x for x in ran.stderr.splitlines() if x.startswith("hsimap: error: ")]
    assert len(lines) == 1
    assert "Traceback" not in ran.stderr
    return lines[0]


def test_predict_maps_says_where_and_is_idle_the_second_time(hsimap, line, toy_bundle, tmp_path):
    args = ("predict", line, "--model", toy_bundle.path, "--out", "maps")
    first = hsimap(*args)
    assert first.returncode == 0, first.stderr
    assert re.fullmatch(
        r"maps/line: 6 maps in [0-9.]+ s, [0-9.e-]+ Mpx/s, 0 of \d+ strips resumed\n", first.stdout
    )
    second = hsimap(*args)
    assert second.returncode == 0
    assert "already complete" in second.stdout
    verified = hsimap("verify", "maps/line")
    assert verified.returncode == 0
    assert "maps verified" in verified.stdout


def test_json_and_dry_run_are_for_programs(hsimap, line, toy_bundle, tmp_path):
    args = ("predict", line, "--model", toy_bundle.path, "--out", "maps", "--json")
    plan = json.loads(hsimap(*args, "--dry-run").stdout)
    assert (plan["height"], plan["width"]) == (70, 90)
    assert plan["estimated_seconds"] >= 0
    assert not (tmp_path / "maps").exists()
    report = json.loads(hsimap(*args, "--probabilities", "none").stdout)
    assert len(report["maps"]) == 5
    assert report["already_complete"] is False


def test_the_short_form_finds_the_model_that_fits(hsimap, line, toy_bundle, tmp_path):
    shutil.copytree(toy_bundle.path, tmp_path / "models" / "toy")
    ran = hsimap("predict", line, "--out", "maps")
    assert ran.returncode == 0, ran.stderr
    shutil.copytree(toy_bundle.path, tmp_path / "models" / "twin")
    several = hsimap("predict", line, "--out", "maps")
    assert several.returncode == 2
    assert "models/toy, models/twin" in told(several)


def test_the_model_of_the_environment_is_taken(hsimap, line, toy_bundle, monkeypatch):
    monkeypatch.setenv("HSIMAP_MODEL", str(toy_bundle.path))
    assert hsimap("predict", line, "--out", "maps").returncode == 0


def test_a_scene_without_crs_is_mapped_and_said(hsimap, write_scene, toy_bundle, tmp_path):
    write_scene(tmp_path / "line.tif", crs=None)
    ran = hsimap("predict", "line.tif", "--model", toy_bundle.path, "--out", "maps")
    assert ran.returncode == 0, ran.stderr
    assert "note: line.tif has no CRS" in ran.stderr


def test_a_folder_in_use_is_refused(hsimap, line, toy_bundle, tmp_path):
    (tmp_path / "maps" / "line").mkdir(parents=True)
    with locked(tmp_path / "maps" / "line"):
        ran = hsimap("predict", line, "--model", toy_bundle.path, "--out", "maps")
    assert ran.returncode == 22
    assert "maps/line" in told(ran)


def test_an_altered_map_is_found(hsimap, line, toy_bundle, tmp_path):
    hsimap("predict", line, "--model", toy_bundle.path, "--out", "maps")
    path = tmp_path / "maps" / "line" / "cover.tif"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    ran = hsimap("verify", "maps/line")
    assert ran.returncode == 30
    assert "cover.tif" in told(ran)


def test_statistics_that_qgis_adds_are_a_warning_and_a_broken_sidecar_is_not(
    hsimap, line, toy_bundle, tmp_path
):
    hsimap("predict", line, "--model", toy_bundle.path, "--out", "maps")
    maps = tmp_path / "maps" / "line"
    aux = maps / "cover.tif.aux.xml"
    text = aux.read_text()
    added = '<Metadata><MDI key="STATISTICS_MEAN">3</MDI></Metadata></PAMRasterBand>'
    aux.write_text(text.replace("</PAMRasterBand>", added))
    (maps / "height.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    ran = hsimap("verify", maps)
    assert ran.returncode == 0, ran.stderr
    assert "warning: cover.tif.aux.xml was altered since (QGIS" in ran.stderr
    assert "warning: height.tif.aux.xml was added since (QGIS" in ran.stderr
    aux.write_text(text[: len(text) // 2])
    ran = hsimap("verify", maps)
    assert ran.returncode == 30
    assert "cover.tif.aux.xml was altered" in told(ran)


def test_an_unfinished_folder_is_not_verified(hsimap, line, toy_bundle, tmp_path):
    (tmp_path / "maps" / "line" / ".hsimap-run").mkdir(parents=True)
    ran = hsimap("verify", "maps/line")
    assert ran.returncode == 30
    assert "is unfinished: it has no manifest.json; run the same command again" in told(ran)


@pytest.fixture
def recipe(line, tmp_path):
    """A recipe of one class map, whose labels hold the code 9, which the recipe does not name."""
    with rasterio.open(line) as scene:
        profile = {**scene.profile, "count": 1, "dtype": "uint8", "nodata": None}
    with rasterio.open(tmp_path / "labels.tif", "w", **profile) as file:
        file.write(np.full((1, profile["height"], profile["width"]), 9, np.uint8))
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: r\nscenes:\n  - image: line.tif\n    labels: {cover: {raster: labels.tif}}\n"
        "    split: {blocks: {size: 16, buffer: 2}}\n"
        "tasks: {cover: {kind: categorical, classes: {1: a, 2: b}}}\n"
    )
    return path


def test_a_class_code_outside_the_recipe_is_told(hsimap, recipe):
    ran = hsimap("train", recipe, "--out", "model")
    assert ran.returncode == 10
    assert "9" in told(ran)
    assert "labels.tif" in told(ran)


def test_train_hands_over_its_options_and_records_the_result(
    hsimap, recipe, toy_bundle, tmp_path, monkeypatch
):
    calls = []

    def train(recipe, out, **options):
        calls.append((recipe, out, options))
        return toy_bundle

    monkeypatch.setattr("hsimap.training.train", train)
    monkeypatch.setattr("hsimap.training.result_of", lambda bundle: {"model": bundle.name})
    ran = hsimap(
        "train", recipe, "--out", "m", "--set", "training.epochs=5", "--set", "training.seed=1",
        "--seed", 7, "--resume", "--record", "results/r.jsonl",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    [(asked, out, options)] = calls
    assert (asked.training.epochs, asked.training.seed, str(out)) == (5, 7, "m")
    assert options == {"resume": True, "overwrite": False, "progress": False}
    assert json.loads((tmp_path / "results" / "r.jsonl").read_text()) == {"model": "toy"}


@pytest.mark.parametrize(
    ("case", "code", "words"),
    [
        ("missing", 2, "there is no file"),
        ("truncated", 10, "bytes and its header states"),
        ("bands", 11, "no wavelengths to match"),
        ("wavelengths", 11, "no good bands to make 1 of the model's 4 bands"),
        ("damaged", 12, ""),
        ("unwritable", 20, "cannot write to"),
        ("memory", 21, "needs about"),
        ("size", 2, "--memory must be a size"),
        ("cuda", 21, ""),
        ("other run", 23, "--overwrite"),
    ],
)
def test_bad_input_is_one_line_with_its_exit_code(
    hsimap, line, toy_bundle, make_bundle, tmp_path, case, code, words
):
    model, scene, out, extra = toy_bundle.path, line, "maps", ()
    if case == "missing":
        scene = tmp_path / "none.tif"
    elif case == "truncated":
        scene = tmp_path / "x.img"
        scene.write_bytes(b"\0" * 10)
        scene.with_suffix(".hdr").write_text(
            "ENVI\nsamples = 3\nlines = 3\nbands = 2\ndata type = 2\ninterleave = bsq\n"
        )
    elif case == "bands":
        scene = tmp_path / "three.tif"
        with rasterio.open(
            scene, "w", driver="GTiff", dtype="int16", count=3, height=9, width=9, crs="EPSG:32633",
            transform=Affine(2, 0, 3e5, 0, -2, 6e6),
        ) as file:  # fmt: skip
            file.write(np.ones((3, 9, 9), np.int16))
    elif case == "wavelengths":
        model = make_bundle(tmp_path / "swir", wavelengths=(450.0, 550.0, 650.0, 1650.0)).path
    elif case == "damaged":
        model = tmp_path / "damaged"
        shutil.copytree(toy_bundle.path, model)
        graph = bytearray((model / "network.onnx").read_bytes())
        graph[100] ^= 1
        (model / "network.onnx").write_bytes(graph)
    elif case == "unwritable":
        (tmp_path / "file").touch()
        out = "file/maps"
    elif case == "other run":
        hsimap("predict", line, "--model", model, "--out", out, "--tile", "16")
    extra = {
        "memory": ("--memory", "1MiB"),
        "size": ("--memory", "much"),
        "cuda": ("--device", "cuda"),
    }
    ran = hsimap("predict", scene, "--model", model, "--out", out, *extra.get(case, ()))
    assert ran.returncode == code, ran.stderr
    assert words in told(ran)


def test_recipes_are_listed_and_a_misspelt_key_is_told(hsimap, tmp_path):
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "mine.yaml").write_text(
        "name: mine\ndescription: my forest\nscenes:\n  - sample: {size: 64, seed: 1}\n"
        "tasks: {mean_height: {kind: continuous}}\n"
    )
    listed = hsimap("train")
    assert listed.returncode == 0
    assert "my forest" in listed.stdout
    config = hsimap("config")
    assert config.returncode == 0
    (tmp_path / "r.yaml").write_text(config.stdout.replace("epochs:", "epoch:"))
    ran = hsimap("train", "r.yaml")
    assert ran.returncode == 2
    assert "epochs" in told(ran)
    ran = hsimap("train", "r.yaml", "--set", "training.sed=1")
    assert ran.returncode == 2
    assert "seed" in told(ran)


def test_inspect_tells_scenes_models_and_maps(hsimap, line, toy_bundle):
    scene = json.loads(hsimap("inspect", line, "--json").stdout)
    assert scene["wavelengths"] == "450 to 850 nm"
    assert (scene["driver"], scene["compression"]) == ("GeoTIFF", "deflate")
    assert "MB/s" in scene["read_speed"]
    assert scene["layout"] == "good"
    model = hsimap("inspect", toy_bundle.path)
    assert "receptive field px" in model.stdout
    hsimap("predict", line, "--model", toy_bundle.path, "--out", "maps")
    maps = json.loads(hsimap("inspect", "maps/line", "--json").stdout)
    assert "cover.tif" in maps["maps"]


def test_version_and_help(hsimap):
    assert hsimap("--version").stdout.startswith("hsimap 0.")
    assert hsimap().stdout.startswith("Usage: hsimap")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_stopped_run_says_so_and_resumes_to_the_same_bytes(
    hsimap, write_scene, toy_bundle, tmp_path, name, code
):
    write_scene(tmp_path / "large.tif", height=500, width=500)
    args = ["predict", "large.tif", "--model", str(toy_bundle.path), "--tile", "16", "--out"]
    child = subprocess.Popen(
        [sys.executable, "-m", "hsimap", *args, "stopped"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    journal = tmp_path / "stopped" / "large" / ".hsimap-run" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.005)
    child.send_signal(getattr(signal, name))
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == code, stderr
    assert "run the same command again to resume" in stderr
    assert not list((tmp_path / "stopped" / "large").glob("*.tif"))
    assert hsimap(*args, "stopped").returncode == 0
    assert hsimap(*args, "whole").returncode == 0
    for path in (tmp_path / "whole" / "large").iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == (tmp_path / "stopped" / "large" / path.name).read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_what_cannot_be_printed_is_an_error_to_the_shell():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "hsimap", "--help"], stdout=full, check=False)
    assert done.returncode != 0

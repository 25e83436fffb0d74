"""What inspect says of a scene, beside a model, and its picture."""

import json

import numpy as np
import pytest
from PIL import Image

from hsimap.cli._main import run
from hsimap.scenes import open_scene, survey

NODATA = -9999


@pytest.fixture
def line(tmp_path, write_scene):
    write_scene(tmp_path / "line.tif")
    return tmp_path / "line.tif"


def told(capsys, *arguments):
    assert run(["inspect", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_survey_is_that_of_the_pixels(line):
    with open_scene(line, scale=1e-4) as scene:
        found = survey(scene)
        windows = [
            (row, col) for row in (0, 9, 19, 28, 38) for col in (0, 14, 29, 43, 58)
        ]  # 25 of 32 x 32 pixels over 70 x 90
        values = scene.raw(scene.grid.window)[0].astype(float)
    parts = [values[:, r : r + 32, c : c + 32].reshape(4, -1) for r, c in windows]
    pixels = np.concatenate(parts, axis=1)
    missing = pixels == NODATA
    assert found.pixels == pixels.shape[1]
    means = [plane[~gone].mean() for plane, gone in zip(pixels, missing, strict=True)]
    np.testing.assert_allclose(found.mean, means, rtol=1e-12)
    assert found.missing == missing.all(axis=0).mean()
    assert found.partly_missing == (missing.any(axis=0) & ~missing.all(axis=0)).mean()
    assert found.all_zero == found.out_of_range == 0


def test_the_screen_and_the_json_say_how_a_model_takes_a_scene(line, toy_bundle, capsys):
    facts = told(capsys, line, "--model", toy_bundle.path)
    assert facts["match"] == ["450-850 nm: 4 bands, selected, at most 0 nm off"]
    assert "the model's, is assumed" in facts["assumed"][0]
    assert facts["spectrum"]["wavelength_nm"] == [450, 550, 650, 850]
    assert len(facts["spectrum"]["mean_stored"]) == 4
    assert "in some" in facts["missing"]
    assert run(["inspect", str(line), "--model", str(toy_bundle.path)]) == 0
    screen = capsys.readouterr().out
    shown = {line[:20].strip() for line in screen.splitlines()}
    assert shown - {""} == {key.replace("_", " ") for key in facts if key != "spectrum"}
    assert "selected, at most 0 nm off" in screen


def test_a_model_that_does_not_fit_is_said_and_not_raised(line, make_bundle, tmp_path, capsys):
    model = make_bundle(tmp_path / "far", wavelengths=(450.0, 550.0, 650.0, 2200.0))
    facts = told(capsys, line, "--model", model.path)
    assert facts["exit_code"] == 11
    assert facts["match"].startswith("does not fit: ")


def test_the_verdict_is_that_of_predict(line, toy_bundle, tmp_path, capsys):
    fields = toy_bundle.manifest.model_copy(
        update={
            "input": toy_bundle.manifest.input.model_copy(
                update={"mean_spectrum": (200.0, 210.0, 190.0, 205.0)}
            )
        }
    )
    names = ("name", "description", "input", "tasks", "outputs", "alignment", "reach", "patch",
             "tile", "activation_bytes_per_px", "network", "metrics", "provenance")  # fmt: skip
    bundle = type(toy_bundle).save(
        tmp_path / "dark", {n: getattr(fields, n) for n in names}, {"network.onnx": toy_bundle.onnx}
    )
    facts = told(capsys, line, "--model", bundle.path, "--scale", "0.0001")
    assert "predict stops (exit 11): its values are" in facts["verdict"][0]
    out = tmp_path / "maps"
    command = ["predict", str(line), "--model", str(bundle.path), "--scale", "0.0001"]
    assert run([*command, "--out", str(out)]) == 11


@pytest.mark.parametrize("model", [False, True])
def test_the_picture_shows_the_scene(line, toy_bundle, tmp_path, capsys, model):
    path = tmp_path / "quick.png"
    extra = ["--model", toy_bundle.path] if model else []
    facts = told(capsys, line, "--quicklook", path, *extra)
    assert facts["colours"] == [
        "true colour: 650, 550, 450 nm", "false colour: 850, 650, 550 nm"
    ]  # fmt: skip
    with Image.open(path) as image:
        assert min(image.size) > 500
        assert len(image.convert("RGB").getcolors(1 << 24)) > 500
    first = path.read_bytes()
    assert run(["inspect", str(line), "--quicklook", str(path)]) == 23
    assert (
        run(["inspect", str(line), "--quicklook", str(path), "--overwrite", *map(str, extra)]) == 0
    )
    assert path.read_bytes() == first


def test_pixels_of_the_picture_are_every_kth_of_the_scene(tmp_path, write_scene):
    from hsimap.products._quicklook import thinned

    values = write_scene(tmp_path / "large.tif", height=1500, width=900)
    with open_scene(tmp_path / "large.tif") as scene:
        found, valid = thinned(scene, [2, 0])
    expected = values[[2, 0], ::3, ::3]
    np.testing.assert_array_equal(valid, (expected != NODATA).all(axis=0))
    np.testing.assert_array_equal(found[:, valid], expected[:, valid])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["LINE", "--quicklook", "a.txt"], 2, "--quicklook ends in"),
        (["LINE", "--quicklook", "none/a.png"], 2, "does not exist; make it first"),
        (["LINE", "--model", "none"], 2, "no model at none"),
        (["none.tif"], 2, "there is no file"),
        (["MODEL", "--quicklook", "a.png"], 2, "are for scenes"),
        (["LINE", "--out", "x"], 2, "are for recipes"),
    ],
)
def test_bad_input_is_answered_in_one_line(
    line, toy_bundle, tmp_path, monkeypatch, capsys, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    names = {"LINE": str(line), "MODEL": str(toy_bundle.path)}
    assert run(["inspect", *(names.get(a, a) for a in arguments)]) == code
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert not said.out

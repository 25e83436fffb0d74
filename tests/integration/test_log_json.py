"""``--log-json``: what a program that watches over runs is told."""

import contextlib
import io
import json
from datetime import datetime

import pytest

from hsimap.cli import _events
from hsimap.cli._events import event_log
from hsimap.cli._failures import Terminated
from hsimap.cli._main import run
from hsimap.errors import StorageError

OPTIONS = ("--tile", "16", "--threads", "1", "--runtime", "onnx", "--probabilities", "none")


@pytest.fixture
def predict(tmp_path, write_scene, toy_bundle, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_scene(tmp_path / "line.tif")

    def call(*arguments):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return run(["predict", "--model", str(toy_bundle.path), "--out", "maps", *arguments])

    return call


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_event_of_a_run_is_a_line(predict, tmp_path):
    assert predict("line.tif", *OPTIONS, "--log-json", "log") == 0
    told = lines(tmp_path / "log")
    assert [event["event"] for event in told] == ["start", "warning", *["strip"] * 5, "finish"]
    assert {event["scene"] for event in told} == {"line.tif"}
    times = [datetime.fromisoformat(event["time"]) for event in told]
    assert times == sorted(times)
    start, warning, *strips, finish = told
    assert start["plan"]["strips"] == 5
    assert start["identity"]["runtime"]["runtime"] == "onnx"
    assert "no reflectance scale" in warning["message"]
    assert [event["strip"] for event in strips] == [0, 1, 2, 3, 4]
    assert sum(event["pixels"] for event in strips) == finish["pixels"] == 70 * 90
    assert 0 < sum(event["seconds"] for event in strips) <= finish["seconds"]
    assert finish["pixels_per_second"] == pytest.approx(6300 / finish["seconds"], rel=0.05)
    assert (finish["exit_code"], finish["strips_resumed"]) == (0, 0)


def test_a_second_call_and_a_refusal_are_appended(predict, tmp_path):
    predict("line.tif", *OPTIONS, "--log-json", "log")
    n = len(lines(tmp_path / "log"))
    assert predict("line.tif", *OPTIONS, "--log-json", "log") == 0
    assert predict("line.tif", *OPTIONS, "--trim", "8", "--log-json", "log") == 23
    told = lines(tmp_path / "log")[n:]
    assert [event["event"] for event in told if event["event"] != "warning"] == [
        "start", "finish", "start", "error",
    ]  # fmt: skip
    assert told[2]["already_complete"]
    assert told[-1]["exit_code"] == 23
    assert "differs in: tiles.trim" in told[-1]["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [(("none.tif",), 2, "there is no file"), (("line.tif", "--memory", "much"), 2, "--memory"),
     (("line.tif", "--memory", "1MiB"), 21, "needs about")],
)  # fmt: skip
def test_an_error_before_the_start_is_a_line_too(predict, tmp_path, arguments, code, words):
    assert predict(*arguments, "--log-json", "log") == code
    [event] = lines(tmp_path / "log")
    assert (event["event"], event["exit_code"]) == ("error", code)
    assert words in event["message"]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(KeyboardInterrupt(), 130, "interrupted; run the same command again to resume"),
     (Terminated(), 143, "interrupted; run the same command again to resume"),
     (KeyError("x\ny"), 70, "KeyError: 'x\\ny'")],
)  # fmt: skip
def test_what_ends_the_run_is_the_last_line_and_is_raised(tmp_path, error, code, message):
    with pytest.raises(type(error)), event_log(tmp_path / "log"):
        raise error
    [event] = lines(tmp_path / "log")
    assert (event["exit_code"], event["message"]) == (code, message)


def test_a_log_that_cannot_be_written_is_told_and_hides_no_other_error(tmp_path, monkeypatch):
    with pytest.raises(StorageError, match="cannot write the log"), event_log(tmp_path):
        pass

    def full(handle, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_events.os, "write", full)
    with pytest.raises(ValueError, match="the first"), event_log(tmp_path / "log"):
        raise ValueError("the first")

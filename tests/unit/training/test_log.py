"""The log says each epoch once, whatever was interrupted."""

from __future__ import annotations

import json

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hsimap.training._log import RunLog


def write(folder, epochs, *, done=0):
    with RunLog(folder, epochs=9, done=done, bar=False) as log:
        for epoch in epochs:
            log.write(epoch, {"loss": {"cover": 1 / epoch, "depth": float("nan")}, "rate": 0.1})
            log.show(epoch, "going")


def read(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_lines_and_scalars(tmp_path):
    write(tmp_path, [1, 2])
    assert read(tmp_path)[1] == {"epoch": 2, "loss": {"cover": 0.5, "depth": None}, "rate": 0.1}
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["loss/cover", "rate"]
    assert [event.value for event in events.Scalars("loss/cover")] == [1.0, 0.5]


def test_a_resumed_run_drops_what_it_repeats(tmp_path):
    write(tmp_path, [1, 2, 3])
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"epoch": 4, "lo')
    write(tmp_path, [3, 4], done=2)
    assert [line["epoch"] for line in read(tmp_path)] == [1, 2, 3, 4]


def test_a_fresh_run_starts_a_fresh_log(tmp_path):
    write(tmp_path, [1, 2, 3])
    write(tmp_path, [1])
    assert [line["epoch"] for line in read(tmp_path)] == [1]

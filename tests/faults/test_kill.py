"""A run that is killed at any step resumes to the same bytes and has shown nothing unfinished."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import call, contents, events, journalled

from hsimap import crashpoints
from hsimap.crashpoints import CRASH_POINTS
from hsimap.products import MANIFEST, RUN_FOLDER

STRIPS = 9
JOURNAL = ["strip-written:1", "strip-durable:2", "strip-journalled:4", "strip-written:6",
           "strip-durable:8", "strip-journalled:9"]  # fmt: skip
NAMES = list(CRASH_POINTS)
FINALISE = [name for name in NAMES if not name.startswith("strip-")] + ["file-renamed:4"]
VISIBLE = NAMES[NAMES.index("sidecars-removed") :]
DONE = NAMES[NAMES.index("manifest-written") :]


@pytest.mark.parametrize("point", JOURNAL)
def test_a_kill_among_the_strips_loses_one_strip_at_most(line, whole, killer, tmp_path, point):
    folder = line.folder(tmp_path / "maps")
    assert killer.reaches(point, line.command(tmp_path / "maps"))
    assert contents(folder) == {}
    name, number = point.split(":")
    kept = journalled(folder)
    assert kept == list(range(int(number) - (name != "strip-journalled")))
    assert call("verify", folder)[0] == 30
    resumed_gives(line, whole, tmp_path / "maps", kept=len(kept))


@pytest.mark.parametrize("point", FINALISE)
def test_a_kill_at_a_step_of_the_end_loses_no_strip(line, whole, killer, tmp_path, point):
    folder = line.folder(tmp_path / "maps")
    assert killer.reaches(point, line.command(tmp_path / "maps"))
    name = point.partition(":")[0]
    shown = contents(folder)
    assert shown.items() <= whole.items(), "a file is visible that is not complete"
    assert not shown or name in VISIBLE
    assert (folder / MANIFEST).exists() == (name in DONE)
    assert call("verify", folder)[0] == (0 if name in DONE else 30)
    if name in DONE:
        assert shown == whole
        assert line.finished(tmp_path / "maps")[1][-1]["already_complete"]
        assert not (folder / RUN_FOLDER).exists()
    else:
        kept = 0 if name == "run-opened" else STRIPS
        resumed_gives(line, whole, tmp_path / "maps", kept=kept)


def resumed_gives(line, whole, out, *, kept):
    """Resume; the strips that were kept are not computed again, and the bytes are the same."""
    code, told = line.finished(out)
    assert code == 0
    strips = [event["strip"] for event in told if event["event"] == "strip"]
    assert strips == list(range(kept, STRIPS))
    assert told[-1]["strips_resumed"] == kept
    for event in told:
        if event["event"] == "resume":
            assert (event["strips_done"], event["strips"]) == (kept, STRIPS)
            assert event["tile_rows"] == (STRIPS - kept + 1 if kept < STRIPS else 0)
    assert contents(line.folder(out)) == whole
    assert not [path for path in line.folder(out).iterdir() if path.name.startswith(".")]
    assert call("verify", line.folder(out))[0] == 0


def test_every_step_of_the_list_is_in_the_code_once_and_in_the_pages():
    root = Path(crashpoints.__file__).parent
    code = "".join(path.read_text() for path in root.rglob("*.py"))
    page = (root.parent / "docs" / "crash_points.md").read_text()
    assert {name: code.count(f'crash_point("{name}")') for name in NAMES} == dict.fromkeys(NAMES, 1)
    assert [row.split("`")[1] for row in page.splitlines() if row.startswith("| `")] == NAMES


@pytest.mark.parametrize(
    ("value", "words"),
    [("nowhere", "'nowhere'; the steps are run-opened,"), ("strip-written:0", "a pass, 1 or more"),
     ("strip-written:x", "a pass, 1 or more")],
)  # fmt: skip
def test_an_unknown_step_is_wrong_usage(line, tmp_path, monkeypatch, value, words):
    monkeypatch.setenv("HSIMAP_CRASH_AT", value)
    code, said = call(*line.arguments, "--out", tmp_path / "maps")
    assert code == 2
    assert words in said
    assert not (tmp_path / "maps").exists()


def killed(killer, line, out, point):
    assert killer.reaches(point, line.command(out))
    return line.folder(out) / RUN_FOLDER


@pytest.mark.parametrize("cut", [1, 20])
def test_a_torn_tail_of_the_journal_costs_its_strip(line, whole, killer, tmp_path, cut):
    out = tmp_path / "maps"
    journal = killed(killer, line, out, "strip-journalled:5") / "journal.jsonl"
    os.truncate(journal, journal.stat().st_size - cut)
    resumed_gives(line, whole, out, kept=4)


def test_a_garbled_tail_of_the_journal_is_cut_off(line, whole, killer, tmp_path):
    out = tmp_path / "maps"
    journal = killed(killer, line, out, "strip-journalled:5") / "journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"strip": 5, "crc": {"cov\0\0\0\0\0\0\0\0\0')
    resumed_gives(line, whole, out, kept=5)


def test_a_truncated_strip_file_costs_the_strips_it_lost(line, whole, killer, tmp_path):
    out = tmp_path / "maps"
    strips = killed(killer, line, out, "strip-journalled:6") / "height.squares"
    os.truncate(strips, 60 * 4 * 40)
    resumed_gives(line, whole, out, kept=2)


def test_a_strip_that_rotted_is_computed_again_and_no_other(line, whole, killer, tmp_path):
    out = tmp_path / "maps"
    strips = killed(killer, line, out, "strips-complete") / "cover.squares"
    data = bytearray(strips.read_bytes())
    data[60 * 16 * 3 + 7] ^= 1
    strips.write_bytes(data)
    code, told = line.finished(out)
    assert code == 0
    assert [event["strip"] for event in told if event["event"] == "strip"] == [3]
    assert [event["tile_rows"] for event in told if event["event"] == "resume"] == [2]
    assert contents(line.folder(out)) == whole


@pytest.mark.parametrize("point", ["map-verified", "manifest-withdrawn", "file-renamed:3"])
def test_replacing_another_run_is_as_safe(line, whole, killer, tmp_path, point):
    out = tmp_path / "maps"
    folder = line.folder(out)
    assert line.finished(out)[0] == 0
    (folder / "height.tif.aux.xml").write_bytes(b"<PAMDataset></PAMDataset>")
    other = ("--probabilities", "none", "--overwrite")
    assert killer.reaches(point, line.command(out, *other))
    assert call("verify", folder)[0] == 30
    assert line.finished(out)[0] == 23
    code, told = line.finished(out, *other)
    assert code == 0
    assert told[-1]["strips_resumed"] == STRIPS
    gone = {"cover_probability.tif", "cover_probability.qml", "preview.png", "maps.qgs"}
    for name, data in whole.items():
        assert name in gone or contents(folder)[name] == data
    assert {path.name for path in folder.iterdir()} == (set(whole) - gone) | {
        "maps.qgs",
        "preview.png", MANIFEST,
    }  # fmt: skip


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_stop_while_the_maps_are_written_is_clean(line, tmp_path, write_scene, name, code):
    write_scene(tmp_path / "line.tif", height=700, width=700)
    command = [*line.arguments[:1], str(tmp_path / "line.tif"), *line.arguments[2:]]
    command[command.index("--tile") + 1] = "64"
    log = tmp_path / "events"
    child = subprocess.Popen(
        [sys.executable, "-m", "hsimap", *command, "--out", str(tmp_path / "maps"),
         "--log-json", str(log)], stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    staged = tmp_path / "maps" / "line" / RUN_FOLDER / "products"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not staged.exists():
        time.sleep(0.002)
    child.send_signal(getattr(signal, name))
    _, said = child.communicate(timeout=60)
    assert child.returncode == code, said
    assert "run the same command again to resume" in said
    assert (events(log)[-1]["event"], events(log)[-1]["exit_code"]) == ("error", code)
    assert {path.name for path in staged.parents[1].iterdir()} == {RUN_FOLDER}
    finished, _ = call(*command, "--out", tmp_path / "maps")
    assert finished == 0
    assert call("verify", tmp_path / "maps" / "line")[0] == 0

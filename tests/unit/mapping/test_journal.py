import fcntl
import json
import subprocess
import sys

import pytest

from hsimap.errors import LockedError, OutputExistsError
from hsimap.mapping.journal import RunFolder, differing_fields, locked


def test_the_journal_survives_a_torn_last_line(tmp_path):
    run = RunFolder(tmp_path, {"a": 1}, overwrite=False)
    run.record({0: {"lai": 7}})
    run.record({1: {"lai": 8}})
    run.close()
    journal = run.path / "journal.jsonl"
    with journal.open("a") as file:
        file.write('{"strip": 2, "crc": {"la')
    again = RunFolder(tmp_path, {"a": 1}, overwrite=False)
    assert again.done == {0: {"lai": 7}, 1: {"lai": 8}}
    again.record({2: {"lai": 9}})
    again.close()
    assert [json.loads(x)["strip"] for x in journal.read_text().splitlines()] == [0, 1, 2]


def test_an_unfinished_run_of_another_identity_is_refused_and_the_field_named(tmp_path):
    RunFolder(tmp_path, {"a": 1, "tile": 8}, overwrite=False).close()
    with pytest.raises(OutputExistsError, match="unfinished run that differs in tile;"):
        RunFolder(tmp_path, {"a": 1, "tile": 16}, overwrite=False)
    fresh = RunFolder(tmp_path, {"a": 1, "tile": 16}, overwrite=True)
    assert fresh.done == {}
    fresh.close()


def test_differing_fields_names_those_that_only_one_side_has():
    assert differing_fields({"a": 1, "b": 2}, {"b": 3, "c": 4}) == ["a", "b", "c"]


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path):
    code = (
        "import sys, pathlib, time\n"
        "from hsimap.mapping.journal import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match="another run is writing to"), locked(tmp_path):
        pass
    child.kill()
    child.wait()
    child.stdout.close()
    with locked(tmp_path):
        pass


def test_the_lock_is_gone_after_an_error_and_a_removed_one_holds_nobody(tmp_path, monkeypatch):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    flock = fcntl.flock

    def after_the_holder_has_left(handle, how):
        (tmp_path / ".hsimap-lock").unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", after_the_holder_has_left)
    with pytest.raises(LockedError), locked(tmp_path):
        pass

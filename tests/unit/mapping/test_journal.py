import fcntl
import json
import os
import subprocess
import sys
from zlib import crc32

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import LockedError, OutputExistsError, StorageError
from hsimap.geometry import Grid, Window
from hsimap.mapping.journal import LayerStore, RunFolder, differing_fields, locked
from hsimap.products import Layer
from hsimap.tasks import Kind, Task


def layer(height=20, width=7, bands=2):
    grid = Grid(height=height, width=width, transform=Affine.identity(), crs=None)
    task = Task(name="lai", kind=Kind.CONTINUOUS, unit="1")
    names = tuple(f"b{i}" for i in range(bands))
    return Layer(
        name="lai", kind="values", grid=grid, task=task, bands=names, dtype="float32",
        nodata=float("nan"), tags={},
    )  # fmt: skip


@given(cut=st.integers(1, 19), order=st.booleans(), seed=st.integers(0, 9))
def test_strips_written_in_any_order_read_back_as_the_whole(tmp_path_factory, cut, order, seed):
    path = tmp_path_factory.mktemp("store") / "lai.strips"
    whole = np.random.default_rng(seed).normal(size=(2, 20, 7)).astype(np.float32)
    store = LayerStore(path, layer())
    pieces = [(0, whole[:, :cut]), (cut, whole[:, cut:])]
    for row, piece in pieces[:: -1 if order else 1]:
        for columns in (slice(0, 3), slice(3, 7)):
            store.write(row, columns.start, piece[:, :, columns])
        assert store.checksum(row, piece.shape[1]) == crc32(piece.tobytes())
    window = Window(row=3, col=2, height=11, width=4)
    np.testing.assert_array_equal(store.read(window), whole[(..., *window.slices)])
    store.close()


def test_a_store_that_cannot_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    def full(handle, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"no room for the 0\.0 MiB of lai"):
        LayerStore(tmp_path / "lai.strips", layer())


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

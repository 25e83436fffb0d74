"""A checkpoint is whole or it is not used; the two newest are kept."""

from __future__ import annotations

import pytest
import torch

from hsimap.errors import StorageError
from hsimap.training._checkpoints import (
    has_checkpoint,
    load_checkpoint,
    remove_checkpoints,
    save_checkpoint,
)


def state(step):
    return {"step": step, "weights": torch.full((3,), float(step)), "rates": [0.1, 0.2]}


def test_the_newest_is_loaded_and_two_are_kept(tmp_path):
    for step in (5, 12, 7):
        save_checkpoint(tmp_path, step, state(step))
    loaded, notes = load_checkpoint(tmp_path)
    assert loaded["step"] == 12
    assert notes == ()
    assert sorted(path.name[:14] for path in tmp_path.iterdir()) == [
        "step-000000007",
        "step-000000012",
    ]


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-7], lambda d: d[:50] + b"?" + d[51:]], ids=["cut", "flipped"]
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, damage):
    save_checkpoint(tmp_path, 1, state(1))
    newest = save_checkpoint(tmp_path, 2, state(2))
    newest.write_bytes(damage(newest.read_bytes()))
    loaded, notes = load_checkpoint(tmp_path)
    assert loaded["step"] == 1
    assert "step-000000002 is damaged" in notes[0]


def test_a_run_whose_checkpoints_are_all_damaged_does_not_start_over(tmp_path):
    save_checkpoint(tmp_path, 1, state(1)).write_bytes(b"")
    with pytest.raises(StorageError, match="every checkpoint"):
        load_checkpoint(tmp_path)


def test_nothing_to_load_is_no_error(tmp_path):
    assert load_checkpoint(tmp_path / "absent") == (None, ())
    assert not has_checkpoint(tmp_path)


def test_a_half_written_file_is_no_checkpoint(tmp_path):
    (tmp_path / ".checkpoint.part").write_bytes(b"half")
    assert not has_checkpoint(tmp_path)
    save_checkpoint(tmp_path, 1, state(1))
    assert has_checkpoint(tmp_path)
    remove_checkpoints(tmp_path)
    assert not has_checkpoint(tmp_path)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (print, ("boom",))

    save_checkpoint(tmp_path, 1, {"bomb": Bomb()})
    with pytest.raises(Exception, match="eights"):
        load_checkpoint(tmp_path)


def test_a_full_disk_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path / "file" / "run", 1, state(1))

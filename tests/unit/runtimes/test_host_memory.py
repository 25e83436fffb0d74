"""What one thread frees is there for others once it is given back."""

import platform
from pathlib import Path

import numpy as np
import pytest

from hsimap.runtimes import give_back_memory, keep_freed_memory

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory"
)
MIB = 1 << 20


def resident():
    """Return the memory of this process without pages that are backed by files, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def test_kept_memory_is_given_back_when_it_is_asked_for():
    assert keep_freed_memory()
    before = resident()
    blocks = [np.ones(4 * MIB, np.uint8) for _ in range(64)]
    wall = np.ones(
        MIB, np.uint8
    )  # what lies above freed blocks keeps them from going by themselves
    assert resident() - before > 200 * MIB
    del blocks
    assert resident() - before > 200 * MIB
    assert give_back_memory()
    assert resident() - before < 64 * MIB
    assert wall.all()

"""What one thread frees is there for others once it is given back."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
from pathlib import Path
import numpy as np
from hsimap.runtimes import give_back_memory, keep_freed_memory

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) // 1024

assert keep_freed_memory()
before = resident()
blocks = [np.ones(4 << 20, np.uint8) for _ in range(64)]
full = resident()
del blocks
kept = resident()
print(full - before, kept - before, give_back_memory(), resident() - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory"
)
def test_kept_memory_is_given_back_when_it_is_asked_for():
    command = [sys.executable, "-c", PROGRAM]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    full, kept, any_given, left = int(told[0]), int(told[1]), told[2], int(told[3])
    assert full >= kept > 200  # MiB, of 256
    assert any_given == "True"
    assert left < 64

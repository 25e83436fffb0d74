"""Settings of every test: derandomised properties, and where the real data are."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("ci")
# A shell has what it runs in the background ignore some signals, and so would the programs that
# tests start: what is ignored is inherited.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        _interrupts = _number == signal.SIGINT
        signal.signal(_number, signal.default_int_handler if _interrupts else signal.SIG_DFL)
sys.path.insert(0, str(Path(__file__).parent))  # for --import-mode=importlib


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real scenes, ``$HSIMAP_DATA``; the test is skipped where it is not set."""
    folder = os.environ.get("HSIMAP_DATA")
    if not folder:
        pytest.skip("HSIMAP_DATA does not name the folder of real scenes")
    return Path(folder)

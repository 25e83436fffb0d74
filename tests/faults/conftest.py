"""The toy network and scene of the integration tests, and a finished run of them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
spec = importlib.util.spec_from_file_location("toys", HERE.parent / "integration" / "conftest.py")
toys = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toys)
write_scene, toy_bundle, make_bundle = toys.write_scene, toys.toy_bundle, toys.make_bundle


@pytest.fixture(scope="session")
def line(tmp_path_factory, write_scene, toy_bundle):
    """A run over a scene of nine strips."""
    from harness import Run

    path = tmp_path_factory.mktemp("scene") / "line.tif"
    write_scene(path, height=140, width=60)
    options = ("--tile", "16", "--trim", "2", "--ramp", "4", "--threads", "1", "--runtime", "onnx")
    return Run(
        arguments=("predict", str(path), "--model", str(toy_bundle.path), *options), stem="line"
    )


@pytest.fixture(scope="session")
def killer():
    """Runs a command line until it kills itself at a crash point."""
    from harness import Killer

    with Killer() as killer:
        yield killer


@pytest.fixture(scope="session")
def whole(tmp_path_factory, line):
    """The bytes of an uninterrupted run."""
    from harness import contents

    out = tmp_path_factory.mktemp("whole") / "maps"
    code, _ = line.finished(out)
    assert code == 0
    return contents(line.folder(out))

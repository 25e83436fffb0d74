"""A compiled run is another run than an eager one; the compiler itself is played by the network."""

from pathlib import Path

import pytest
import torch

from hsimap.bundle import Bundle
from hsimap.errors import OutputExistsError
from hsimap.mapping import MapSettings, map_scene
from hsimap.runtimes import _torch
from hsimap.scenes import open_scene

ROOT = Path(__file__).parents[2]


def test_an_eager_run_does_not_go_on_with_a_compiled_one(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    monkeypatch.setattr(_torch, "compiler_for", lambda device: f"a compiler for {device}")
    bundle = Bundle.load(ROOT / "models" / "boreal-demo")

    def go(**changes):
        settings = MapSettings(
            **{"device": "cpu", "threads": 1, "tile": 96, "probabilities": "none"} | changes
        )
        with open_scene(ROOT / "sample_data" / "scene.tif") as scene:
            return map_scene(scene, bundle, settings=settings, out=tmp_path / "maps")

    go(compiled=True)  # which is torch's, though auto would be ONNX Runtime's
    assert go(compiled=True).already_complete
    with pytest.raises(OutputExistsError, match=r"differs in: runtime\.compiled\)"):
        go(runtime="torch")
    assert not go(runtime="torch", overwrite=True).already_complete
    with pytest.raises(OutputExistsError, match=r"differs in: runtime\.compiled\)"):
        go(compiled=True)

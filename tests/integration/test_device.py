"""A run whose results stay on the device until they are finished, played through on the CPU."""

from pathlib import Path

import pytest
import torch

from hsimap.bundle import Bundle
from hsimap.mapping import MapSettings, arrays, map_scene
from hsimap.runtimes import _torch
from hsimap.scenes import open_scene

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run():
    """Map the sample with the demo's model in torch."""

    def go(out):
        settings = MapSettings(
            runtime="torch", device="cpu", threads=1, tile=96, intervals=90, probabilities="all"
        )
        bundle = Bundle.load(ROOT / "models" / "boreal-demo")
        with open_scene(ROOT / "sample_data" / "scene.tif") as scene:
            map_scene(scene, bundle, settings=settings, out=out)
        return {path.name: path.read_bytes() for path in out.glob("*.tif")}

    return go


def test_maps_made_on_the_device_have_the_bytes_of_those_made_on_the_host(
    run, tmp_path, monkeypatch
):
    host = run(tmp_path / "host")
    moved = []

    def to_device(tensor, device):
        moved.append(type(tensor))
        return tensor.to(device)

    monkeypatch.setattr(_torch, "_APART", ("cpu",))
    monkeypatch.setattr(arrays, "to_device", to_device)
    assert run(tmp_path / "device") == host
    assert set(moved) == {torch.Tensor}
    assert len(host) > 13

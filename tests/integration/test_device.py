"""A run whose results stay on the device until they are finished, played through on the CPU."""

from pathlib import Path

import pytest
import torch

from hsimap import arrays
from hsimap.bundle import Bundle
from hsimap.errors import OutputExistsError, ResourceError
from hsimap.mapping import MapSettings, map_scene
from hsimap.mapping import run as run_module
from hsimap.mapping.prepare import open_route
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


class Small:
    """A device that takes batches up to the pixels of such a square, round a runtime on the CPU."""

    def __init__(self, runtime, side):
        self._runtime, self._side, self.sides, self.batches = runtime, side, [], []
        self.close = runtime.close

    def describe(self):
        return self._runtime.describe() | {"device": "cuda (small)"}

    def forward(self, image, valid):
        self.sides.append(image.shape[-1])
        self.batches.append(len(image))
        if len(image) * self.sides[-1] ** 2 > self._side**2:
            raise ResourceError(f"the network runs out of memory on {image.shape}; lower --tile")
        return self._runtime.forward(image, valid)


@pytest.fixture
def small_device(monkeypatch):
    """Have every network opened on a device of so much memory; give what was opened."""
    opened = []

    def of(side):
        def on_small(*args, stay, streams):
            opened.append(Small(open_route(*args, streams=streams), side))
            return opened[-1]

        monkeypatch.setattr(run_module, "open_route", on_small)
        return opened

    return of


def test_the_tile_is_halved_until_the_device_takes_it_and_then_kept(
    tmp_path, write_scene, toy_bundle, small_device
):
    write_scene(tmp_path / "line.tif", height=150, width=170)
    with open_scene(tmp_path / "line.tif") as scene:

        def go(**changes):
            settings = MapSettings(runtime="onnx", threads=1, trim=2, ramp=4, **changes)
            return map_scene(scene, toy_bundle, settings=settings, out=tmp_path / "maps")

        opened = small_device(40)
        report = go()
        assert 16 <= report.plan.tiles.side <= 40
        assert max(opened[-1].sides) > 40
        kept = report.plan.tiles.kept
        opened = small_device(10_000)
        again = go()
        assert (again.already_complete, again.plan.tiles.kept) == (True, kept)
        assert opened[-1].sides == []
        small_device(40)
        with pytest.raises(ResourceError, match="lower --tile"):
            go(tile=60, overwrite=True)
        small_device(4)
        with pytest.raises(ResourceError, match="lower --tile"):
            go(memory=900 << 20, overwrite=True, force=True, probabilities="none")


def test_the_batch_is_halved_before_the_tile_and_then_kept(
    tmp_path, write_scene, toy_bundle, small_device
):
    write_scene(tmp_path / "line.tif", height=40, width=170)
    with open_scene(tmp_path / "line.tif") as scene:

        def go(out="maps", **changes):
            settings = MapSettings(runtime="onnx", threads=1, trim=2, ramp=4, tile=16, **changes)
            return map_scene(scene, toy_bundle, settings=settings, out=tmp_path / out)

        opened = small_device(60)
        report = go()
        tiles = report.plan.tiles
        assert (tiles.n_cols, tiles.side) == (11, 24)
        assert opened[-1].batches[0] == 11
        assert tiles.batch == opened[-1].batches[-1] == 4  # 11, 5: in three even pieces
        assert set(opened[-1].batches[1:]) == {4}
        assert tiles.ratio == pytest.approx(3 * 12 * 24**2 / (40 * 170))
        small_device(10_000)
        assert go().already_complete
        with pytest.raises(OutputExistsError, match=r"tiles\.batch"):
            go(batch=2)
        asked = small_device(60)
        assert go("others", batch=2).plan.tiles.batch == 2
        assert set(asked[-1].batches) == {2}
        small_device(30)
        with pytest.raises(ResourceError):
            go("too_much", batch=2)
    for path in (tmp_path / "maps").glob("*.tif"):
        assert path.read_bytes() == (tmp_path / "others" / path.name).read_bytes()

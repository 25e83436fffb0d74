"""The compiled torch runtime against the eager one, and what is said where nothing compiles."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hsimap.errors import ResourceError, UsageError
from hsimap.runtimes import Contract, _compile, open_runtime
from hsimap.runtimes._torch import TorchRuntime
from hsimap.tasks import Kind, Task, main_output, task_from_mapping

BANDS = 3
COVER = task_from_mapping("cover", {"kind": "categorical", "classes": {2: "a", 3: "b"}})
HEIGHT = Task(name="height", kind=Kind.CONTINUOUS, unit="m")
OUTPUTS = (main_output(COVER), main_output(HEIGHT))
CONTRACT = Contract(n_bands=BANDS, outputs=OUTPUTS, alignment=4, patch=8)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(BANDS, 4, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, image, valid):
        shown = torch.where(valid > 0, image - 0.5, 0.0)
        found = self.head(torch.relu(self.stem(shown)))
        return found[:, :2].softmax(dim=1), 20 + 4 * found[:, 2:]


class Branching(Small):
    """Asks on the way what a number is, which no compiled function can."""

    def forward(self, image, valid):
        return super().forward(image * 2 if image.mean() > 0.7 else image, valid)


def small(kind=Small):
    torch.manual_seed(0)
    return kind()


def batch(n, side, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.random((n, BANDS, side, side), dtype=np.float32)
    return image, (rng.random((n, 1, side, side)) < 0.9).astype(np.float32)


def runtime(*, compiled, kind=Small):
    return TorchRuntime(small(kind), CONTRACT, device="cpu", threads=1, compiled=compiled)


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache, and a working folder that nothing may be left in."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "work"
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here, which torch compiles with")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_gives_the_results_of_the_eager_one_on_every_shape(fresh):
    eager, fast = runtime(compiled=False), runtime(compiled=True)
    for n, side in ((1, 16), (2, 12)):
        image, valid = batch(n, side)
        expected, found = eager.forward(image, valid), fast.forward(image, valid)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)
        again = fast.forward(image, valid)
        assert {k: v.tobytes() for k, v in again.items()} == {
            k: v.tobytes() for k, v in found.items()
        }
    assert list(fresh.iterdir()) == []
    told, plain = fast.describe(), eager.describe()
    assert told.pop("compiled").startswith("g++")
    assert told == plain
    for one in (eager, fast):
        one.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here, which torch compiles with")
def test_what_cannot_be_compiled_as_a_whole_is_refused_in_a_line(fresh):
    with pytest.raises(ResourceError, match=r"not be compiled.*leave --compile") as caught:
        runtime(compiled=True, kind=Branching).forward(*batch(1, 16))
    assert "\n" not in str(caught.value)


def test_a_shape_is_compiled_once(monkeypatch):
    calls, resets = [], []

    def compiles(network, *, dynamic, fullgraph, options):
        assert (dynamic, fullgraph, options) == (False, True, {"deterministic": True})
        calls.append(network)
        return network

    monkeypatch.setattr(torch, "compile", compiles)
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    fast = runtime(compiled=True)
    for side in (16, 16, 16, 12, 16):
        fast.forward(*batch(1, side))
    assert (len(calls), len(resets)) == (1, 3)


def test_without_a_compiler_it_is_refused_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(tmp_path / "c++"))
    with pytest.raises(ResourceError, match=r"no '.*c\+\+' here; install one.*CXX.*leave"):
        runtime(compiled=True)
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(ResourceError, match="does not run"):
        runtime(compiled=True)


def test_a_gpu_needs_triton(monkeypatch):
    monkeypatch.setattr(_compile, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"needs the package triton.*pip install triton"):
        _compile.compiler_for("cuda")


def test_only_torch_compiles(make_bundle, one_task_graph):
    bundle = make_bundle(one_task_graph().SerializeToString())
    with pytest.raises(UsageError, match="use --runtime torch"):
        open_runtime(bundle, runtime="onnx", compiled=True)
    assert SimpleNamespace(**open_runtime(bundle, device="cpu").describe()).runtime == "onnx"

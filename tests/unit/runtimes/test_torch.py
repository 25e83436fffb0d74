"""The torch runtime and the export: a dummy of every kind and stride, then the real networks."""

import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save
from torch import nn

from hsimap.bundle import ONNX, WEIGHTS, Bundle
from hsimap.errors import BundleError, ResourceError, UsageError, VerificationError
from hsimap.networks import NetworkSettings, NetworkSpec, NormalisationSpec, build_network
from hsimap.runtimes import Contract, _torch, export_onnx, open_runtime
from hsimap.runtimes._parity import export_shape, parity_shapes, random_input
from hsimap.runtimes._torch import TorchRuntime
from hsimap.tasks import Kind, Task, main_output, task_from_mapping

BANDS, PATCH = 5, 8
COVER = task_from_mapping("cover", {"kind": "categorical", "classes": {2: "a", 3: "b", 9: "c"}})
EDGE = Task(name="edge", kind=Kind.SALIENCY)
HEIGHT = Task(name="height", kind=Kind.CONTINUOUS, unit="m")


class Dummy(nn.Module):
    """Classes and saliency at full resolution, a value at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = SimpleNamespace(n_bands=BANDS, patch=PATCH)
        self.outputs = (main_output(COVER), main_output(EDGE), main_output(HEIGHT, stride=2))
        self.alignment = 4
        self.stem = nn.Conv2d(BANDS, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.heads = nn.ModuleList([nn.Conv2d(8, n, 1) for n in (3, 1, 1)])

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        shown = valid > 0
        x = torch.where(shown, image - 0.5, torch.zeros_like(image))
        x = torch.relu(self.norm(self.stem(x)))
        low = torch.relu(self.down(x))
        x = x + nn.functional.interpolate(low, size=x.shape[2:], mode="bilinear")
        return (
            self.heads[0](x).softmax(dim=1),
            self.heads[1](x).sigmoid(),
            20 + 4 * self.heads[2](low),
        )


class Pyramid(Dummy):
    """Pools to 2 x 2, which the exporter freezes to the size it was traced on."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pooled = nn.functional.adaptive_avg_pool2d(image * valid, 2)
        wide = nn.functional.interpolate(pooled, size=image.shape[2:], mode="bilinear")
        return super().forward(image + wide, valid)


class Frozen(Dummy):
    """Uses a size as a number of Python's."""

    def forward(self, image: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ramp = torch.linspace(0, 1, int(image.shape[3]))
        return super().forward(image + ramp.view(1, 1, 1, -1), valid)


def seeded(kind: type[Dummy] = Dummy) -> Dummy:
    torch.manual_seed(0)
    network = kind()
    nn.init.uniform_(network.norm.running_mean, -0.2, 0.2)
    nn.init.uniform_(network.norm.running_var, 0.5, 1.5)
    return network.train()


def fields(outputs: Any, **changes: Any) -> dict[str, Any]:
    plain = {
        "name": "dummy",
        "input": {"n_bands": BANDS},
        "tasks": (COVER, EDGE, HEIGHT),
        "outputs": outputs,
        "alignment": 4,
        "reach": 4,
        "patch": PATCH,
        "tile": {"trim": 4, "ramp": 4, "max_tile": 64},
    }
    return plain | changes


@pytest.fixture(scope="module")
def exported() -> tuple[Dummy, bytes, Any]:
    network = seeded()
    return network, *export_onnx(network)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the smallest real network, with weights and graph."""
    torch.manual_seed(1)
    tasks = (COVER, EDGE, HEIGHT)
    spec = NetworkSpec(
        settings=NetworkSettings(architecture="spectral_spatial", width=8, dilations=(1,)),
        n_bands=BANDS,
        patch=PATCH,
        tasks=tasks,
        outputs=tuple(main_output(task) for task in tasks),
        normalisation=NormalisationSpec(mean=(1000.0,) * BANDS, std=(300.0,) * BANDS),
        scaling={"height": (12.0, 7.0)},
    )
    network = build_network(spec).eval()
    graph, _ = export_onnx(network)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    content = fields(
        spec.outputs,
        network=spec.model_dump(mode="json"),
        alignment=network.alignment,
        reach=network.reach,
    )
    folder = tmp_path_factory.mktemp("real") / "model"
    return Bundle.save(folder, content, {WEIGHTS: save(weights), ONNX: graph})


def test_the_graph_of_a_dummy_agrees_on_shapes_it_was_not_made_on(
    exported: tuple[Dummy, bytes, Any],
) -> None:
    network, data, report = exported
    contract = Contract(n_bands=BANDS, outputs=network.outputs, alignment=4, patch=PATCH)
    assert len(set(report.shapes)) >= 4
    assert export_shape(contract) not in report.shapes
    assert report.worst < 5e-5  # of heights; seen 1e-6 to 1e-5, as threads share the sums
    assert report.max_error["cover"] < 1e-6
    assert set(report.max_error) == {"cover", "edge", "height"}
    model = onnx.load_model_from_string(data)
    assert [value.name for value in model.graph.input] == ["image", "valid"]
    assert [value.name for value in model.graph.output] == ["cover", "edge", "height"]
    assert network.training  # the caller's network is left as it was


def test_the_graph_holds_no_path_of_this_machine(exported: tuple[Dummy, bytes, Any]) -> None:
    _, data, _ = exported
    for text in (str(Path.cwd()), str(Path(torch.__file__).parent), "Traceback", ".py"):
        assert text.encode() not in data


def test_the_same_weights_give_the_same_graph(exported: tuple[Dummy, bytes, Any]) -> None:
    network, data, _ = exported
    assert export_onnx(copy.deepcopy(network).eval())[0] == data


def test_an_onnx_only_bundle_with_stride_2_and_saliency_runs(
    exported: tuple[Dummy, bytes, Any], tmp_path: Path
) -> None:
    network, data, _ = exported
    saved = Bundle.save(tmp_path / "m", fields(network.outputs), {ONNX: data})
    runtime = open_runtime(Bundle.load(saved.path), device="cpu", threads=1)
    ones = np.ones(BANDS, np.float32)
    image, valid = random_input(np.random.default_rng(3), (2, 12, 32), mean=ones, std=ones)
    got = runtime.forward(image, valid)
    assert {name: array.shape for name, array in got.items()} == {
        "cover": (2, 3, 12, 32),
        "edge": (2, 1, 12, 32),
        "height": (2, 1, 6, 16),
    }
    with torch.inference_mode():
        expected = copy.deepcopy(network).eval()(torch.from_numpy(image), torch.from_numpy(valid))
    for array, tensor in zip(got.values(), expected, strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-4, atol=1e-5)
    assert open_runtime(saved).describe()["runtime"] == "onnx"


@pytest.mark.parametrize("kind", [Pyramid, Frozen])
def test_a_network_that_is_tied_to_its_trial_size_does_not_pass(kind: type[Dummy]) -> None:
    with pytest.raises(VerificationError) as caught:
        export_onnx(seeded(kind))
    assert "\n" not in str(caught.value)


def test_torch_and_onnx_give_the_same_maps(real: Bundle) -> None:
    runtimes = [
        open_runtime(real, runtime=name, device="cpu", threads=1) for name in ("torch", "onnx")
    ]
    assert [runtime.describe()["runtime"] for runtime in runtimes] == ["torch", "onnx"]
    mean, std = np.full(BANDS, 1000, np.float32), np.full(BANDS, 300, np.float32)
    rng = np.random.default_rng(5)
    for shape in parity_shapes(Contract.of(real.manifest)):
        image, valid = random_input(rng, (shape[0], shape[1] + 3, shape[2]), mean=mean, std=std)
        image.flags.writeable = False  # what a reader hands out may be read-only
        a, b = (runtime.forward(image, valid) for runtime in runtimes)
        for name, array in a.items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(array, b[name], rtol=1e-4, atol=1e-5, err_msg=name)
    for runtime in runtimes:
        runtime.close()


def test_an_eager_forward_is_what_the_network_gives(real: Bundle) -> None:
    network = build_network(NetworkSpec.model_validate(real.manifest.network)).eval()
    state = {name: torch.from_numpy(array) for name, array in real.weights().items()}
    network.load_state_dict(state)
    image = np.random.default_rng(0).normal(1000, 300, (1, BANDS, 16, 16)).astype(np.float32)
    valid = np.ones((1, 1, 16, 16), np.float32)
    got = open_runtime(real, runtime="torch", device="cpu", threads=1).forward(image, valid)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image), torch.from_numpy(valid))
    for array, tensor in zip(got.values(), expected, strict=True):
        np.testing.assert_allclose(array, tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_results_that_stay_are_tensors_that_can_be_blended_in_place(
    real: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(0).normal(1000, 300, (1, BANDS, 16, 16)).astype(np.float32)
    valid = np.ones((1, 1, 16, 16), np.float32)
    open_here = partial(open_runtime, real, runtime="torch", device="cpu", threads=1)
    host = open_here(stay=True).forward(image, valid)
    assert {type(array) for array in host.values()} == {np.ndarray}
    monkeypatch.setattr(_torch, "_APART", ("cpu",))
    there = open_here(stay=True).forward(image, valid)
    for name, tensor in there.items():
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_allclose(tensor.numpy(), host[name], rtol=1e-6, atol=1e-6)
        tensor[:, :, :2] = 0
        assert tensor[:, :, :2].abs().sum() == 0


def _rename(weights: dict[str, Any]) -> None:
    weights["stray"] = weights.pop(min(weights))


def _drop(weights: dict[str, Any]) -> None:
    weights.pop(min(weights))


def _reshape(weights: dict[str, Any]) -> None:
    name = next(name for name, array in weights.items() if array.ndim == 4)
    weights[name] = weights[name][:, :-1].copy()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_rename, "the weights (lack|have the unknown)"),
        (_drop, "the weights lack"),
        (_reshape, "the network needs"),
    ],
)
def test_weights_of_another_network_are_refused(
    real: Bundle, tmp_path: Path, damage: Any, words: str
) -> None:
    weights = real.weights()
    damage(weights)
    bundle = Bundle.save(tmp_path / "m", _fields_of(real), {WEIGHTS: save(weights)})
    with pytest.raises(BundleError, match=words):
        open_runtime(bundle, runtime="torch", device="cpu")


def _fields_of(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    left_out = {"files", "digest", "schema_version"}
    return bundle.manifest.model_dump(mode="json", exclude=left_out) | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"settings": {"architecture": "resnet"}}}, "manifest's network is wrong"),
        ({"input": {"n_bands": BANDS + 1}}, "are not its network's"),
        ({"alignment": 4}, "are not its network's"),
    ],
)
def test_a_manifest_that_is_not_its_network_s_is_refused(
    real: Bundle, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    content = _fields_of(real, **changes)
    bundle = Bundle.save(tmp_path / "m", content, {WEIGHTS: save(real.weights())})
    with pytest.raises(BundleError, match=words):
        open_runtime(bundle)


def test_a_bundle_without_a_graph_runs_in_torch(real: Bundle, tmp_path: Path) -> None:
    bundle = Bundle.save(tmp_path / "m", _fields_of(real), {WEIGHTS: save(real.weights())})
    assert open_runtime(bundle, device="cpu").describe()["runtime"] == "torch"
    with pytest.raises(UsageError, match=r"no network\.onnx; use --runtime torch"):
        open_runtime(bundle, runtime="onnx")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_cuda_that_torch_does_not_see_is_an_error(real: Bundle) -> None:
    with pytest.raises(ResourceError, match="sees no CUDA device"):
        open_runtime(real, runtime="torch", device="cuda")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), ResourceError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), ResourceError),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), RuntimeError),
    ],
)
def test_only_a_lack_of_memory_is_called_one(error: Exception, expected: type[Exception]) -> None:
    class Fails(Dummy):
        def forward(self, *_: torch.Tensor) -> tuple[torch.Tensor, ...]:
            raise error

    contract = Contract(n_bands=BANDS, outputs=Dummy().outputs, alignment=4, patch=PATCH)
    runtime = TorchRuntime(Fails(), contract, device="cpu", threads=1)
    shape = (1, BANDS, 8, 8)
    with pytest.raises(expected) as caught:
        runtime.forward(np.zeros(shape, np.float32), np.ones((1, 1, 8, 8), np.float32))
    assert type(caught.value) is expected

"""ONNX Runtime: what is let in, what is refused, and that torch stays out."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hsimap.errors import BundleError, ResourceError, UsageError
from hsimap.runtimes import _sessions, open_runtime
from hsimap.runtimes._graph import load_graph
from hsimap.runtimes._host import cuda_devices
from hsimap.streams import available_cpus

Make = Callable[..., Any]


def pixels(height: int = 8, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 3, height, width)).astype(np.float32)
    return image, np.ones((2, 1, height, width), np.float32)


@pytest.mark.parametrize("masked", [True, False])
def test_a_graph_runs_with_or_without_a_mask_input(
    one_task_graph: Make, make_bundle: Make, weights: np.ndarray, *, masked: bool
) -> None:
    names = {"image": 3, "valid": 1} if masked else {"image": 3}
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", n, "h", "w"])
        for name, n in names.items()
    ]
    model = one_task_graph(inputs=inputs)
    runtime = open_runtime(make_bundle(model.SerializeToString()), device="cpu", threads=1)
    image, valid = pixels()
    expected = np.einsum("kb,nbyx->nkyx", weights[:1, :, 0, 0], image)
    np.testing.assert_allclose(runtime.forward(image, valid)["height"], expected, rtol=1e-5)
    runtime.close()


def test_describe_names_what_may_change_bits(one_task_graph: Make, make_bundle: Make) -> None:
    bundle = make_bundle(one_task_graph().SerializeToString())
    told = open_runtime(bundle, threads=2).describe()
    assert told["threads"] == "2"
    assert told["provider"] in {"CPUExecutionProvider", "CUDAExecutionProvider"}
    assert told.keys() == {
        "runtime", "version", "provider", "device", "precision", "threads", "cpu",
    }  # fmt: skip
    assert open_runtime(bundle).describe()["threads"] == str(available_cpus())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"runtime": "tensorflow"}, "--runtime must be one of auto, torch, onnx"),
        ({"device": "tpu"}, "--device must be one of"),
        ({"threads": 0}, "--threads must be at least 1"),
        ({"runtime": "torch"}, r"no weights\.safetensors; use --runtime onnx"),
    ],
)
def test_bad_options_are_usage_errors(
    one_task_graph: Make, make_bundle: Make, options: dict[str, Any], words: str
) -> None:
    bundle = make_bundle(one_task_graph().SerializeToString())
    with pytest.raises(UsageError, match=words):
        open_runtime(bundle, **options)


@pytest.mark.skipif(bool(cuda_devices()), reason="a CUDA device is there")
def test_cuda_that_is_not_there_is_an_error_and_auto_takes_the_cpu(
    one_task_graph: Make, make_bundle: Make
) -> None:
    bundle = make_bundle(one_task_graph().SerializeToString())
    with pytest.raises(ResourceError, match="no CUDA device is there; use --device cpu"):
        open_runtime(bundle, device="cuda")
    assert open_runtime(bundle, device="auto").describe()["device"] == "cpu"


def test_a_silent_fall_back_to_the_cpu_is_an_error(
    one_task_graph: Make,
    make_bundle: Make,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    if cuda_devices():
        pytest.skip("a CUDA device is there")
    monkeypatch.setattr(_sessions, "cuda_devices", lambda: ("a card without libraries",))
    bundle = make_bundle(one_task_graph().SerializeToString())
    with pytest.raises(ResourceError, match="do not load on a card without libraries"):
        open_runtime(bundle, device="cuda")
    assert open_runtime(bundle, device="auto").describe()["device"] == "cpu"
    assert "running on the CPU" in caplog.text
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        ((2, 4, 8, 8), (2, 1, 8, 8)),
        ((2, 3, 8, 10), (2, 1, 8, 10)),
        ((2, 3, 4, 8), (2, 1, 4, 8)),
        ((2, 3, 8, 8), (1, 1, 8, 8)),
    ],
)
def test_arrays_of_the_wrong_shape_are_a_bug(
    one_task_graph: Make, make_bundle: Make, image: tuple[int, ...], valid: tuple[int, ...]
) -> None:
    runtime = open_runtime(make_bundle(one_task_graph().SerializeToString()))
    with pytest.raises(ValueError, match="wrong"):
        runtime.forward(np.zeros(image, np.float32), np.zeros(valid, np.float32))


def _input(shape: list[Any], kind: int = TensorProto.FLOAT) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info("image", kind, shape)]


def _output(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


FREE = ["n", 3, "h", "w"]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "fixed sides": ({"inputs": _input(["n", 3, 64, 64])}, "dynamic batch, height and width"),
    "fixed batch": ({"inputs": _input([1, 3, "h", "w"])}, "dynamic batch, height and width"),
    "float64": (
        {
            "inputs": _input(FREE, TensorProto.DOUBLE),
            "outputs": [_output("height", ["n", 1, "h", "w"], TensorProto.DOUBLE)],
            "constants": {"w": np.ones((1, 3, 1, 1))},
        },
        "export the network with float32",
    ),
    "bands": ({"constants": {"w": np.ones((1, 5, 1, 1), np.float32)},
               "inputs": _input(["n", 5, "h", "w"])}, "has 5 channels, the manifest says 3"),
    "class count": (
        {
            "constants": {"w": np.ones((2, 3, 1, 1), np.float32)},
            "outputs": [_output("height", ["n", 2, "h", "w"])],
        },
        "has 2 channels, the manifest says 1",
    ),
    "name": (
        {
            "nodes": [helper.make_node("Conv", ["image", "w"], ["depth"])],
            "outputs": [_output("depth", ["n", 1, "h", "w"])],
        },
        r"outputs \['depth'\], its manifest names \['height'\]",
    ),
    "rank": (
        {
            "nodes": [helper.make_node("ReduceMean", ["image"], ["height"], keepdims=0)],
            "outputs": [_output("height", [])],
            "constants": {},
        },
        r"wanted \(batch, channel, height, width\)",
    ),
    "no image": (
        {
            "inputs": [_output("x", FREE)],
            "nodes": [helper.make_node("Conv", ["x", "w"], ["height"])],
        },
        r"inputs \['x'\].*hsimap import",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_graph_that_is_not_what_its_manifest_says_is_refused(
    one_task_graph: Make, make_bundle: Make, case: str
) -> None:
    changes, words = WRONG[case]
    bundle = make_bundle(one_task_graph(**changes).SerializeToString())
    with pytest.raises(BundleError, match=words):
        open_runtime(bundle)


def test_a_stride_that_is_not_true_is_refused_at_the_first_forward(
    one_task_graph: Make, make_bundle: Make
) -> None:
    outputs = [{"task": "height", "kind": "continuous", "channels": 1, "stride": 2}]
    bundle = make_bundle(one_task_graph().SerializeToString(), outputs=outputs)
    with pytest.raises(BundleError, match=r"'height' has shape \(2, 1, 8, 12\).*stride 2"):
        open_runtime(bundle).forward(*pixels())


def test_a_graph_that_asks_for_terabytes_fails_cleanly(
    one_task_graph: Make, make_bundle: Make
) -> None:
    nodes = [
        helper.make_node("ConstantOfShape", ["huge"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Conv", ["image", "w"], ["raw"]),
        helper.make_node("Add", ["raw", "sum"], ["height"]),
    ]
    constants = {"huge": np.array([1 << 44]), "w": np.ones((1, 3, 1, 1), np.float32)}
    bundle = make_bundle(one_task_graph(nodes=nodes, constants=constants).SerializeToString())
    with pytest.raises((BundleError, ResourceError)) as caught:
        open_runtime(bundle).forward(*pixels())
    assert "\n" not in str(caught.value)


def _loop() -> onnx.NodeProto:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"])],
        "body",
        [_output("i", [], TensorProto.INT64), _output("go", [], TensorProto.BOOL)],
        [_output("still", [], TensorProto.BOOL)],
    )
    return helper.make_node("Loop", ["count", ""], [], body=body)


def _branch() -> onnx.NodeProto:
    inner = helper.make_graph(
        [helper.make_node("Evil", ["image"], ["out"], domain="acme")], "b", [], [_output("out", [])]
    )
    return helper.make_node("If", ["yes"], ["height"], then_branch=inner, else_branch=inner)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {
                "nodes": [helper.make_node("Evil", ["image"], ["height"], domain="acme")],
                "opsets": (("", 18), ("acme", 1)),
            },
            "operator acme.Evil",
        ),
        ({"nodes": [_branch()], "opsets": (("", 18), ("acme", 1))}, "operator acme.Evil"),
        ({"nodes": [_loop()]}, "Loop, which may run without end"),
        ({"constants": {"w": np.full((1, 3, 1, 1), np.nan, np.float32)}}, "'w' hold NaN"),
    ],
)
def test_strange_graphs_are_refused(
    one_task_graph: Make, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        load_graph(one_task_graph(**changes).SerializeToString(), where="g")


@pytest.mark.parametrize("link", [False, True])
def test_weights_in_another_file_are_refused(
    one_task_graph: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, link: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret"
    secret.write_bytes(np.ones(3, np.float32).tobytes())
    if link:
        os.link(secret, tmp_path / "w.bin")
    model = one_task_graph()
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "w.bin" if link else "../secret")
    tensor.ClearField("raw_data")
    with pytest.raises(BundleError, match="in another file"):
        load_graph(model.SerializeToString(), where="g")


def test_weights_in_another_file_are_found_inside_a_node(one_task_graph: Make) -> None:
    tensor = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    nodes = [
        helper.make_node("Constant", [], ["w"], value=tensor),
        helper.make_node("Conv", ["image", "w"], ["height"]),
    ]
    with pytest.raises(BundleError, match="in another file"):
        load_graph(one_task_graph(nodes=nodes, constants={}).SerializeToString(), where="g")


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"PK\x03\x04", b"\xff" * 40])
def test_other_files_are_no_onnx(data: bytes) -> None:
    with pytest.raises(BundleError, match="is no ONNX"):
        load_graph(data, where="g")


def test_the_onnx_route_never_loads_torch(
    one_task_graph: Make, make_bundle: Make, tmp_path: Path
) -> None:
    bundle = make_bundle(one_task_graph().SerializeToString())
    code = (
        "import sys, hsimap.runtimes as r; from hsimap.bundle import Bundle\n"
        "early = {'torch', 'onnxruntime', 'onnx', 'rasterio'} & set(sys.modules)\n"
        f"r.open_runtime(Bundle.load({str(bundle.path)!r}))\n"
        "assert not early, early\n"
        "assert 'torch' not in sys.modules and 'rasterio' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr

"""ncnn gives what ONNX Runtime gives, where it is installed; a clear refusal where it is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hsimap.bundle import Acceptance, Bundle
from hsimap.errors import BundleError, UsageError, VerificationError
from hsimap.mapping.memory import activation_bytes
from hsimap.runtimes import _ncnn, choices, instruction_set, measure_activations, open_runtime
from hsimap.runtimes._routes import NCNN, Route, other_routes

if TYPE_CHECKING:
    from pathlib import Path

Make = Callable[..., Any]
BANDS, WIDTH = 3, 32


def u_net(*, ends_plain: bool = False) -> bytes:
    """Return a small U-Net: masked input, 3 x 3 convolutions, one level down and up."""
    rng, node = np.random.default_rng(2), helper.make_node
    shapes = {
        "stem": (WIDTH, BANDS, 1, 1), "down": (WIDTH, WIDTH, 3, 3), "deep": (WIDTH, WIDTH, 3, 3),
        "up": (WIDTH, WIDTH, 2, 2), "join": (WIDTH, 2 * WIDTH, 3, 3), "head": (1, WIDTH, 1, 1),
    }  # fmt: skip
    arrays = {k: rng.normal(0, np.prod(s[1:]) ** -0.5, s) for k, s in shapes.items()}
    arrays |= {"bias": rng.normal(size=WIDTH), "zero": np.zeros(()), "unit": np.full((), 20.0)}
    arrays["std"] = np.full((1, BANDS, 1, 1), 1e-3)
    last = "height" if ends_plain else "low"
    nodes = [
        node("Mul", ["image", "std"], ["scaled"]),
        node("Greater", ["valid", "zero"], ["shown"]),
        node("Where", ["shown", "scaled", "zero"], ["masked"]),
        node("Conv", ["masked", "stem"], ["a0"]),
        node("LeakyRelu", ["a0"], ["a"], alpha=0.1),
        node("Conv", ["a", "down", "bias"], ["b0"], pads=[1] * 4),
        node("Relu", ["b0"], ["b"]),
        node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["c", "deep"], ["d0"], pads=[1] * 4),
        node("Add", ["d0", "c"], ["d"]),
        node("ConvTranspose", ["d", "up"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Concat", ["e", "b"], ["f"], axis=1),
        node("Conv", ["f", "join"], ["g0"], pads=[1] * 4),
        node("Relu", ["g0"], ["g"]),
        node("Conv", ["g", "head"], [last]),
    ]
    nodes += [] if ends_plain else [node("Mul", ["low", "unit"], ["height"])]
    used = {name for n in nodes for name in n.input}
    graph = helper.make_graph(
        nodes, "u",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["n", c, "h", "w"])
         for k, c in (("image", BANDS), ("valid", 1))],
        [helper.make_tensor_value_info("height", TensorProto.FLOAT, ["n", 1, "h", "w"])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in arrays.items() if k in used],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())


@pytest.fixture
def bundle(make_bundle: Make) -> Bundle:
    made: Bundle = make_bundle(u_net(), ncnn_activation_bytes_per_px=2000.0)
    return made


def images(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    batch, height, width = shape
    rng = np.random.default_rng(4)
    valid = (rng.random((batch, 1, height, width)) < 0.8).astype(np.float32)
    return rng.integers(0, 5000, (batch, BANDS, height, width)).astype(np.int16), valid


@pytest.mark.parametrize("ends_plain", [False, True])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 12, 36), (1, 52, 8)])
def test_it_gives_what_onnx_runtime_gives(
    make_bundle: Make, shape: tuple[int, int, int], *, ends_plain: bool
) -> None:
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    bundle = make_bundle(u_net(ends_plain=ends_plain))
    stored, valid = images(shape)
    reference = open_runtime(bundle, runtime="onnx", device="cpu", threads=1)
    runtime = open_runtime(bundle, runtime="ncnn", threads=1)
    for image in (stored, stored.astype(np.float32)):
        before = image.copy()
        expected = reference.forward(image, valid)["height"]
        got = runtime.forward(image, valid)["height"]
        assert np.ptp(expected) > 1
        np.testing.assert_allclose(got, expected, atol=2e-5 * np.ptp(expected))
        np.testing.assert_array_equal(image, before)
        kept = got.copy()
        runtime.forward(image // 2, valid)
        np.testing.assert_array_equal(got, kept)
        np.testing.assert_array_equal(runtime.forward(image, valid)["height"], got)
    assert runtime.describe()["precision"] == "float32"
    assert runtime.describe()["runtime"] == "ncnn"
    runtime.close()


def test_a_program_that_forgets_to_close_ends_well(bundle: Bundle) -> None:
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    program = (
        "import sys, numpy as np\n"
        "from hsimap.bundle import Bundle\n"
        "from hsimap.runtimes import open_runtime\n"
        "runtime = open_runtime(Bundle.load(sys.argv[1]), runtime='ncnn', threads=1)\n"
        "image = np.ones((1, 3, 16, 16), np.float32)\n"
        "result = runtime.forward(image, image[:, :1])\n"
        "assert 'torch' not in sys.modules\n"
        "1 / 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, bundle.path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


def test_results_that_differ_are_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    plain = _ncnn.NcnnRuntime.forward
    monkeypatch.setattr(
        _ncnn.NcnnRuntime,
        "forward",
        lambda self, image, valid: {k: 1.01 * v for k, v in plain(self, image, valid).items()},
    )
    runtime = open_runtime(bundle, runtime="ncnn", threads=1)
    with pytest.raises(VerificationError, match="'height' differs by"):
        runtime.forward(*images((1, 8, 8)))


def test_a_graph_without_such_convolutions_is_refused(
    one_task_graph: Make, make_bundle: Make
) -> None:
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    bundle = make_bundle(one_task_graph().SerializeToString())
    with pytest.raises(UsageError, match="no stretch of plain convolutions"):
        open_runtime(bundle, runtime="ncnn")


def test_where_it_is_not_installed_the_remedy_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(UsageError, match=r"hsimap\[ncnn\]"):
        open_runtime(bundle, runtime="ncnn")


def test_a_converter_that_fails_is_told(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    script = tmp_path / "pnnx"
    script.write_text("#!/bin/sh\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(_ncnn, "_converter", lambda: script)
    runtime = open_runtime(bundle, runtime="ncnn")
    assert runtime.describe()["runtime"] == "ncnn"  # a finished run needs no more than that
    with pytest.raises(BundleError, match="does not convert to ncnn"):
        runtime.forward(*images((1, 8, 8)))


def test_it_is_not_taken_before_its_memory_was_measured(make_bundle: Make) -> None:
    plain = make_bundle(u_net())
    with pytest.raises(UsageError, match="hsimap export"):
        choices(plain, runtime="ncnn", precision="auto")
    assert NCNN not in other_routes(plain)


def test_it_is_taken_where_it_is_named_or_accepted(bundle: Bundle) -> None:
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    assert choices(bundle, runtime="ncnn", precision="auto") == [NCNN]
    assert choices(bundle, runtime="auto", precision="fp32") == [Route("onnx", "fp32")]
    record = Acceptance(
        runtime="ncnn", precision="fp32", cpu=instruction_set(), verdict="accepted",
        pixels=1_000_000, scene="line", tasks={"height": {"rmse": 0.0, "p999": 0.0}}, mpx_per_s=2.0,
    )  # fmt: skip
    accepted = bundle.rewrite({"acceptance": (record,), "stored_activation_bytes_per_px": 500.0})
    for precision in ("auto", "fp32"):
        both = choices(accepted, runtime="auto", precision=precision)
        assert both == [Route("onnx", "fp32"), NCNN]
    refused = bundle.rewrite({"acceptance": (record.model_copy(update={"verdict": "refused"}),)})
    assert choices(refused, runtime="auto", precision="auto") == [Route("onnx", "fp32")]
    for runtime in ("auto", "onnx"):
        assert activation_bytes(accepted.manifest, runtime, as_stored=True) == 2000
    assert activation_bytes(refused.manifest, "auto", as_stored=False) == 4096
    assert activation_bytes(refused.manifest, "ncnn", as_stored=False) == 4096


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux only")
def test_its_memory_is_measured_where_it_runs(make_bundle: Make, one_task_graph: Make) -> None:
    pytest.importorskip("ncnn", reason="the extra ncnn is not installed")
    found = measure_activations(make_bundle(u_net()))["ncnn_activation_bytes_per_px"]
    least = 4 * 3 * WIDTH  # two inputs of a convolution and what it gives
    assert found is not None
    assert least <= found <= 10 * least
    other = make_bundle(one_task_graph().SerializeToString())
    assert measure_activations(other)["ncnn_activation_bytes_per_px"] is None

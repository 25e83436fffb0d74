"""float16: near float32 where it computes, exact where values are large."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hsimap.runtimes._half import to_half

SIDE = 12


def model(*, far: float) -> onnx.ModelProto:
    """Values around ``far`` in and out, standardised in between for two convolutions."""
    rng = np.random.default_rng(2)

    def value(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])

    constants = {
        "mean": np.full((1, 6, 1, 1), far, np.float32),
        "inverse": np.full((1, 6, 1, 1), 1 / 200, np.float32),
        "stem": rng.normal(size=(8, 6, 3, 3)).astype(np.float32) / 8,
        "deep": rng.normal(size=(2, 8, 1, 1)).astype(np.float32) / 3,
        "scale": np.float32(1000),
        "offset": np.float32(far),
    }
    nodes = [
        helper.make_node("Sub", ["image", "mean"], ["a"]),
        helper.make_node("Mul", ["a", "inverse"], ["b"]),
        helper.make_node("Conv", ["b", "stem"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "deep"], ["e"]),
        helper.make_node("Mul", ["e", "scale"], ["f"]),
        helper.make_node("Add", ["f", "offset"], ["height"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [value("image", 6)], [value("height", 2)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(made: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


@pytest.mark.parametrize("far", [500.0, 60_000.0])
def test_values_that_float16_cannot_hold_stay_in_float32(far: float) -> None:
    image = np.random.default_rng(0).normal(far, 200, (1, 6, SIDE, SIDE)).astype(np.float32)
    full = run(model(far=far), image)
    half = run(to_half(model(far=far)), image)
    assert half.dtype == np.float32
    error = np.abs(half - full).max() / full.std()
    assert 1e-6 < error < 5e-3  # rounded to 11 bits inside, and nowhere else


def test_convolutions_compute_in_float16_and_the_ends_do_not() -> None:
    made = to_half(model(far=500))
    half = {t.name for t in made.graph.initializer if t.data_type == TensorProto.FLOAT16}
    assert half == {"stem/half", "deep/half"}
    relu = next(node for node in made.graph.node if node.op_type == "Relu")
    makers = {name: node.op_type for node in made.graph.node for name in node.output}
    assert makers[relu.input[0]] == "Conv"  # no cast between what computes in float16


def test_the_graph_that_is_given_stays_as_it_is() -> None:
    given = model(far=500)
    before = given.SerializeToString()
    to_half(given)
    assert given.SerializeToString() == before


def test_a_heavy_output_comes_out_in_float32_under_its_name() -> None:
    given = model(far=0)
    del given.graph.node[-2:]
    given.graph.node[-1].output[0] = "height"
    image = np.random.default_rng(0).normal(0, 200, (1, 6, SIDE, SIDE)).astype(np.float32)
    half, full = run(to_half(given), image), run(given, image)
    onnx.checker.check_model(to_half(given), full_check=True)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, full, atol=5e-3 * full.std())

"""Cheaper steps give the same numbers; what they do not fit is left alone."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hsimap.runtimes._light import lighten

RNG = np.random.default_rng(5)
node = helper.make_node
WEIGHT = RNG.normal(size=(3, 6, 3, 3)).astype(np.float32)
TWO = [node("Relu", ["image"], ["a"]), node("Conv", ["image", "small"], ["b"])]
JOIN = node("Concat", ["a", "b"], ["joined"], axis=1)
CONV = node("Conv", ["joined", "weight", "bias"], ["out"], pads=[1] * 4)


def model(nodes: list[onnx.NodeProto], opset: int = 20) -> onnx.ModelProto:
    constants = {
        "weight": WEIGHT, "bias": np.arange(3, dtype=np.float32),
        "small": RNG.normal(size=(2, 4, 1, 1)).astype(np.float32),
    }  # fmt: skip
    used = {name for n in nodes for name in n.input}
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", None, "h", "w"])],
        [numpy_helper.from_array(v, k) for k, v in constants.items() if k in used],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(made: onnx.ModelProto) -> np.ndarray:
    image = np.random.default_rng(1).normal(0, 30, (2, 4, 6, 7)).astype(np.float32)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


@pytest.mark.parametrize("axis", [1, -3])
def test_softmax_over_channels(axis):
    made = model([node("Softmax", ["image"], ["out"], axis=axis)])
    expected = run(made)
    assert lighten(made)
    assert "Softmax" not in {n.op_type for n in made.graph.node}
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_allclose(run(made), expected, atol=1e-6)


def test_a_convolution_of_joined_channels_is_a_sum():
    made = model([*TWO, JOIN, CONV])
    expected = run(made)
    assert lighten(made)
    assert "Concat" not in {n.op_type for n in made.graph.node}
    onnx.checker.check_model(made, full_check=True)
    np.testing.assert_allclose(run(made), expected, atol=1e-6 * np.ptp(expected))


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(model([node("Softmax", ["image"], ["out"], axis=-1)]), id="other axis"),
        pytest.param(model([node("Softmax", ["image"], ["out"], axis=1)], opset=17), id="old"),
        pytest.param(model([*TWO, node("Concat", ["a", "b"], ["joined"], axis=1),
                            node("Relu", ["joined"], ["out"])]), id="no convolution"),
        pytest.param(model([*TWO, JOIN, CONV, node("Abs", ["joined"], ["other"])]),
                     id="used twice"),
        pytest.param(model([node("Relu", ["image"], ["a"]), node("Neg", ["image"], ["b"]),
                            node("Concat", ["a", "b"], ["joined"], axis=2),
                            node("Conv", ["joined", "small"], ["out"])]), id="joined rows"),
    ],
)  # fmt: skip
def test_other_graphs_are_left_alone(made):
    before = made.SerializeToString()
    assert not lighten(made)
    assert made.SerializeToString() == before

"""A graph in three parts gives what it gives as a whole; the middle holds nothing but the plain."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hsimap.runtimes._cut import Cut, cut

RNG = np.random.default_rng(3)
node = helper.make_node
CONSTANTS = {
    "scale": np.array([2, 3, 4], np.float32).reshape(1, 3, 1, 1),
    "wide": RNG.normal(size=(8, 3, 1, 1)).astype(np.float32),
    "small": RNG.normal(size=(8, 8, 3, 3)).astype(np.float32),
    "large": RNG.normal(size=(16, 16, 3, 3)).astype(np.float32),
    "last": RNG.normal(size=(2, 16, 1, 1)).astype(np.float32),
    "zero": np.zeros((), np.float32),
}
HEAD = [
    node("Mul", ["image", "scale"], ["scaled"]),
    node("Conv", ["scaled", "wide"], ["stem"]),
    node("Relu", ["stem"], ["a"]),
    node("Conv", ["a", "small"], ["b"], pads=[1] * 4),
]
TAIL = [
    node("Conv", ["d", "last"], ["e"]),
    node("Softmax", ["e"], ["out"], axis=1),
]
PLAIN = [
    *HEAD,
    node("Concat", ["a", "b"], ["c"], axis=1),
    node("Conv", ["c", "large"], ["d"], pads=[1] * 4),
    *TAIL,
]
MASKED = [
    *HEAD,
    node("Greater", ["valid", "zero"], ["shown"]),
    node("Where", ["shown", "b", "zero"], ["kept"]),
    node("Concat", ["a", "kept"], ["c"], axis=1),
    node("Conv", ["c", "large"], ["d"], pads=[1] * 4),
    *TAIL,
]
BEHIND = [*PLAIN[:-1], node("ReduceMean", ["image"], ["level"], axes=[1], keepdims=1),
          node("Add", ["e", "level"], ["out"])]  # fmt: skip


def model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    used = {name for n in nodes for name in n.input}
    inputs = {"image": 3, "valid": 1}
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, ["n", c, "h", "w"])
         for k, c in inputs.items() if k in used],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2, "h", "w"])],
        [numpy_helper.from_array(v, k) for k, v in CONSTANTS.items() if k in used],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def run(made: onnx.ModelProto, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    onnx.checker.check_model(made, full_check=True)
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    wanted = {value.name for value in session.get_inputs()}
    found = session.run(names, {k: v for k, v in feed.items() if k in wanted})
    return dict(zip(names, found, strict=True))


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    valid = (rng.random((2, 1, 6, 7)) < 0.5).astype(np.float32)
    return {"image": rng.normal(size=(2, 3, 6, 7)).astype(np.float32), "valid": valid}


def operators(found: Cut) -> list[str]:
    return [n.op_type for n in found.middle.model.graph.node]


@pytest.mark.parametrize("nodes", [PLAIN, MASKED], ids=["plain", "masked"])
def test_the_parts_in_turn_give_what_the_whole_gives(nodes):
    whole, values = model(nodes), images()
    expected = run(whole, values)["out"]
    found = cut(whole)
    for part in (found.head, found.middle, found.tail):
        assert set(part.takes) <= set(values)
        made = run(part.model, values)
        assert set(made) == set(part.gives)
        values |= made
    np.testing.assert_allclose(values["out"], expected, atol=1e-6)


def test_the_middle_is_the_stretch_with_the_most_weights():
    assert operators(cut(model(PLAIN))) == ["Relu", "Conv", "Concat", "Conv", "Conv"]
    found = cut(model(MASKED))
    assert operators(found) == ["Concat", "Conv", "Conv"]
    assert set(found.middle.takes) == {"a", "kept"}
    assert found.head.takes == ("image", "valid")


def test_what_the_graph_gives_itself_may_come_out_of_the_middle():
    nodes = [*PLAIN[:-2], node("Conv", ["d", "last"], ["out"])]
    found = cut(model(nodes))
    assert found.middle.gives == ("out",)
    assert not found.tail.model.graph.node


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([HEAD[0], node("Conv", ["scaled", "wide"], ["d"]),
                      node("Relu", ["d"], ["out"])], id="nothing of 3 x 3"),
        pytest.param([node("Relu", ["image"], ["out"])], id="no convolution"),
        pytest.param(BEHIND, id="the image is wanted again"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut(nodes):
    assert cut(model(nodes)) is None

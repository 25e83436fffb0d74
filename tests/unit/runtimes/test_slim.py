"""The first layers split by bands: the same numbers in less memory, other graphs untouched."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hsimap.runtimes import _slim
from hsimap.runtimes._slim import slim

N_BANDS, N_OUT, SIDE = 40, 3, 12
RNG = np.random.default_rng(3)
MEAN = RNG.uniform(100, 900, (1, N_BANDS, 1, 1)).astype(np.float32)
INVERSE = RNG.uniform(0.001, 0.02, (1, N_BANDS, 1, 1)).astype(np.float32)
WEIGHT = RNG.normal(size=(N_OUT, N_BANDS, 3, 3)).astype(np.float32)
CONSTANTS = {
    "mean": MEAN,
    "inverse": INVERSE,
    "zero": np.float32(0),
    "ones": np.ones((1, N_BANDS, 1, 1), np.float32),
    "half": np.float32(0.5),
    "weight": WEIGHT,
    "bias": RNG.normal(size=N_OUT).astype(np.float32),
    "flat_one": np.ones(N_BANDS, np.float32),
    "flat_mean": MEAN.ravel(),
    "row": np.linspace(1, 2, N_BANDS, dtype=np.float32),
}
CONV = helper.make_node(
    "Conv", ["masked", "weight", "bias"], ["out"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]
)
MASK = [helper.make_node("Greater", ["valid", "half"], ["shown"])]
FINITE = [
    helper.make_node("Conv", ["image", "ones"], ["sum"]),
    helper.make_node("IsInf", ["sum"], ["inf"]),
    helper.make_node("IsNaN", ["sum"], ["nan"]),
    helper.make_node("Or", ["inf", "nan"], ["bad"]),
    helper.make_node("Not", ["bad"], ["good"]),
    helper.make_node("Greater", ["valid", "half"], ["there"]),
    helper.make_node("And", ["good", "there"], ["shown"]),
]
NORM = [
    helper.make_node("Sub", ["image", "mean"], ["a"]),
    helper.make_node("Mul", ["inverse", "a"], ["b"]),
]
BATCH_NORM = [
    helper.make_node(
        "BatchNormalization",
        ["image", "flat_one", "flat_one", "flat_mean", "flat_one"],
        ["b"],
        epsilon=0.0,
    )
]
WHERE = helper.make_node("Where", ["shown", "b", "zero"], ["masked"])


def model(nodes: list[onnx.NodeProto], n_out: int = N_OUT) -> onnx.ModelProto:
    def value(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])

    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [value("image", N_BANDS), value("valid", 1)],
        [value("out", n_out)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in CONSTANTS.items() if k in used],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(made: onnx.ModelProto) -> np.ndarray:
    rng = np.random.default_rng(0)
    image = rng.normal(500, 300, (2, N_BANDS, SIDE, SIDE + 4)).astype(np.float32)
    image[0, 7, 3, 4], image[1, 33, 5, 6] = np.nan, np.inf
    valid = (rng.random((2, 1, SIDE, SIDE + 4)) < 0.8).astype(np.float32)
    valid[0, 0, 3, 4] = valid[1, 0, 5, 6] = 0
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image, "valid": valid})[0]


@pytest.mark.parametrize(
    ("mask", "norm"), [(FINITE, NORM), (MASK, BATCH_NORM)], ids=["trained", "imported"]
)
def test_the_numbers_stay(mask: list[onnx.NodeProto], norm: list[onnx.NodeProto]) -> None:
    made = model([*mask, *norm, WHERE, CONV])
    expected = run(made)
    assert slim(made)
    onnx.checker.check_model(made, full_check=True)
    convolutions = [n for n in made.graph.node if n.op_type == "Conv"]
    assert len(convolutions) == -(-N_BANDS // _slim._GROUP)
    shapes = {t.name: tuple(t.dims) for t in made.graph.initializer}
    assert sorted(shapes[n.input[1]][1] for n in convolutions) == [8, 16, 16]
    np.testing.assert_allclose(run(made), expected, atol=1e-6 * np.ptp(expected))


def test_the_running_sum_stands_second() -> None:
    """ONNX Runtime works from the first input backwards; else all groups would wait for the end."""
    made = model([*MASK, *NORM, WHERE, CONV])
    slim(made)
    made_by = {n.output[0]: n.op_type for n in made.graph.node}
    sums = [n for n in made.graph.node if n.op_type == "Add"]
    assert [made_by[n.input[0]] for n in sums] == ["Conv", "Conv"]
    assert [made_by[n.input[1]] for n in sums] == ["Conv", "Add"]


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([*NORM, helper.make_node("Conv", ["b", "weight"], ["out"])],
                     id="no mask"),
        pytest.param([*MASK, *NORM, WHERE, helper.make_node("Relu", ["masked"], ["out"])],
                     id="no convolution"),
        pytest.param([*MASK, helper.make_node("Mul", ["image", "valid"], ["b"]), WHERE, CONV],
                     id="times no constant"),
        pytest.param([*MASK, *NORM, WHERE, helper.make_node("Conv", ["masked", "weight"], ["p"]),
                      helper.make_node("ReduceMean", ["masked"], ["q"]),
                      helper.make_node("Add", ["p", "q"], ["out"])], id="used twice"),
    ],
)  # fmt: skip
def test_other_graphs_are_left_alone(nodes: list[onnx.NodeProto]) -> None:
    made = model(nodes, n_out=N_BANDS if nodes[-1].op_type == "Relu" else N_OUT)
    before = made.SerializeToString()
    assert not slim(made)
    assert made.SerializeToString() == before


def test_a_constant_along_x_is_no_spectrum() -> None:
    step = helper.make_node("Mul", ["image", "row"], ["b"])
    made = model([*MASK, step, WHERE, CONV])
    assert not slim(made)

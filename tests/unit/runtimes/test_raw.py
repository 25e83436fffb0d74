"""A graph that takes stored integers gives the numbers of the one that takes float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hsimap.bundle import Bundle
from hsimap.runtimes import STORED, open_runtime
from hsimap.runtimes._raw import take_integers

N_BANDS, N_OUT = 40, 3
RNG = np.random.default_rng(7)
CONSTANTS = {
    "mean": RNG.uniform(100, 900, (1, N_BANDS, 1, 1)).astype(np.float32),
    "inverse": RNG.uniform(0.001, 0.02, (1, N_BANDS, 1, 1)).astype(np.float32),
    "zero": np.float32(0),
    "one": np.float32(1),
    "half": np.float32(0.5),
    "ones": np.ones((1, N_BANDS, 1, 1), np.float32),
    "bias": RNG.normal(size=N_OUT).astype(np.float32),
    "flat_one": np.ones(N_BANDS, np.float32),
    "flat_mean": RNG.uniform(100, 900, N_BANDS).astype(np.float32),
    "flat_var": RNG.uniform(100, 900, N_BANDS).astype(np.float32) ** 2,
    **{f"w{k}": RNG.normal(size=(N_OUT, N_BANDS, k, k)).astype(np.float32) for k in (1, 3)},
}
node = helper.make_node
FINITE = [
    node("Conv", ["image", "ones"], ["sum"]),
    node("IsInf", ["sum"], ["inf"]),
    node("IsNaN", ["sum"], ["nan"]),
    node("Not", ["inf"], ["not_inf"]),
    node("Not", ["nan"], ["not_nan"]),
    node("And", ["not_inf", "not_nan"], ["finite"]),
    node("Greater", ["valid", "zero"], ["there"]),
    node("And", ["there", "finite"], ["both"]),
    node("Cast", ["both"], ["mask"], to=TensorProto.FLOAT),
    node("Greater", ["mask", "zero"], ["shown"]),
]
MASK = [node("Greater", ["valid", "half"], ["shown"])]
NORM = [node("Sub", ["image", "mean"], ["a"]), node("Mul", ["inverse", "a"], ["b"])]
DIVIDED = [node("Add", ["image", "mean"], ["a"]), node("Div", ["a", "mean"], ["b"])]
BATCH = [
    node("BatchNormalization", ["image", "flat_one", "flat_one", "flat_mean", "flat_var"], ["b"])
]
WHERE = node("Where", ["shown", "b", "zero"], ["masked"])


def conv(k: int, dilation: int = 1) -> onnx.NodeProto:
    pads, weights = [dilation * (k // 2)] * 4, ["masked", f"w{k}", "bias"]
    return node("Conv", weights, ["out"], pads=pads, dilations=[dilation] * 2, kernel_shape=[k, k])


def model(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    def value(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])

    used = {name for n in nodes for name in n.input}
    graph = helper.make_graph(
        nodes, "g", [value("image", N_BANDS), value("valid", 1)], [value("out", N_OUT)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in CONSTANTS.items() if k in used],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(made: onnx.ModelProto, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image, "valid": valid})[0]


@pytest.mark.parametrize("dtype", sorted(STORED, key=str), ids=str)
@pytest.mark.parametrize(
    ("mask", "norm", "last"),
    [(FINITE, NORM, conv(3)), (MASK, BATCH, conv(1)), (MASK, DIVIDED, conv(3, 2))],
    ids=["trained", "imported", "dilated"],
)
@pytest.mark.parametrize("sides", [(16, 12), (37, 20)])
def test_the_numbers_stay(mask, norm, last, dtype, sides):
    made = model([*mask, *norm, WHERE, last])
    rng = np.random.default_rng(0)
    high = min(4000, np.iinfo(dtype).max)
    valid = (rng.random((2, 1, *sides)) < 0.8).astype(np.float32)
    image = (rng.integers(0, high, (2, N_BANDS, *sides)) * valid).astype(dtype)
    expected = run(made, image.astype(np.float32), valid)
    assert take_integers(made, dtype, side=16)
    onnx.checker.check_model(made, full_check=True)
    pieces = [n for n in made.graph.node if n.op_type == "Conv"]
    assert len(pieces) > 1
    np.testing.assert_allclose(run(made, image, valid), expected, atol=2e-6 * np.ptp(expected))


@pytest.mark.parametrize(
    "nodes",
    [
        pytest.param([*MASK, *NORM, WHERE, node("Relu", ["masked"], ["out"])], id="no convolution"),
        pytest.param([*NORM, node("Less", ["valid", "half"], ["shown"]), WHERE, conv(3)],
                     id="mask turned round"),
        pytest.param([*MASK, *NORM, node("Where", ["shown", "b", "one"], ["masked"]), conv(3)],
                     id="masked with one"),
        pytest.param([*MASK, node("Sub", ["mean", "image"], ["b"]), WHERE, conv(3)],
                     id="constant first"),
        pytest.param([*MASK, *NORM, WHERE, node("Conv", ["masked", "w3"], ["out"], strides=[2, 2])],
                     id="stride"),
        pytest.param([*MASK, *NORM, WHERE, node("Conv", ["masked", "w3"], ["out"])], id="no pads"),
        pytest.param([*MASK, *NORM, WHERE, node("Conv", ["masked", "w3"], ["p"], pads=[1] * 4),
                      node("ReduceMean", ["image"], ["q"]), node("Add", ["p", "q"], ["out"])],
                     id="image used again"),
    ],
)  # fmt: skip
def test_other_graphs_are_left_alone(nodes):
    made = model(nodes) if nodes[-1].op_type != "Relu" else wide(nodes)
    before = made.SerializeToString()
    assert not take_integers(made, np.dtype(np.int16), side=64)
    assert made.SerializeToString() == before


def wide(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    made = model([*nodes[:-1], conv(1)])
    made.graph.node[-1].CopyFrom(nodes[-1])
    return made


def test_a_mean_far_from_zero_in_units_of_its_spread_is_not_folded(monkeypatch):
    monkeypatch.setitem(CONSTANTS, "inverse", CONSTANTS["inverse"] * 100)
    made = model([*MASK, *NORM, WHERE, conv(1)])
    assert not take_integers(made, np.dtype(np.int16), side=64)


def test_rows_too_few_for_two_pieces_are_left_alone():
    assert not take_integers(model([*MASK, *NORM, WHERE, conv(3)]), np.dtype(np.int16), side=7)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
@pytest.mark.parametrize("dtype", sorted(STORED, key=str), ids=str)
def test_a_trained_model_says_the_same_of_integers_and_of_floats(runtime, dtype):
    bundle = Bundle.load(Path(__file__).parents[3] / "models" / "boreal-demo")
    rng = np.random.default_rng(4)
    valid = (rng.random((2, 1, 72, 64)) < 0.8).astype(np.float32)
    high = min(6000, np.iinfo(dtype).max)
    image = (rng.integers(0, high, (2, bundle.manifest.input.n_bands, 72, 64)) * valid).astype(
        dtype
    )
    image.flags.writeable = False  # what a reader hands out may be read-only
    opened = open_runtime(bundle, runtime=runtime, device="cpu", threads=1)
    expected, found = opened.forward(image.astype(np.float32), valid), opened.forward(image, valid)
    opened.close()
    for name, values in expected.items():
        scale = max(float(np.ptp(values)), 0.01)
        np.testing.assert_allclose(found[name], values, atol=1e-5 * scale, err_msg=name)


def test_integers_that_the_graph_cannot_take_are_made_floats(one_task_graph, make_bundle):
    runtime = open_runtime(
        make_bundle(one_task_graph().SerializeToString()), device="cpu", threads=1
    )
    image = np.random.default_rng(0).integers(0, 9, (1, 3, 8, 8)).astype(np.uint8)
    valid = np.ones((1, 1, 8, 8), np.float32)
    expected = runtime.forward(image.astype(np.float32), valid)["height"]
    np.testing.assert_array_equal(runtime.forward(image, valid)["height"], expected)
    with pytest.raises(ValueError, match="wrong dtype"):
        runtime.forward(image.astype(np.int64), valid)

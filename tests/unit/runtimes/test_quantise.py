"""int8: near the float32 graph, first layer left alone, the same inputs and outputs."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from hsimap.runtimes import quantise

N_BANDS, SIDE = 40, 16


def graph() -> bytes:
    rng = np.random.default_rng(5)

    def value(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, "h", "w"])

    constants = {
        "mean": np.full((1, N_BANDS, 1, 1), 500, np.float32),
        "inverse": np.full((1, N_BANDS, 1, 1), 0.005, np.float32),
        "half": np.float32(0.5),
        "zero": np.float32(0),
        "stem": rng.normal(size=(8, N_BANDS, 1, 1)).astype(np.float32) / 6,
        "deep": rng.normal(size=(4, 8, 3, 3)).astype(np.float32) / 8,
    }
    nodes = [
        helper.make_node("Greater", ["valid", "half"], ["shown"]),
        helper.make_node("Sub", ["image", "mean"], ["a"]),
        helper.make_node("Mul", ["a", "inverse"], ["b"]),
        helper.make_node("Where", ["shown", "b", "zero"], ["c"]),
        helper.make_node("Conv", ["c", "stem"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "deep"], ["height"], pads=[1, 1, 1, 1]),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [value("image", N_BANDS), value("valid", 1)],
        [value("height", 4)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString())


def batches(n: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(n)
    return [
        (
            rng.normal(500, 200, (1, N_BANDS, SIDE, SIDE)).astype(np.float32),
            np.ones((1, 1, SIDE, SIDE), np.float32),
        )
        for _ in range(n)
    ]


def run(data: bytes, image: np.ndarray, valid: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["height"], {"image": image, "valid": valid})[0]


def test_a_quantised_graph_is_near_and_leaves_the_first_layer_alone() -> None:
    full = graph()
    small = quantise(full, batches(4))
    image, valid = batches(1)[0]
    expected, got = run(full, image, valid), run(small, image, valid)
    error = np.abs(got - expected).max() / expected.std()
    assert 0 < error < 0.2
    model = onnx.load_model_from_string(small)
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    stored = [t for t in kinds.values() if t == TensorProto.INT8]
    assert stored  # the second layer's weights
    made_by = {n.output[0]: n.op_type for n in model.graph.node}
    firsts = [n for n in model.graph.node if n.op_type == "Conv" and n.name.startswith("slim/")]
    assert len(firsts) == 3
    assert all(made_by[n.input[0]] != "DequantizeLinear" for n in firsts)


def test_the_same_calibration_gives_the_same_bytes() -> None:
    assert quantise(graph(), batches(2)) == quantise(graph(), batches(2))

"""Small ONNX graphs, made by hand, and bundles that hold them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hsimap.bundle import ONNX, Bundle

BANDS = 3
WEIGHTS = np.random.default_rng(7).normal(size=(9, BANDS, 1, 1)).astype(np.float32)


def _value(name: str, channels: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["n", channels, "h", "w"])


def _model(graph: onnx.GraphProto, *opsets: tuple[str, int]) -> onnx.ModelProto:
    entries = [helper.make_opsetid(*entry) for entry in (opsets or (("", 18),))]
    return helper.make_model(graph, opset_imports=entries, ir_version=9)


@pytest.fixture(scope="session")
def weights() -> np.ndarray:
    """``(9, band, 1, 1)`` of the pointwise network: logits 0-3, one logit 4, values 5-8."""
    return WEIGHTS


@pytest.fixture(scope="session")
def user_network() -> onnx.ModelProto:
    """A user's network: input ``x``; outputs ``logits``, ``edge``, ``values`` and ``coarse``."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["packed"]),
        helper.make_node("Split", ["packed", "sizes"], ["logits", "edge", "values"], axis=1),
        helper.make_node(
            "AveragePool", ["values"], ["coarse"], kernel_shape=[2, 2], strides=[2, 2]
        ),
    ]
    channels = {"logits": 4, "edge": 1, "values": 4}
    outputs = [_value(name, n) for name, n in channels.items()]
    outputs.append(helper.make_tensor_value_info("coarse", TensorProto.FLOAT, ["n", 4, None, None]))
    constants = {"w": WEIGHTS, "sizes": np.array([4, 1, 4])}
    graph = helper.make_graph(
        nodes,
        "user",
        [_value("x", BANDS)],
        outputs,
        initializer=[numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return _model(graph)


@pytest.fixture(scope="session")
def one_task_graph() -> Callable[..., onnx.ModelProto]:
    """Return a maker of graphs ``image, valid -> height``, with something wrong if asked for."""

    def make(
        *,
        nodes: list[onnx.NodeProto] | None = None,
        inputs: list[onnx.ValueInfoProto] | None = None,
        outputs: list[onnx.ValueInfoProto] | None = None,
        opsets: tuple[tuple[str, int], ...] = (("", 18),),
        constants: dict[str, np.ndarray] | None = None,
    ) -> onnx.ModelProto:
        arrays = {"w": WEIGHTS[:1]} if constants is None else constants
        graph = helper.make_graph(
            nodes or [helper.make_node("Conv", ["image", "w"], ["height"])],
            "g",
            inputs or [_value("image", BANDS), _value("valid", 1)],
            outputs or [_value("height", 1)],
            initializer=[numpy_helper.from_array(array, name) for name, array in arrays.items()],
        )
        return _model(graph, *opsets)

    return make


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Bundle]:
    """Return a maker of ONNX-only bundles with one continuous task ``height``."""

    def make(graph: bytes, **changes: Any) -> Bundle:
        fields = {
            "name": "by-hand",
            "input": {"n_bands": BANDS},
            "tasks": [{"name": "height", "kind": "continuous", "unit": "m"}],
            "outputs": [{"task": "height", "kind": "continuous", "channels": 1}],
            "alignment": 4,
            "reach": 0,
            "patch": 8,
            "tile": {"trim": 0, "ramp": 0, "max_tile": 64},
        }
        return Bundle.save(tmp_path / "model", fields | changes, {ONNX: graph}, overwrite=True)

    return make

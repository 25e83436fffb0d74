"""The memory of a forward is that of the network, whatever the process that asks has used."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, checker, helper

from hsimap.bundle import Bundle
from hsimap.runtimes._memory import activation_bytes
from hsimap.tasks import Kind, Task, main_output

N_BANDS, COPIES = 2, 32
HEIGHT = Task(name="height", kind=Kind.CONTINUOUS, unit="m")


def wide_network() -> bytes:
    """Repeat the image 32 times along the bands, then average: 256 bytes a pixel at its peak."""
    sides = ["batch", None, "y", "x"]

    def tensor(name: str, channels: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(
            name, TensorProto.FLOAT, [sides[0], channels, *sides[2:]]
        )

    nodes = [
        helper.make_node("Mul", ["image", "valid"], ["clean"]),
        helper.make_node("Concat", ["clean"] * COPIES, ["wide"], axis=1),
        helper.make_node("ReduceMean", ["wide", "axes"], ["height"], keepdims=1),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    inputs = [tensor("image", N_BANDS), tensor("valid", 1)]
    graph = helper.make_graph(nodes, "wide", inputs, [tensor("height", 1)], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux only")
def test_the_peak_of_a_forward_is_measured(tmp_path: Path) -> None:
    fields = {
        "name": "wide", "description": "", "tasks": (HEIGHT,), "outputs": (main_output(HEIGHT),),
        "input": {
            "n_bands": N_BANDS, "wavelength_nm": None, "fwhm_nm": None, "scale": None,
            "nodata": None, "dtype": "float32", "mean_spectrum": None,
        },
        "alignment": 1, "reach": 0, "patch": 1,
        "tile": {"trim": 0, "ramp": 0, "max_tile": 64},
        "activation_bytes_per_px": None, "network": None, "metrics": {}, "provenance": {},
    }  # fmt: skip
    bundle = Bundle.save(tmp_path / "wide", fields, {"network.onnx": wide_network()})
    large_parent = np.ones(100_000_000)  # 800 MB, of which the child must know nothing
    found = activation_bytes(bundle)
    del large_parent
    assert found is not None
    least = 4 * N_BANDS * COPIES
    assert least <= found <= 2 * least + 64

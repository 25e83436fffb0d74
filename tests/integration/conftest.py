"""Generated scenes and toy ONNX bundles whose maps are known exactly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import rasterio
from affine import Affine
from onnx import TensorProto, helper, numpy_helper

from hsimap.bundle import Bundle
from hsimap.tasks import ClassLabel, Kind, Task, main_output

N_BANDS = 4
WAVELENGTHS = (450.0, 550.0, 650.0, 850.0)
NODATA = -9999
CLASSES = Task(
    name="cover",
    kind=Kind.CATEGORICAL,
    classes=(
        ClassLabel(code=1, name="water & ice", color="#2166ac"),
        ClassLabel(code=3, name="forest", color="#1b7837"),
        ClassLabel(code=7, name="field", color="#edc948"),
    ),
)
VALUES = Task(name="height", kind=Kind.CONTINUOUS, unit="m", range=(0, 40))
SALIENCY = Task(name="building", kind=Kind.SALIENCY)
COARSE = Task(name="density", kind=Kind.CONTINUOUS, unit="ha-1")
WEIGHTS = np.random.default_rng(5).normal(size=(5, N_BANDS)).astype(np.float32) * 2e-3
GAIN = np.float32([20.0])


@pytest.fixture(scope="session")
def write_scene():
    """Write an int16 GeoTIFF of four bands with a nodata border and speckles."""

    def write(path, *, height=70, width=90, crs="EPSG:32633", transform=None, seed=0):
        rng = np.random.default_rng(seed)
        values = rng.integers(0, 6000, (N_BANDS, height, width)).astype(np.int16)
        values[:, :5] = NODATA
        values[2, rng.random((height, width)) < 0.03] = NODATA
        profile = {
            "driver": "GTiff", "dtype": "int16", "count": N_BANDS, "height": height,
            "width": width, "crs": crs, "nodata": NODATA, "tiled": True, "blockxsize": 32,
            "blockysize": 32, "compress": "deflate",
            "transform": transform or Affine(2.0, 0, 3e5, 0, -2.0, 6.8e6),
        }  # fmt: skip
        with rasterio.open(path, "w", **profile) as file:
            file.write(values)
            for band, wavelength in enumerate(WAVELENGTHS, 1):
                file.update_tags(band, wavelength=wavelength, wavelength_units="nm")
        return values

    return write


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory):
    """A pointwise network: 3 classes, a height, a saliency, and a height averaged at stride 2."""
    return save_toy(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="session")
def make_bundle():
    return save_toy


def expected_maps(values, valid):
    """The toy network in numpy: ``{name: (channel, y, x)}`` before nodata is set."""
    image = np.where(valid, values, 0).astype(np.float32)
    raw = np.einsum("oc,cyx->oyx", WEIGHTS, image)
    exp = np.exp(raw[:3] - raw[:3].max(axis=0))
    return {
        "cover": exp / exp.sum(axis=0),
        "height": np.clip(raw[3:4] * GAIN, 0, 40),
        "building": 1 / (1 + np.exp(-raw[4:5])),
    }


def save_toy(path, *, wavelengths=WAVELENGTHS, name="toy"):
    tasks = (CLASSES, VALUES, SALIENCY, COARSE)
    outputs = (*map(main_output, tasks[:3]), main_output(COARSE, stride=2))
    fields = {
        "name": name,
        "description": "a toy",
        "input": {
            "n_bands": N_BANDS, "wavelength_nm": wavelengths, "fwhm_nm": None, "scale": 0.0001,
            "nodata": None, "dtype": "int16", "mean_spectrum": None,
        },
        "tasks": tasks,
        "outputs": outputs,
        "alignment": 2,
        "reach": 1,
        "patch": 8,
        "tile": {"trim": 2, "ramp": 4, "max_tile": 64},
        "activation_bytes_per_px": 64.0,
        "network": None,
        "metrics": {},
        "provenance": {},
    }  # fmt: skip
    return Bundle.save(path, fields, {"network.onnx": toy_network().SerializeToString()})


def toy_network():
    def weight(name, array):
        return numpy_helper.from_array(np.asarray(array), name)

    nodes = [
        helper.make_node("Cast", ["valid"], ["mask"], to=TensorProto.BOOL),
        helper.make_node("Where", ["mask", "image", "zero"], ["clean"]),
        helper.make_node("Conv", ["clean", "weights"], ["raw"]),
        helper.make_node("Split", ["raw", "parts"], ["a", "b", "c"], axis=1),
        helper.make_node("Softmax", ["a"], ["cover"], axis=1),
        helper.make_node("Mul", ["b", "gain"], ["scaled"]),
        helper.make_node("Clip", ["scaled", "low", "high"], ["height"]),
        helper.make_node("Sigmoid", ["c"], ["building"]),
        helper.make_node(
            "AveragePool", ["height"], ["density"], kernel_shape=[2, 2], strides=[2, 2]
        ),
    ]
    sides = ["batch", None, "y", "x"]

    def tensor(name, channels, axes=("y", "x")):
        shape = [sides[0], channels, *axes]
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "toy",
        [tensor("image", N_BANDS), tensor("valid", 1)],
        [tensor("cover", 3), tensor("height", 1), tensor("building", 1),
         tensor("density", 1, ("y2", "x2"))],
        [weight("weights", WEIGHTS[:, :, None, None]), weight("gain", GAIN),
         weight("zero", np.float32(0)), weight("low", np.float32(0)),
         weight("high", np.float32(40)), weight("parts", np.int64([3, 1, 1]))],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model

"""A small bundle for the tests; its payloads need not run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from hsimap.bundle import ONNX, WEIGHTS

TASKS: list[dict[str, Any]] = [
    {
        "name": "cover",
        "kind": "categorical",
        "classes": [
            {"code": 1, "name": "roof | tile", "color": "#b2182b"},
            {"code": 4, "name": "tree", "color": "#1b7837"},
        ],
    },
    {"name": "height", "kind": "continuous", "unit": "m", "range": [0, 40]},
]
OUTPUTS: list[dict[str, Any]] = [
    {"task": "cover", "kind": "categorical", "channels": 2, "role": "probability"},
    {"task": "height", "kind": "continuous", "channels": 1, "stride": 2},
]


@pytest.fixture(scope="session")
def fields() -> Callable[..., dict[str, Any]]:
    """Return a maker of legal fields, with changes."""
    return _fields


@pytest.fixture(scope="session")
def payload() -> dict[str, bytes]:
    """Return the two payloads of a bundle."""
    rng = np.random.default_rng(0)
    weights = {"stem.weight": rng.normal(size=(4, 3)).astype(np.float32)}
    return {WEIGHTS: save(weights), ONNX: bytes(range(256))}


def _fields(**changes: Any) -> dict[str, Any]:
    plain = {
        "name": "demo",
        "description": "Two variables of a town.",
        "input": {
            "n_bands": 3,
            "wavelength_nm": [450, 550.25, 650],
            "fwhm_nm": [5, 5, 5],
            "scale": 1e-4,
            "nodata": -9999,
            "dtype": "int16",
        },
        "tasks": TASKS,
        "outputs": OUTPUTS,
        "alignment": 4,
        "reach": 9,
        "patch": 16,
        "tile": {"trim": 12, "ramp": 4, "max_tile": 256},
        "network": {"settings": {"architecture": "taiga"}, "n_bands": 3},
        "metrics": {"cover": {"overall_accuracy": np.float32(0.875), "kappa": float("nan")}},
        "provenance": {"seed": 0, "scenes": ("a.tif", "b.tif")},
    }
    return plain | changes

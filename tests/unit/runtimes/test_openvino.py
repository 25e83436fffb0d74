"""OpenVINO on the bundle's graph, where it is installed; a clear refusal where it is not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hsimap.errors import UsageError
from hsimap.runtimes import instruction_set, open_runtime

Make = Callable[..., Any]


def test_where_it_is_not_installed_the_remedy_is_told(
    one_task_graph: Make, make_bundle: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    bundle = make_bundle(one_task_graph().SerializeToString())
    with pytest.raises(UsageError, match=r"hsimap\[openvino\]"):
        open_runtime(bundle, runtime="openvino")


def test_it_gives_what_onnx_runtime_gives(one_task_graph: Make, make_bundle: Make) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    bundle = make_bundle(one_task_graph().SerializeToString())
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 3, 8, 12)).astype(np.float32)
    valid = np.ones((2, 1, 8, 12), np.float32)
    expected = open_runtime(bundle, runtime="onnx", device="cpu").forward(image, valid)["height"]
    runtime = open_runtime(bundle, runtime="openvino", threads=1)
    got = runtime.forward(image, valid)["height"]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    again = runtime.forward(image + 1, valid)["height"]
    assert not np.shares_memory(got, again)
    assert runtime.describe()["precision"] == "float32"
    runtime.close()


def test_bf16_needs_a_cpu_that_has_it(one_task_graph: Make, make_bundle: Make) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    if {"avx512_bf16", "amx_tile"} & set(instruction_set().split()):
        pytest.skip("this CPU has bf16")
    bundle = make_bundle(one_task_graph().SerializeToString())
    with pytest.raises(UsageError, match="does not compute in bf16"):
        open_runtime(bundle, runtime="openvino", precision="bf16")

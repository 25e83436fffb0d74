"""A reduced precision is taken only where the bundle holds its acceptance on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hsimap.bundle import INT8, Bundle
from hsimap.errors import MismatchError, UsageError
from hsimap.runtimes import Route, choices, instruction_set, open_runtime, waiver_note

Make = Callable[..., Any]
FULL, INT = Route("onnx", "fp32"), Route("onnx", "int8")


def record(verdict: str, **changes: object) -> dict[str, object]:
    return {
        "runtime": "onnx",
        "precision": "int8",
        "cpu": instruction_set(),
        "verdict": verdict,
        "pixels": 1_000_000,
        "scene": "line",
        "tasks": {"height": {"rmse": 0.031, "p999": 0.2}},
        "faults": () if verdict == "accepted" else ("height: rmse 0.031 std > 0.02",),
        "mpx_per_s": 2.0,
    } | changes


@pytest.fixture
def bundle(one_task_graph: Make, make_bundle: Make) -> Callable[..., Bundle]:
    graph = one_task_graph().SerializeToString()

    def make(*records: dict[str, object]) -> Bundle:
        plain: Bundle = make_bundle(graph, acceptance=records)
        return plain.rewrite({}, {INT8: graph})

    return make


def test_without_a_record_float32_is_all_there_is(bundle: Callable[..., Bundle]) -> None:
    assert choices(bundle(), runtime="auto", precision="auto") == [FULL]
    with pytest.raises(MismatchError, match="holds no acceptance of int8 on this machine"):
        choices(bundle(), runtime="auto", precision="int8")


def test_what_was_refused_is_refused_with_its_figures(bundle: Callable[..., Bundle]) -> None:
    model = bundle(record("refused"))
    assert choices(model, runtime="auto", precision="auto") == [FULL]
    with pytest.raises(MismatchError, match=r"int8 is not accepted .*rmse 0\.031 std > 0\.02"):
        choices(model, runtime="auto", precision="int8")


def test_what_was_accepted_may_be_taken(bundle: Callable[..., Bundle]) -> None:
    model = bundle(record("accepted"))
    assert choices(model, runtime="auto", precision="auto") == [FULL, INT]
    assert choices(model, runtime="auto", precision="int8") == [INT]
    assert choices(model, runtime="auto", precision="fp32") == [FULL]
    assert waiver_note(model, INT) is None


def test_a_waiver_opens_the_route_and_is_told(bundle: Callable[..., Bundle]) -> None:
    model = bundle(record("waived"))
    assert choices(model, runtime="auto", precision="int8") == [INT]
    assert "rmse 0.031" in (waiver_note(model, INT) or "")
    assert waiver_note(model, FULL) is None


def test_acceptance_on_another_cpu_does_not_count(bundle: Callable[..., Bundle]) -> None:
    model = bundle(record("accepted", cpu="x86_64 other"))
    assert choices(model, runtime="auto", precision="auto") == [FULL]
    with pytest.raises(MismatchError, match="on this machine"):
        choices(model, runtime="auto", precision="int8")


def test_a_runtime_that_is_named_limits_the_choice(bundle: Callable[..., Bundle]) -> None:
    model = bundle(record("accepted"))
    assert choices(model, runtime="openvino", precision="auto") == [Route("openvino", "fp32")]


def test_a_precision_nothing_gives_is_a_usage_error(bundle: Callable[..., Bundle]) -> None:
    with pytest.raises(UsageError, match="nothing runs model"):
        choices(bundle(), runtime="auto", precision="fp16")
    with pytest.raises(UsageError, match="does not run bf16"):
        open_runtime(bundle(), runtime="onnx", precision="bf16")


def test_the_int8_graph_is_the_one_that_runs(one_task_graph: Make, make_bundle: Make) -> None:
    plain = one_task_graph().SerializeToString()
    model = make_bundle(plain).rewrite({}, {INT8: plain})
    told = open_runtime(model, precision="int8", device="cpu", threads=1).describe()
    assert (told["runtime"], told["precision"]) == ("onnx", "int8")
    with pytest.raises(UsageError, match=r"holds no network\.int8\.onnx"):
        open_runtime(make_bundle(plain), precision="int8", device="cpu")

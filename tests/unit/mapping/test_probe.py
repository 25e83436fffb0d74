"""The fastest accepted route is taken once, and a run keeps it."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hsimap.mapping import MapSettings, prepare, probe
from hsimap.mapping.probe import resolve_route, stored_route
from hsimap.runtimes import Route

if TYPE_CHECKING:
    from pathlib import Path

FULL, INT = Route("onnx", "fp32"), Route("onnx", "int8")
SECONDS = {"fp32": 0.03, "int8": 0.005}
BUNDLE = SimpleNamespace(manifest=SimpleNamespace(patch=8, alignment=8))


class Sleeper:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def forward(self, image: np.ndarray, valid: np.ndarray) -> dict[str, np.ndarray]:
        assert image.shape[2:] == valid.shape[2:] == (320, 320)
        time.sleep(self.seconds)
        return {}

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _two_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "routes_of", lambda bundle, settings: [FULL, INT])
    monkeypatch.setattr(probe, "waiver_note", lambda bundle, route, device: None)
    monkeypatch.setattr(
        prepare, "open_runtime", lambda bundle, precision, **rest: Sleeper(SECONDS[precision])
    )


def sample() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((1, 1, 400, 400), np.float32), np.ones((1, 1, 400, 400), np.float32)


def test_the_fastest_is_taken_and_told(tmp_path: Path) -> None:
    route, told = resolve_route(BUNDLE, MapSettings(), out=tmp_path, sample=sample)
    assert route == INT
    assert len(told) == 1
    assert all(text in told[0] for text in ("onnx int8 is taken", "onnx fp32 0.03"))


@pytest.mark.parametrize(
    "place", ["manifest.json", ".hsimap-run/identity.json"], ids=["finished", "unfinished"]
)
def test_a_run_keeps_its_route_without_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    identity = {"runtime": {"runtime": "onnx", "precision": "float32"}}
    monkeypatch.setattr(
        probe, "read_finished", lambda out: {"identity": identity} if "manifest" in place else {}
    )
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(identity))
    assert stored_route(tmp_path) == FULL
    route, told = resolve_route(BUNDLE, MapSettings(), out=tmp_path, sample=lambda: 1 / 0)
    assert (route, told) == (FULL, [])


def test_a_route_that_is_open_no_more_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / ".hsimap-run").mkdir()
    identity = {"runtime": {"runtime": "torch", "precision": "bf16"}}
    (tmp_path / ".hsimap-run" / "identity.json").write_text(json.dumps(identity))
    assert resolve_route(BUNDLE, MapSettings(), out=tmp_path, sample=sample)[0] == INT


def test_a_waiver_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "waiver_note", lambda bundle, route, device: f"{route} waived")
    assert resolve_route(BUNDLE, MapSettings(), out=tmp_path, sample=sample)[1][-1] == (
        "onnx int8 waived"
    )

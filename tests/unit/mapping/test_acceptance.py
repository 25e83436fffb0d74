"""Figures of a comparison against arithmetic by hand; limits; calibration pixels stay apart."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine

from hsimap.bundle import InputSpec
from hsimap.geometry import Grid, Window
from hsimap.mapping import acceptance
from hsimap.mapping.acceptance import Differences, faults_of, lost_points
from hsimap.spectra import Bands
from hsimap.tasks import Kind, Output, Role

OUTPUTS = (
    Output(task="cover", kind=Kind.CATEGORICAL, channels=2, role=Role.PROBABILITY),
    Output(task="height", kind=Kind.CONTINUOUS, channels=1),
)


def test_figures_are_those_by_hand() -> None:
    found = Differences(OUTPUTS)
    rng = np.random.default_rng(0)
    height = rng.normal(20, 4, (1, 1, 40, 50)).astype(np.float32)
    cover = np.zeros((1, 2, 40, 50), np.float32)
    cover[:, 0] = 1
    other = cover.copy()
    other[0, :, 0, :10] = other[0, ::-1, 0, :10]  # 10 of 1000 pixels of the upper half
    valid = np.zeros((1, 1, 40, 50), np.float32)
    valid[:, :, :20] = 1
    error = np.where(valid > 0, 0.4, 1e9).astype(np.float32)  # what is not valid does not count
    found.add({"cover": cover, "height": height}, {"cover": other, "height": height + error}, valid)
    figures = found.figures()
    std = height[0, 0, :20].std()
    assert found.pixels == 1000
    assert figures["cover"]["agreement"] == pytest.approx(0.99)
    assert figures["height"]["rmse"] == pytest.approx(0.4 / std, rel=1e-4)
    assert figures["height"]["p999"] == pytest.approx(0.4 / std, rel=1e-4)


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        ({"cover": {"agreement": 0.995}, "height": {"rmse": 0.02, "p999": 0.1}}, []),
        ({"cover": {"agreement": 0.9949}}, ["agreement"]),
        ({"height": {"rmse": 0.0201, "p999": 0.1}}, ["rmse"]),
        ({"height": {"rmse": 0.02, "p999": 0.101}}, ["p999"]),
        ({"height": {"rmse": math.nan, "p999": math.nan}}, ["rmse", "p999"]),
    ],
)
def test_limits(figures: dict[str, dict[str, float]], names: list[str]) -> None:
    assert [fault.split()[1] for fault in faults_of(figures, {})] == names


class Recorder:
    """A scene that notes which windows are read."""

    name, nodata, scale, notes, dtype = "line", -1.0, None, (), np.dtype("int16")
    bands = Bands(wavelength_nm=None, fwhm_nm=None, good=(True,))

    def __init__(self, side: int) -> None:
        self.grid = Grid(height=side, width=side, transform=Affine.identity(), crs=None)
        self.seen: list[Window] = []

    def read_flagged(
        self, window: Window, bands: object, **options: object
    ) -> tuple[np.ndarray, np.ndarray]:
        self.seen.append(window)
        shape = (window.height, window.width)
        return np.ones((1, *shape), np.int16), np.zeros(shape, np.uint8)


def test_pixels_of_the_calibration_are_not_compared() -> None:
    scene = Recorder(1024)
    manifest = SimpleNamespace(input=InputSpec(n_bands=1), patch=64, alignment=8)
    blocks = acceptance.SceneSamples(SimpleNamespace(manifest=manifest), scene)
    list(blocks.calibration())
    calibration, scene.seen = {(w.row, w.col) for w in scene.seen}, []
    list(blocks.held_out())
    held = {(w.row, w.col) for w in scene.seen}
    assert len(calibration) == 4
    assert len(held) == 12
    assert not calibration & held


def test_the_comparison_stops_at_enough_pixels() -> None:
    scene = Recorder(4096)
    manifest = SimpleNamespace(input=InputSpec(n_bands=1), patch=64, alignment=8)
    blocks = acceptance.SceneSamples(SimpleNamespace(manifest=manifest), scene)
    pixels = sum(int(valid.sum()) for _, _, valid in blocks.held_out())
    assert 1_000_000 <= pixels < 1_000_000 + 256**2


@pytest.mark.parametrize(("change", "n"), [(-0.5, 0), (-0.51, 1), (3.0, 0), (float("nan"), 1)])
def test_a_score_that_loses_over_half_a_point_is_a_fault(change: float, n: int) -> None:
    faults = faults_of({}, {"cover": {"kappa": change}})
    assert len(faults) == n
    assert all("kappa" in fault for fault in faults)


def test_points_are_hundredths_of_a_score() -> None:
    full, reduced = {"cover": {"kappa": 0.80}}, {"cover": {"kappa": 0.79}}
    assert lost_points(full, reduced)["cover"]["kappa"] == pytest.approx(-1.0)

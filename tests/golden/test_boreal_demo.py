"""The shipped model maps the shipped scene as it did when the golden values were written.

`make golden` writes them anew after a change that means to move them; read the diff. Values are
those of every 16th pixel; other processors round differently, hence the tolerances.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from hsimap.cli._main import app
from hsimap.synthetic import TASKS

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("boreal_demo.json")
STEP = 16
AGREEMENT = 0.99
"""Least share of equal class codes: one pixel in a hundred may stand between two classes."""
TOLERANCE = 0.005
"""Largest difference of a value over the std of its map."""
pytestmark = pytest.mark.golden


def rows(values: np.ndarray) -> list[str]:
    """One line of text a row: codes, or values to 5 significant digits."""
    return [" ".join(f"{value:.5g}" for value in row) for row in values[8::STEP, 8::STEP]]


@pytest.fixture(scope="module")
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    out = tmp_path_factory.mktemp("golden")
    scene, model = ROOT / "sample_data/scene.tif", ROOT / "models/boreal-demo"
    arguments = ["predict", str(scene), "--model", str(model), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, "--probabilities", "none", "--quiet"])
    assert done.exit_code == 0, done.output
    maps = {}
    for name in TASKS:
        with rasterio.open(out / "scene" / f"{name}.tif") as file:
            maps[name] = rows(file.read(1))
    if request.config.getoption("--renew", default=False):
        GOLDEN.write_text(json.dumps(maps, indent=1) + "\n")
    return maps


@pytest.mark.parametrize("name", TASKS)
def test_map_is_as_before(name: str, found: dict[str, list[str]]) -> None:
    before = np.array([row.split() for row in json.loads(GOLDEN.read_text())[name]], dtype=float)
    now = np.array([row.split() for row in found[name]], dtype=float)
    assert now.shape == before.shape
    if TASKS[name]["kind"] == "categorical":
        assert np.mean(now == before) >= AGREEMENT
    else:
        np.testing.assert_array_equal(np.isnan(now), np.isnan(before))
        assert np.nanmax(np.abs(now - before)) <= TOLERANCE * np.nanstd(before)

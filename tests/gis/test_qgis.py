"""Every product in a real QGIS: valid, in place, with names, colours and units in the legend."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from hsimap.geometry import Grid
from hsimap.products import Layer, write_layer
from hsimap.tasks import ClassLabel, Kind, Task

PYTHON = shlex.split(os.environ.get("HSIMAP_QGIS", "/usr/bin/python3"))
"""The Python that QGIS belongs to, such as ``chroot DIR /usr/bin/python3``."""
SCRIPT = Path(__file__).with_name("qgis_open.py")
TREES = Task(
    name="species",
    kind=Kind.CATEGORICAL,
    classes=(
        ClassLabel(code=1, name="Scots pine", color="#1b7837"),
        ClassLabel(code=5, name="Norway spruce & fir", color="#762a83"),
        ClassLabel(code=9, name="birch", color="#f28e2b"),
    ),
)
HEIGHT = Task(name="mean_height", kind=Kind.CONTINUOUS, unit="m", range=(0, 30))


def has_qgis():
    probe = [*PYTHON, "-c", "import qgis.core"]
    return (
        shutil.which(PYTHON[0]) is not None
        and not subprocess.run(probe, capture_output=True, check=False).returncode
    )


pytestmark = [
    pytest.mark.gis,
    pytest.mark.skipif(not has_qgis(), reason="no QGIS here (apt-get install qgis python3-qgis)"),
]


@pytest.fixture(scope="module", params=["north-up", "rotated"])
def opened(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    turn = Affine.rotation(20 if request.param == "rotated" else 0)
    transform = Affine.translation(3e5, 6.8e6) @ turn @ Affine.scale(0.7, -0.7)
    grid = Grid(
        height=600, width=500, transform=transform, crs=rasterio.CRS.from_epsg(3067).to_wkt()
    )
    rng = np.random.default_rng(0)
    codes = rng.choice(np.uint8([1, 5, 9, 255]), (1, 600, 500))
    values = rng.uniform(0, 30, (1, 600, 500)).astype(np.float32)
    shares = rng.integers(0, 65535, (3, 600, 500)).astype(np.uint16)
    names = tuple(label.name for label in TREES.classes)
    plans = (
        ("species", "classes", TREES, ("species",), "uint8", 255, 1.0, codes),
        ("mean_height", "values", HEIGHT, ("mean_height",), "float32", float("nan"), 1.0, values),
        ("species_probability", "probabilities", TREES, names, "uint16", 65535, 1 / 65534, shares),
    )
    paths = []
    for name, kind, task, bands, dtype, nodata, scale, array in plans:
        layer = Layer(
            name=name, kind=kind, grid=grid, task=task, bands=bands, dtype=dtype, nodata=nodata,
            scale=scale,
        )  # fmt: skip
        paths += write_layer(folder, layer, lambda w, a=array: a[(..., *w.slices)])[:1]
    ran = subprocess.run(
        [*PYTHON, str(SCRIPT), str(folder), *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    facts = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {Path(fact["path"]).stem: fact for fact in facts}, grid


def test_every_product_is_valid_in_its_crs(opened):
    facts, _ = opened
    assert set(facts) == {"species", "mean_height", "species_probability"}
    for fact in facts.values():
        assert fact["valid"]
        assert fact["crs"] == "EPSG:3067"
        assert fact["colors_drawn"] > 2


def test_the_layers_lie_where_they_belong(opened):
    facts, grid = opened
    corners = [grid.transform @ (x, y) for x in (0, grid.width) for y in (0, grid.height)]
    xs, ys = zip(*corners, strict=True)
    for fact in facts.values():
        west, south, east, north = fact["extent"]
        np.testing.assert_allclose([west, east], [min(xs), max(xs)], atol=0.35)
        np.testing.assert_allclose([south, north], [min(ys), max(ys)], atol=0.35)


def test_the_legend_names_the_classes_in_their_colours(opened):
    facts, _ = opened
    assert facts["species"]["renderer"] == "paletted"
    assert facts["species"]["legend"] == [[c.name, c.color] for c in TREES.classes]
    assert facts["species"]["nodata"] == 255


def test_the_legend_of_values_names_the_unit(opened):
    facts, _ = opened
    assert facts["mean_height"]["renderer"] == "singlebandpseudocolor"
    labels = [label for label, _ in facts["mean_height"]["legend"]]
    assert labels[0] == "0 m"
    assert labels[-1] == "30 m"
    assert facts["mean_height"]["ramp_suffix"] == " m"


def test_probability_bands_carry_the_names_of_the_classes(opened):
    facts, _ = opened
    bands = facts["species_probability"]["bands"]
    assert [name.split(": ", 1)[1] for name in bands] == [c.name for c in TREES.classes]

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from pydantic import ValidationError
from pyproj import CRS

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Grid
from hsimap.labels import LabelSpec, StandSpec, open_labels, read_stands
from hsimap.tasks import task_from_mapping

UTM = CRS.from_epsg(32633).to_wkt()
GRID = Grid(height=12, width=16, transform=Affine(2, 0, 5e5, 0, -2, 6.8e6), crs=UTM)
SPECIES = task_from_mapping("species", {"kind": "categorical", "classes": {1: "pine", 2: "spruce"}})
HEIGHT = task_from_mapping("height", {"kind": "continuous", "unit": "m", "range": [0, 40]})


@pytest.fixture(scope="module")
def stands(tmp_path_factory):
    """Two stands of 4 x 4 and one of 2 x 2 pixels, on pixel borders."""
    path = tmp_path_factory.mktemp("stands") / "stands.gpkg"
    boxes = [(0, 0, 4), (6, 2, 4), (12, 8, 2)]
    shapes = [
        shapely.box(5e5 + 2 * c, 6.8e6 - 2 * (r + n), 5e5 + 2 * (c + n), 6.8e6 - 2 * r)
        for c, r, n in boxes
    ]
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(shapes)),
        [np.array(["Pinus", "Picea", "bare"], dtype=object), np.array([18.5, 22.0, 55.0])],
        fields=["main", "h"],
        geometry_type="Polygon",
        crs="EPSG:32633",
    )
    return path


def grid_of(label):
    return label.read(GRID.window)


def test_texts_become_classes_and_nought_is_no_label(stands):
    spec = LabelSpec(vector=stands.name, field="main", classes={"Pinus": 1, "Picea": 2, "bare": 0})
    index = grid_of(open_labels(SPECIES, spec, grid=GRID, root=stands.parent))
    assert (index[:4, :4] == 0).all()
    assert (index[2:6, 6:10] == 1).all()
    assert (index >= 0).sum() == 32


def test_values_are_scaled_and_clipped(stands):
    spec = LabelSpec(vector=stands.name, field="h", scale=0.5, clip=True)
    values = grid_of(open_labels(HEIGHT, spec, grid=GRID, root=stands.parent))
    assert values[0, 0] == 9.25
    assert values[8, 12] == 27.5
    assert np.isfinite(values).sum() == 36


def test_a_buffer_keeps_clear_of_the_edges(stands):
    spec = LabelSpec(vector=stands.name, field="h", buffer=-2.0)
    labels = open_labels(HEIGHT, spec, grid=GRID, root=stands.parent)
    assert np.isfinite(grid_of(labels)).sum() == 8
    assert any("after the buffer" in note for note in labels.notes)


def test_stands_are_numbered_by_feature_or_by_field(stands):
    ids = read_stands(StandSpec(vector=stands.name), grid=GRID, root=stands.parent)
    assert np.unique(ids).tolist() == [0, 1, 2, 3]
    named = read_stands(StandSpec(vector=stands.name, field="main"), grid=GRID, root=stands.parent)
    assert (named[ids == 1] == 2).all()  # Picea, Pinus, bare in sorted order
    assert np.array_equal(named > 0, ids > 0)


def test_an_unknown_text_and_a_wrong_field_are_named(stands):
    spec = LabelSpec(vector=stands.name, field="main", classes={"Pinus": 1})
    with pytest.raises(InputError, match="'Picea', 'bare', which `classes:` does not name"):
        open_labels(SPECIES, spec, grid=GRID, root=stands.parent)
    with pytest.raises(UsageError, match="classes is for categorical tasks"):
        open_labels(
            HEIGHT,
            LabelSpec(vector=stands.name, field="h", classes={"a": 1}),
            grid=GRID,
            root=stands.parent,
        )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "exactly one of raster and vector"),
        ({"raster": "a.tif", "vector": "b.gpkg"}, "exactly one of raster and vector"),
        ({"raster": "a.tif", "buffer": -1.0}, "buffer belong to vector"),
        ({"raster": "a.tif", "classes": {"a": 1}}, "classes belong to vector"),
        ({"vector": "b.gpkg"}, "need field"),
        ({"vector": "b.gpkg", "field": "x", "band": 1}, "band and nodata belong to raster"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, words):
    with pytest.raises(ValidationError, match=words):
        LabelSpec(**fields)

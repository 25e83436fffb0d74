"""Pictures show what they are given."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from hsimap.evaluation._pictures import Picture
from hsimap.evaluation.report._map_figures import folds_figure, maps_figure
from hsimap.tasks import task_from_mapping

COVER = task_from_mapping(
    "cover",
    {"kind": "categorical", "classes": {1: "a", 2: "b"}, "colors": {1: "#20c020", 2: "#4040ff"}},
)


def pixels(source: str) -> np.ndarray:
    head, _, data = source.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def near(image, color, *, off=12):
    return (np.abs(image - color).max(axis=-1) <= off).nonzero()


def test_folds_are_drawn_where_they_are():
    folds = np.ones((40, 60), dtype=np.uint8)
    folds[:, 30:] = 3
    image = pixels(folds_figure(folds, ("none", "training", "validation", "test")))
    rows, cols = near(image, (0x1F, 0x5F, 0x8B))
    other_rows, other_cols = near(image, (0xD8, 0x73, 0x2A))
    large = np.bincount(rows, minlength=len(image)) > 50  # rows of the map, not of the legend
    assert np.diff(large.nonzero()[0]).tolist() == [1] * (large.sum() - 1)
    inside = large[rows]
    assert np.median(cols[inside]) < np.median(other_cols[large[other_rows]])
    each = np.bincount(rows[inside])[large.nonzero()[0]]
    assert np.ptp(each) < 60  # a row of the legend's patch beside it at most
    assert np.median(each) * 1.9 < large.sum() * 60 / 40 < np.median(each) * 2.1


def test_truth_map_and_error_stand_side_by_side():
    truth = np.zeros((30, 30), dtype=np.int16)
    mapped = truth.copy()
    mapped[:, 15:] = 1
    picture = Picture(scene="s", step=1, truth={"cover": truth}, mapped={"cover": mapped})
    image = pixels(maps_figure(COVER, picture))
    areas = [len(near(image, color)[0]) for color in ((32, 192, 32), (64, 64, 255), (17, 17, 17))]
    # truth and half the map are of the first class; half the map and half the errors of the others
    assert 2.6 < areas[0] / areas[1] < 3.1
    assert 0.85 < areas[2] / areas[1] < 1.2

"""Labels set beside a scene whose place is known, and the offset that is found."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from hsimap.cli._dataset import _lines
from hsimap.evaluation import describe_dataset, label_offset
from hsimap.evaluation._registration import _STEPS, _peaks
from hsimap.evaluation.report import dataset_page
from hsimap.mapping.displaced import cubic_taps
from hsimap.tasks import task_from_mapping
from hsimap.training._folds import LabelledScene

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small import ArrayLabels, ArraySource  # beside the tests of training

COVER = task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 2: "b", 3: "c"}})
SHARE = task_from_mapping("share", {"kind": "continuous", "unit": "1"})
FINE = 8
"""Cells of the ground along a pixel."""
SIDE, EDGE = 70, 3
BANDS = 9


def scene(rows=0, cols=0, *, seed=0, noise=60.0):
    """Return a scene with labels ``rows / FINE, cols / FINE`` px below and right of the image."""
    rng = np.random.default_rng(seed)
    n = FINE * (SIDE + 2 * EDGE)
    ground = gaussian_filter(rng.normal(size=(3, n, n)), (0, 1.5 * FINE, 1.5 * FINE)).argmax(0)

    def shares(rows, cols):
        top, left = FINE * EDGE - rows, FINE * EDGE - cols
        part = ground[top : top + FINE * SIDE, left : left + FINE * SIDE]
        cells = np.eye(3)[part].reshape(SIDE, FINE, SIDE, FINE, 3)
        return cells.mean(axis=(1, 3))

    spectra = rng.normal(2000, 500, (3, BANDS))
    image = (shares(0, 0) @ spectra).transpose(2, 0, 1) + rng.normal(0, noise, (BANDS, SIDE, SIDE))
    # A pixel of the labels holds the ground `rows`, `cols` cells above and left of its place.
    labels = shares(rows, cols)
    share = labels[..., 0].astype(np.float32)
    share[rng.random(share.shape) < 0.5] = np.nan
    blocks = np.add.outer(np.arange(SIDE) // 10 * 7, np.arange(SIDE) // 10)
    return LabelledScene(
        name="ground",
        source=ArraySource(image.round().astype(np.int16), np.ones((SIDE, SIDE), bool)),
        labels={
            "cover": ArrayLabels(labels.argmax(-1).astype(np.int64)),
            "share": ArrayLabels(share),
        },
        folds=(rng.permutation(49) % 3 + 1).astype(np.uint8)[blocks],
        context="share",
    )


@settings(max_examples=12)
@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(0, 9))
def test_the_offset_is_found_to_a_tenth_of_a_pixel(rows, cols, seed):
    found = label_offset(scene(rows, cols, seed=seed), (COVER, SHARE))
    assert found.offset == pytest.approx((rows / FINE, cols / FINE), abs=0.12)
    assert max(found.standard_error) < 0.1
    if max(abs(rows), abs(cols)) >= FINE // 2:
        assert found.is_sure
        assert found.explained[1] > found.explained[0]
        assert "`label_offset: [" in found.verdict


@pytest.mark.parametrize("tasks", [(COVER,), (SHARE,), (COVER, SHARE)])
def test_labels_in_their_place_are_left_there(tasks):
    found = label_offset(scene(noise=300), tasks)
    assert not found.is_sure
    assert found.offset == pytest.approx((0, 0), abs=0.1)
    assert "label_offset" not in found.verdict
    assert json.loads(json.dumps(found.as_dict()))["pixels"] == found.pixels


PART = st.floats(-0.9, 0.9)


@given(st.tuples(PART, PART), st.tuples(PART, PART), st.floats(-1, 1))
def test_less_noise_between_pixels_is_no_peak(centre, top, gain):
    places = np.array(centre) + _STEPS
    left = [np.prod([(cubic_taps(part)[1] ** 2).sum() for part in place]) for place in places]
    heights = 0.3 - ((places - top) ** 2 @ [0.1, 0.2]) - gain * np.array(left)
    inside = np.abs(np.subtract(top, centre)).max() <= 1
    expected = pytest.approx(top, abs=1e-6) if inside else [pytest.approx(np.nan, nan_ok=True)] * 2
    assert list(_peaks(places, heights[:, None])[0]) == expected


def test_labels_of_the_test_fold_are_not_looked_at():
    whole = scene(3, -2)
    expected = label_offset(whole, (COVER, SHARE))
    spoiled = whole.labels["cover"].values.copy()
    spoiled[whole.folds == 3] = 0
    labels = {**whole.labels, "cover": ArrayLabels(spoiled)}
    assert label_offset(replace(whole, labels=labels), (COVER, SHARE)) == expected
    spoiled[whole.folds == 1] = 0
    assert label_offset(replace(whole, labels=labels), (COVER, SHARE)) != expected


def test_too_little_says_nothing():
    whole = scene()
    assert label_offset(replace(whole, block=40), (COVER,)) is None  # four blocks
    few = np.full((SIDE, SIDE), -1)
    few[::10, ::10] = 1
    assert label_offset(replace(whole, labels={"cover": ArrayLabels(few)}), (COVER,)) is None
    assert label_offset(whole, ()) is None


def test_spectra_that_explain_nothing_say_nothing():
    whole = scene()
    noise = np.random.default_rng(5).integers(0, 9, (BANDS, SIDE, SIDE)).astype(np.int16)
    assert (
        label_offset(replace(whole, source=ArraySource(noise, whole.source.valid)), (COVER,))
        is None
    )
    flat = ArraySource(np.full((BANDS, SIDE, SIDE), 7, np.int16), whole.source.valid)
    assert label_offset(replace(whole, source=flat), (COVER,)) is None


def test_labels_alike_for_many_pixels_do_not_tell():
    """Stands of 20 px in noise: as good as flat, and no offset is made up of them."""
    whole, rng = scene(), np.random.default_rng(3)
    stands = np.kron(rng.integers(0, 3, (4, 4)), np.ones((20, 20), np.int64))[:SIDE, :SIDE]
    image = rng.normal(0, 1, (BANDS, SIDE, SIDE)) * 400 + 1000 + 300 * stands
    blurred = replace(
        whole,
        source=ArraySource(image.astype(np.int16), whole.source.valid),
        labels={"cover": ArrayLabels(stands)},
    )
    found = label_offset(blurred, (COVER,))
    assert found is None or not found.is_sure


def test_the_analysis_of_a_recipe_tells_it():
    found = describe_dataset([scene(4, 0)], (COVER, SHARE), patch=8, foreign_share=0.0)
    rows, cols = found.offsets[0].offset
    assert f"`label_offset: [{rows:.2f}, {cols:.2f}]`" in found.offsets[0].verdict
    assert f"scene ground: {found.offsets[0].verdict}" in list(_lines(found))
    assert found.as_dict()["label_offsets"]["ground"] == found.offsets[0].as_dict()
    page = dataset_page(found, recipe="ground", notes=())
    assert "Place of the labels" in page
    assert f"label_offset: [{rows:.2f}, {cols:.2f}]" in page
    nothing = replace(found, offsets=())
    assert "Place of the labels" not in dataset_page(nothing, recipe="ground", notes=())

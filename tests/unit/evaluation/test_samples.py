"""Acceptance on a recipe: training pixels calibrate, other pixels are compared."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hsimap.evaluation import FoldSamples

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small import small_scene  # beside the tests of training


def samples(*, patch=8, context="share"):
    scene = small_scene(height=24, width=600, context=context)
    bundle = SimpleNamespace(manifest=SimpleNamespace(patch=patch, alignment=4))
    return scene, FoldSamples(bundle, [scene], name="small")


@pytest.mark.parametrize("context", ["share", "mask"])
def test_no_training_or_test_pixel_is_compared(context):
    scene, found = samples(context=context)
    compared = [compared for _, _, compared in found.held_out()]
    valid = scene.source.valid if hasattr(scene.source, "valid") else None
    expected = int((scene.folds == 2).sum() + (scene.folds == 0).sum())
    assert compared
    assert all(part.shape == (1, 1, 256, 256) for part in compared)
    assert 0 < sum(int(part.sum()) for part in compared) <= expected
    assert valid is None or sum(int(p.sum()) for p in compared) >= (scene.folds == 2).sum() - 6


def test_calibration_sees_squares_with_training_pixels_only():
    scene, found = samples()
    cells = list(found.calibration())
    assert len(cells) == 2  # columns 0 to 511; the third square holds no training pixel
    for image, valid in cells:
        assert image.dtype == np.float32
        assert image.shape[2:] == valid.shape[2:] == (256, 256)
    assert (scene.folds[:, 512:] != 1).all()

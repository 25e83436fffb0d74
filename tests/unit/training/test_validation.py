"""Predictions of a fold are those of one forward; its scores are those of evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import TASKS, small_scene

from hsimap.evaluation import score_task
from hsimap.training import predict_fold, selection_score, whole_targets
from hsimap.training._validation import score_views

CPU = torch.device("cpu")


@pytest.mark.parametrize("context", ["share", "mask"])
@pytest.mark.parametrize("fold", [2, 3])
def test_a_fold_is_mapped_as_in_one_forward(network, context, fold):
    scene = small_scene(context=context)
    view = scene.view(fold)
    maps = predict_fold(network, view, trim=4, device=CPU)
    valid = scene.source.valid.copy()
    if context == "mask":
        valid &= (scene.folds == 0) | (scene.folds == fold)
    image = torch.from_numpy(scene.source.values.astype(np.float32))[None]
    with torch.inference_mode():
        cover, depth = network(image, torch.from_numpy(valid.astype(np.float32))[None, None])
    expected = np.where(valid, cover[0].argmax(dim=0).numpy(), -1)
    assert np.array_equal(maps["cover"], expected)
    expected = np.where(valid, depth[0, 0].numpy(), np.nan)
    np.testing.assert_allclose(maps["depth"], expected, atol=1e-5)


def test_scores_of_a_fold_are_those_of_evaluation(network):
    view = small_scene().view(2)
    scores = score_views(network, [view], trim=0, device=CPU)
    maps, targets = predict_fold(network, view, trim=0, device=CPU), whole_targets(view)
    for task in TASKS:
        blocks = np.zeros(view.shape, dtype=int)
        expected = score_task(task, targets[task.name], maps[task.name], blocks=blocks)
        assert scores[task.name] == pytest.approx(expected.scores)


def test_two_scenes_are_scored_as_one(network):
    views = [small_scene(seed=seed).view(2) for seed in (0, 1)]
    together = score_views(network, views, trim=0, device=CPU)["depth"]
    alone = [score_views(network, [view], trim=0, device=CPU)["depth"] for view in views]
    n = [np.isfinite(whole_targets(view)["depth"]).sum() for view in views]
    assert together["mae"] == pytest.approx(np.average([a["mae"] for a in alone], weights=n))


def test_selection_is_the_documented_mean():
    scores = {
        "a": {"overall_accuracy": 0.8, "balanced_accuracy": 0.4},
        "b": {"r2": -7.0},
        "c": {"r2": float("nan")},
    }
    assert selection_score(scores) == pytest.approx((0.6 - 1) / 2)
    assert np.isnan(selection_score({"c": {"r2": float("nan")}}))

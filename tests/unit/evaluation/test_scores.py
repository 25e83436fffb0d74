"""Scores against scikit-learn and torchmetrics; streaming equals one pass."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle
from torchmetrics.regression import MeanSquaredError, R2Score

from hsimap.evaluation import (
    RocBins,
    append_result,
    block_bootstrap,
    class_counts,
    class_scores,
    class_table,
    exact_auc,
    normalise_confusion,
    score_stands,
    score_task,
    square_blocks,
    value_scores,
    value_sums,
)
from hsimap.tasks import task_from_mapping

COVER = task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 3: "b", 7: "c"}})
HEIGHT = task_from_mapping("height", {"kind": "continuous", "unit": "m", "range": [0, 40]})
labels = st.integers(1, 60).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
    )
)


@given(labels)
def test_class_scores_are_those_of_scikit_learn(pair):
    target, predicted = (np.array(side) for side in pair)
    scores = class_scores(class_counts(target, predicted, n_classes=4).reshape(4, 4))
    present = np.unique(target)
    recall = oracle.recall_score(
        target, predicted, labels=present, average="macro", zero_division=0
    )
    f1 = oracle.f1_score(target, predicted, labels=present, average="macro", zero_division=0)
    assert scores["overall_accuracy"] == pytest.approx((target == predicted).mean())
    assert scores["balanced_accuracy"] == pytest.approx(recall)
    assert scores["macro_f1"] == pytest.approx(f1)


@given(labels)
def test_the_other_class_scores_are_those_of_scikit_learn(pair):
    target, predicted = (np.array(side) for side in pair)
    counts = class_counts(target, predicted, n_classes=4).reshape(4, 4)
    scores, present = class_scores(counts), np.unique(target)
    for average in ("macro", "weighted"):
        found = oracle.precision_recall_fscore_support(
            target, predicted, labels=present, average=average, zero_division=0
        )
        assert scores[f"{average}_precision"] == pytest.approx(found[0])
        assert scores[f"{average}_f1"] == pytest.approx(found[2])
    assert scores["macro_accuracy"] == pytest.approx(
        np.mean([oracle.accuracy_score(target == c, predicted == c) for c in present])
    )
    if len(np.union1d(target, predicted)) > 1:
        assert scores["kappa"] == pytest.approx(oracle.cohen_kappa_score(target, predicted))
    each = oracle.precision_recall_fscore_support(
        target, predicted, labels=present, average=None, zero_division=0
    )
    table = class_table(counts)
    for name, expected in zip(("precision", "recall", "f1"), each, strict=False):
        assert table[name][present] == pytest.approx(expected)
        assert np.isnan(np.delete(table[name], present)).all()
    shares = oracle.confusion_matrix(target, predicted, labels=range(4), normalize="true")
    assert normalise_confusion(counts)[present] == pytest.approx(shares[present])


@given(st.integers(2, 400), st.integers(0, 999), st.sampled_from([0.01, 1.0, 30.0]))
def test_the_area_under_the_curve_is_that_of_scikit_learn(n, seed, sharpness):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 3, n)
    logits = (rng.normal(size=(3, n)) + np.eye(3)[:, target]) * sharpness
    p = np.exp(logits - logits.max(axis=0))
    p = (p / p.sum(axis=0)).astype(np.float32)
    bins = RocBins(3)
    for part in np.array_split(np.arange(n), 3):
        bins.add(target[part], p[:, part])
    area, error = bins.auc()
    exact = exact_auc(target, p)
    for k in range(3):
        if 0 < (target == k).sum() < n:
            expected = oracle.roc_auc_score(target == k, p[k])
            assert exact[k] == pytest.approx(expected)
            assert abs(area[k] - expected) <= error[k] + 1e-12
        else:
            assert np.isnan(area[k])
            assert np.isnan(exact[k])
    if sharpness == 1 and n > 100:
        assert np.nanmax(error) < 0.01


def test_value_scores_are_those_of_torchmetrics():
    rng = np.random.default_rng(0)
    target = rng.normal(5000, 700, 400)
    predicted = target * 0.8 + rng.normal(900, 300, 400)
    scores = value_scores(value_sums(target, predicted))
    pair = torch.from_numpy(predicted), torch.from_numpy(target)
    r2, rmse = R2Score(), MeanSquaredError(squared=False)
    assert scores["r2"] == pytest.approx(float(r2(*pair)), abs=1e-5)
    assert scores["rmse"] == pytest.approx(float(rmse(*pair)), rel=1e-6)
    assert scores["mae"] == pytest.approx(oracle.mean_absolute_error(target, predicted))
    assert scores["bias"] == pytest.approx((predicted - target).mean())
    assert scores["pearson"] == pytest.approx(np.corrcoef(target, predicted)[0, 1])
    assert scores["rrmse"] == pytest.approx(scores["rmse"] / target.mean())


def test_no_pixel_gives_nan_and_no_warning():
    assert all(np.isnan(v) for v in class_scores(np.zeros((3, 3))).values())
    assert all(np.isnan(v) for v in value_scores(np.zeros(7)).values())


@given(st.integers(1, 5), st.integers(0, 1000))
def test_a_fold_scored_in_blocks_equals_one_pass(size, seed):
    rng = np.random.default_rng(seed)
    target = rng.integers(-1, 3, (7, 9))
    target[0, 0] = 1
    predicted = rng.integers(0, 3, (7, 9))
    whole = score_task(COVER, target, predicted, blocks=np.zeros((7, 9), dtype=int))
    parts = score_task(COVER, target, predicted, blocks=square_blocks((7, 9), size=size))
    assert whole.scores == pytest.approx(parts.scores)
    assert whole.confusion == parts.confusion
    assert whole.n == (target >= 0).sum()


def test_unmapped_labels_are_counted_and_left_out():
    target = np.array([[1.0, 2.0, np.nan, 4.0]])
    predicted = np.array([[1.0, np.nan, 3.0, 4.0]])
    scores = score_task(HEIGHT, target, predicted, blocks=np.arange(4)[None])
    assert (scores.n, scores.n_unmapped, scores.scores["rmse"]) == (2, 1, 0.0)


def test_a_task_without_a_label_in_the_fold_has_no_score():
    nothing = np.full((2, 2), np.nan)
    scores = score_task(HEIGHT, nothing, nothing, blocks=np.zeros((2, 2), dtype=int))
    assert scores.n == 0
    assert np.isnan(scores.scores["r2"])


def test_bootstrap_error_of_a_mean_is_the_textbook_one():
    rng = np.random.default_rng(1)
    target = np.zeros(4000)
    predicted = rng.normal(0, 2, 4000)
    sums = np.stack([value_sums(target[i : i + 1], predicted[i : i + 1]) for i in range(4000)])
    error = block_bootstrap(sums, value_scores, resamples=2000)["bias"]
    assert error == pytest.approx(2 / np.sqrt(4000), rel=0.1)


def test_blocks_that_repeat_one_value_widen_the_error():
    rng = np.random.default_rng(2)
    steps = rng.normal(0, 1, (10, 10))
    predicted = np.kron(steps, np.ones((5, 5)))
    target = np.zeros((50, 50)) + rng.normal(0, 1e-3, (50, 50))
    alone = np.arange(2500).reshape(50, 50)
    narrow = score_task(HEIGHT, target, predicted, blocks=alone).standard_errors["bias"]
    honest = score_task(HEIGHT, target, predicted, blocks=square_blocks((50, 50), size=5))
    assert honest.standard_errors["bias"] == pytest.approx(5 * narrow, rel=0.25)


def test_stands_take_the_mean_and_the_majority():
    stands = np.array([[1, 1, 1, 2, 2, 0]])
    height = score_stands(
        HEIGHT,
        np.array([[3.0, 3.0, 3.0, 5.0, 5.0, 9.0]]),
        np.array([[1.0, 3.0, 5.0, 5.0, 7.0, 0.0]]),
        stands=stands,
    )
    assert (height.n, height.scores["bias"]) == (2, 0.5)
    cover = score_stands(
        COVER, np.array([[0, 0, 0, 2, 2, 1]]), np.array([[0, 0, 1, 1, 1, 1]]), stands=stands
    )
    assert cover.scores["overall_accuracy"] == 0.5


def test_results_are_appended_as_strict_json(tmp_path):
    file = tmp_path / "results" / "a.jsonl"
    append_result(file, {"r2": float("nan"), "seed": 0, "tasks": {"a": [1.23456789]}})
    append_result(file, {"seed": 1})
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines == [{"r2": None, "seed": 0, "tasks": {"a": [1.234568]}}, {"seed": 1}]

"""Ranks of models."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from hsimap.errors import InputError
from hsimap.evaluation import compare_models

score = st.floats(-1, 1).map(lambda value: round(value, 2))


def runs_of(values):
    return {"cover": {"balanced_accuracy": values[0], "r2": 9}, "height": {"r2": values[1]}}


@given(st.lists(st.tuples(score, score), min_size=2, max_size=6))
def test_ranks_are_those_of_scipy(models):
    found = compare_models({f"m{i}": [runs_of(values)] for i, values in enumerate(models)})
    for k, task in enumerate(("cover", "height")):
        expected = rankdata([-values[k] for values in models])
        assert list(found.ranks[task].values()) == expected.tolist()
    total = sum(found.mean_rank.values())
    assert total == pytest.approx(len(models) * (len(models) + 1) / 2)
    assert found.mean_rank[found.order[0]] == min(found.mean_rank.values())


def test_seeds_are_averaged_and_a_task_that_one_lacks_is_left_out():
    seeds = [runs_of((0.5, 0.2)), runs_of((0.7, 0.4))]
    other = [{"cover": {"balanced_accuracy": 0.65}}]
    found = compare_models({"a": seeds, "b": other})
    assert list(found.scores) == ["cover"]
    spread = found.scores["cover"]["a"]
    assert (spread.mean, spread.low, spread.high, spread.n) == (pytest.approx(0.6), 0.5, 0.7, 2)
    assert found.order == ("b", "a")
    assert found.as_dict()["mean_rank"] == {"a": 2.0, "b": 1.0}


def test_an_unknown_score_is_the_worst_and_another_headline_may_be_named():
    found = compare_models(
        {
            "a": [{"x": {"r2": float("nan"), "pearson": 0.9}}],
            "b": [{"x": {"r2": -3.0, "pearson": 0}}],
        }
    )
    assert found.order == ("b", "a")
    null = compare_models({"a": [{"x": {"r2": None}}], "b": [{"x": {"r2": -3.0}}]})
    assert null.order == ("b", "a")
    named = compare_models(
        {"a": [{"x": {"r2": 0.1, "pearson": 0.9}}], "b": [{"x": {"r2": 0.2, "pearson": 0}}]},
        headline={"x": "pearson"},
    )
    assert named.order == ("a", "b")


def test_models_without_a_common_task_are_refused():
    with pytest.raises(InputError, match="share no task"):
        compare_models({"a": [{"x": {"r2": 0.1}}], "b": [{"y": {"r2": 0.1}}]})

"""Runs side by side: which are missing, who is ranked against whom, what the table says."""

from __future__ import annotations

import csv
import json

import pytest

from hsimap.errors import InputError
from hsimap.evaluation import Wanted, append_result, make_board, missing_runs, read_results
from hsimap.evaluation.report import comparison_page
from hsimap.evaluation.report._comparison import _curve

DATA = "d" * 64


def scores(cover, height):
    return {"cover": {"balanced_accuracy": cover}, "height": {"r2": height}}


def line(name, seed, tasks, **more):
    facts = {"recipe": name, "seed": seed, "recipe_digest": f"{name}{seed}", "fold": "test"}
    return facts | {"data_digest": DATA, "tasks": tasks} | more


def wanted(*names, seeds=2):
    return [Wanted(model=n, seed=s, digest=f"{n}{s}") for s in range(seeds) for n in names]


def board(lines, runs, **changes):
    return make_board(lines, runs, **({"fold": "test", "data_digest": DATA} | changes))


FULL = [
    line("full", 0, scores(0.8, 0.5), parameters=1000, epochs=4, cpu_seconds=110.0,
         cpu_seconds_finishing=10.0, macs_per_pixel=20_000),
    line("full", 1, scores(0.6, 0.7)),
]  # fmt: skip
PLAIN = [line("plain", 0, scores(0.65, 0.9))]
ONE = [line("one", 0, {"cover": {"balanced_accuracy": 0.75}})]


def test_what_no_line_tells_of_is_missing_in_the_order_of_the_runs():
    runs = wanted("full", "plain")
    left = missing_runs([*FULL, line("plain", 0, {}, fold="validation")], runs, fold="test")
    assert [(run.model, run.seed) for run in left] == [("plain", 0), ("plain", 1)]
    assert missing_runs([*FULL, *PLAIN, line("plain", 1, {})], runs, fold="test") == []
    assert missing_runs(FULL, runs, fold="validation") == runs


def test_seeds_are_averaged_and_ranked_over_all_tasks():
    found = board([*FULL, *PLAIN], wanted("full", "plain"))
    assert found.order == ("full", "plain")  # rank 1 and 2 each, in the order of the recipes
    places = {(p.model, p.task): p for p in found.places()}
    cover = places["full", "cover"]
    assert (cover.mean, cover.low, cover.high) == (pytest.approx(0.7), 0.6, 0.8)
    assert (cover.runs, cover.rank, cover.of) == (2, 1.0, 2)
    assert places["full", "height"].rank == 2.0
    assert found.comparison.mean_rank == {"full": 1.5, "plain": 1.5}
    assert [(run.model, run.seed) for run in found.missing] == [("plain", 1)]
    assert found.cost("full") == {
        "parameters": 1000, "macs_per_pixel": 20_000, "cpu_seconds_per_epoch": 27.5,
        "cpu_minutes": 2.0,
    }  # fmt: skip


def test_a_model_of_one_task_is_ranked_in_that_and_changes_no_other_rank():
    found = board([*FULL, *PLAIN, *ONE], wanted("one", "full", "plain"))
    assert found.order == ("full", "plain", "one")
    assert found.comparison.mean_rank == {"full": 1.5, "plain": 1.5}
    (own,) = [place for place in found.places() if place.model == "one"]
    assert (own.task, own.rank, own.of) == ("cover", 1.0, 3)
    assert "one has some of the tasks: rank 1 of 3 in cover" in found.as_text()
    alone = board(ONE, wanted("one", seeds=1))
    assert alone.comparison.mean_rank == {"one": 1.0}


def test_other_models_count_if_data_and_fold_are_the_same():
    forest = {"model": "forest", "seed": 0, "recipe_digest": "full0"}
    good = line("x", 0, scores(0.9, 0.1)) | forest
    lines = [
        good, good | {"data_digest": "e" * 64, "model": "other"},
        good | {"fold": "validation", "model": "third"}, *PLAIN,
    ]  # fmt: skip
    found = board(lines, wanted("full", "plain", seeds=1))
    assert set(found.order) == {"forest", "plain"}
    assert [run.model for run in found.missing] == ["full"]  # a forest is no run of the recipe
    again = board([*lines, good | {"tasks": scores(0.2, 0.1)}], wanted("plain", seeds=1))
    assert found.comparison.mean_rank["forest"] == 1.5
    assert again.comparison.mean_rank["forest"] == 2.0
    assert len(again.runs["forest"]) == 1


def test_table_csv_and_json_say_the_same():
    found = board([*FULL, *PLAIN, *ONE], wanted("full", "plain", "one"))
    text = found.as_text().splitlines()
    assert text[0].split() == [
        "model", "runs", "mean", "rank", "parameters", "MACs/px", "CPU", "s/epoch", "CPU", "min",
    ]  # fmt: skip
    assert text[1].split() == ["1", "full", "2", "1.50", "1", "000", "20", "000", "27.5", "2.0"]
    assert text[2].split() == ["2", "plain", "1", "1.50", "-", "-", "-", "-"]
    row = next(i for i, said in enumerate(text) if said.startswith("cover"))
    assert text[row].split() == ["cover", "balanced", "accuracy", "0.700", "0.650", "0.750"]
    assert text[row + 1].split() == ["min", "0.600", "-", "-"]
    assert text[row + 2].split() == ["max", "0.800", "-", "-"]
    assert text[-1] == "2 runs are still to be done: plain seed 1, one seed 1"
    rows = list(csv.DictReader(found.as_csv().splitlines()))
    told = json.loads(found.as_json())
    assert len(rows) == 5
    for one in rows:
        same = told["models"][one["model"]]["tasks"][one["task"]]
        assert float(one["mean"]) == pytest.approx(same["mean"])
        assert float(one["rank"]) == same["rank"]
    assert told["models"]["one"]["mean_rank"] is None
    assert told["missing"] == [{"model": "plain", "seed": 1}, {"model": "one", "seed": 1}]


def test_lines_are_read_as_they_were_appended_and_damage_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    assert read_results(path) == []
    for one in FULL:
        append_result(path, one)
    assert [found["tasks"] for found in read_results(path)] == [one["tasks"] for one in FULL]
    for damage in ('{"recipe": ', "[]", '{"tasks": 1}'):
        path.write_text(path.read_text().splitlines()[0] + f"\n{damage}\n")
        with pytest.raises(InputError, match="line 2"):
            read_results(path)


def test_nothing_done_is_refused():
    with pytest.raises(InputError, match="no run of these recipes is done"):
        board([], wanted("full"))


def test_the_page_tells_ranks_scores_and_losses_and_what_is_missing():
    found = board(FULL + PLAIN + ONE, wanted("full", "plain", "one"))
    log = [{"epoch": e, "loss": {"cover": 1 / e, "height": 0.5}} for e in (1, 2)]
    page = comparison_page(found, logs={"full": [log, log[:1]], "plain": []})
    assert "0.700 (0.600-0.800)" in page  # cover of full
    assert ">-</td>" in page  # height of one
    assert "plain seed 1, one seed 1" in page
    assert page.count("<img") == 2
    assert "Training loss" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "Training loss" not in comparison_page(found, logs={"full": []})


def test_the_loss_of_an_epoch_is_the_mean_over_the_runs_that_got_there():
    one = [{"epoch": 1, "loss": {"a": 1.0, "b": 2.0}}, {"epoch": 2, "loss": {"a": 1.0}}]
    other = [{"epoch": 1, "loss": {"a": 2.0, "b": 3.0}}, {"score": 0.5}]
    assert _curve([one, other]) == [(1.0, 4.0), (2.0, 1.0)]

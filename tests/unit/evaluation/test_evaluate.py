"""One pass over a fold gives the scores of the whole maps; files and page hold them."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as oracle

from hsimap.bundle import Bundle, BundleFields
from hsimap.bundle._manifest import complete
from hsimap.errors import InputError, MismatchError, OutputExistsError
from hsimap.evaluation import (
    evaluate_model,
    score_stands,
    score_task,
    square_blocks,
    write_tables,
)
from hsimap.evaluation.report import evaluation_page
from hsimap.evaluation.report._html import Page, number, with_error
from hsimap.evaluation.report._value_figures import error_histogram
from hsimap.tasks import task_from_mapping

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from small import BANDS, small_scene  # beside the tests of training

COVER = task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 2: "b", 3: "c"}})
DEPTH = task_from_mapping("depth", {"kind": "continuous", "unit": "m", "range": [-1, 8]})
WEIGHTS = np.random.default_rng(3).normal(size=(4, BANDS)).astype(np.float32) * 2e-3


class PointwiseRuntime:
    """Three class probabilities and a value of each pixel alone; the value at stride 2."""

    def forward(self, image, valid):
        raw = np.einsum("oc,bcyx->boyx", WEIGHTS, (image - 1000) * valid)
        exp = np.exp(raw[:, :3] - raw[:, :3].max(axis=1, keepdims=True))
        depth = np.clip(raw[:, 3:4, ::2, ::2] + 3, -1, 8)
        return {"cover": exp / exp.sum(axis=1, keepdims=True), "depth": depth}

    def describe(self):
        return {}

    def close(self):
        pass


def toy(calibration=None, classes=None):
    cover = COVER if classes is None else task_from_mapping(
        "cover", {"kind": "categorical", "classes": classes}
    )  # fmt: skip
    fields = {
        "name": "toy",
        "input": {"n_bands": BANDS},
        "tasks": [cover, DEPTH],
        "outputs": [
            {"task": "cover", "kind": "categorical", "channels": 3, "role": "probability"},
            {"task": "depth", "kind": "continuous", "channels": 1, "stride": 2},
        ],
        "alignment": 2, "reach": 1, "patch": 8,
        "tile": {"trim": 2, "ramp": 0, "max_tile": 64},
        "calibration": calibration,
    }  # fmt: skip
    return Bundle(path=Path("toy"), manifest=complete(BundleFields.model_validate(fields), {}))


CALIBRATION = {
    "unit": "stand",
    "intervals": {"depth": {"half_widths": {"80": [1.0], "90": [2.0]}, "units": [60]}},
}


@pytest.fixture(scope="module")
def scenes():
    """Return a tall scene, of five strips, and a small one; stands are squares of 10 px."""
    found = []
    for seed, height in ((0, 1100), (1, 20)):
        scene = small_scene(seed=seed, height=height)
        stands = square_blocks(scene.folds.shape, size=10).astype(np.int32)
        found.append(replace(scene, name=f"scene{seed}", stands=stands))
    return found


@pytest.fixture(scope="module")
def evaluation(scenes):
    bundle = toy(CALIBRATION)
    return evaluate_model(bundle, PointwiseRuntime(), scenes, tasks=[COVER, DEPTH], fold=2)


def whole(scenes):
    """Return target, map, probabilities, block and stand of every pixel of the fold."""
    rows = {"cover": [], "depth": []}
    for index, scene in enumerate(scenes):
        image, valid = scene.source.values.astype(np.float32), scene.source.valid
        outputs = PointwiseRuntime().forward(image[None], np.float32(valid)[None, None])
        shape, offset = valid.shape, 10_000 * index
        blocks = square_blocks(shape, size=10) + offset
        stands = np.where(scene.stands > 0, scene.stands + offset, 0)
        inside = scene.folds == 2
        depth = outputs["depth"][0, 0].repeat(2, axis=0).repeat(2, axis=1)[: shape[0], : shape[1]]
        for name, none, found in (
            ("cover", -1, outputs["cover"][0].argmax(axis=0)),
            ("depth", np.nan, depth),
        ):
            target = np.where(inside, scene.labels[name].values, none)
            mapped = np.where(valid, found, none)
            p = outputs["cover"][0].reshape(3, -1)
            parts = (target.ravel(), mapped.ravel(), p, blocks.ravel(), stands.ravel())
            rows[name].append(parts)
    return {
        name: [np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)]
        for name, parts in rows.items()
    }


@pytest.mark.parametrize("task", [COVER, DEPTH], ids=lambda task: task.name)
def test_streaming_gives_the_scores_of_the_whole_maps(task, scenes, evaluation):
    target, mapped, _, blocks, stands = whole(scenes)[task.name]
    if task is COVER:
        target, mapped = target.astype(int), mapped.astype(int)
    found = next(one for one in evaluation.tasks if one.task.name == task.name)
    pixel = score_task(task, target, mapped, blocks=blocks)
    stand = score_stands(task, target, mapped, stands=stands)
    for scores, expected in ((found.pixel, pixel), (found.stand[0], stand)):
        assert scores.n == expected.n
        assert scores.scores == pytest.approx(expected.scores, rel=1e-5, nan_ok=True)
        assert scores.standard_errors == pytest.approx(
            expected.standard_errors, rel=1e-4, nan_ok=True
        )


def test_areas_and_likelihood_are_those_of_scikit_learn(scenes, evaluation):
    target, mapped, p, _, _ = whole(scenes)["cover"]
    use = (target >= 0) & (mapped >= 0)
    truth, p = target[use].astype(int), p[:, use]
    scores = evaluation.tasks[0].scores("pixel")
    expected = np.mean([oracle.roc_auc_score(truth == k, p[k]) for k in range(3)])
    assert scores["macro_auc"] == pytest.approx(expected, abs=2e-3)
    exact = p.T.astype(float)
    loss = oracle.log_loss(truth, exact / exact.sum(axis=1, keepdims=True))
    assert scores["nll"] == pytest.approx(loss, rel=1e-4)
    squares = ((p - np.eye(3)[:, truth]) ** 2).sum(axis=0).mean()
    assert scores["brier"] == pytest.approx(squares, rel=1e-4)


def test_coverage_is_counted_by_stand(scenes, evaluation):
    target, mapped, _, _, stands = whole(scenes)["depth"]
    use = np.isfinite(target) & np.isfinite(mapped) & (stands > 0)
    inside = np.abs(target - mapped)[use] <= 2
    ids = stands[use]
    shares = [inside[ids == stand].mean() for stand in np.unique(ids)]
    found = evaluation.tasks[1].detail.coverage[90]
    assert (found.units, found.n) == (len(shares), use.sum())
    assert found.by_unit == pytest.approx(np.mean(shares), abs=2e-3)
    assert found.by_pixel == pytest.approx(inside.mean(), abs=2e-3)
    assert found.by_unit_error == pytest.approx(
        np.std(shares, ddof=1) / len(shares) ** 0.5, abs=1e-3
    )
    assert 2 < found.width <= 4


def test_means_over_tasks_name_their_aggregation(evaluation):
    means = evaluation.aggregate()
    assert set(means) == {
        f"mean over 1 {kind} tasks, by {level}"
        for kind in ("categorical", "continuous")
        for level in ("pixel", "stand")
    }
    values = means["mean over 1 continuous tasks, by pixel"]
    assert values["rmse_of_range"] == pytest.approx(evaluation.tasks[1].pixel.scores["rmse"] / 9)
    assert "rmse" not in values


def test_pictures_hold_every_row_of_the_map(scenes, evaluation):
    tall = evaluation.pictures[0]
    assert tall.step == 3
    expected = scenes[0].folds[::3, ::3] == 2
    truth = tall.truth["depth"]
    assert np.isfinite(truth).sum() == pytest.approx(expected.sum() / 2, rel=0.2)
    assert not np.isfinite(truth[~expected]).any()
    image, valid = scenes[0].source.values.astype(np.float32), scenes[0].source.valid
    cover = PointwiseRuntime().forward(image[None], np.float32(valid)[None, None])["cover"][0]
    expected = np.where(valid, cover.argmax(axis=0), -1)[::3, ::3]
    assert np.array_equal(tall.mapped["cover"], expected)


def test_a_model_that_means_other_classes_is_refused(scenes):
    other = toy(classes={1: "a", 2: "b", 9: "c"})
    with pytest.raises(MismatchError, match="same classes"):
        evaluate_model(other, PointwiseRuntime(), scenes, tasks=[COVER, DEPTH], fold=2)
    stranger = task_from_mapping("age", {"kind": "continuous"})
    with pytest.raises(MismatchError, match="share no task"):
        evaluate_model(toy(), PointwiseRuntime(), scenes, tasks=[stranger], fold=2)


def test_a_fold_without_labels_is_refused(scenes):
    empty = replace(scenes[1], folds=np.ones_like(scenes[1].folds))
    with pytest.raises(InputError, match="test fold"):
        evaluate_model(toy(), PointwiseRuntime(), [empty], tasks=[COVER, DEPTH], fold=3)


def test_tables_hold_the_numbers_and_are_not_overwritten(evaluation, tmp_path):
    second = replace(evaluation, label="second")
    write_tables(tmp_path, [evaluation, second], recipe="small")
    record = json.loads((tmp_path / "metrics.json").read_text())
    told = record["models"][0]["tasks"]["depth"]
    assert told["pixel"]["rmse"] == pytest.approx(
        evaluation.tasks[1].pixel.scores["rmse"], abs=1e-6
    )
    assert told["intervals"]["90"]["by_unit"] > told["intervals"]["80"]["by_unit"]
    assert record["comparison"]["mean_rank"] == {"toy": 1.5, "second": 1.5}
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(r for r in rows if (r["task"], r["level"], r["score"]) == ("depth", "stand", "mae"))
    assert float(row["value"]) == pytest.approx(told["stand"]["mae"], rel=1e-4)
    assert row["unit"] == "m"
    with (tmp_path / "confusion.csv").open(newline="") as file:
        cells = [r for r in csv.DictReader(file) if r["level"] == "pixel" and r["model"] == "toy"]
    assert sum(int(cell["count"]) for cell in cells) == evaluation.tasks[0].pixel.n
    with pytest.raises(OutputExistsError, match="overwrite"):
        write_tables(tmp_path, [evaluation], recipe="small")


class Checker(HTMLParser):
    """Counts tags, follows links, refuses anything from outside."""

    void = frozenset({"meta", "link", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.images, self.links, self.ids = [], 0, set(), []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag not in self.void:
            self.open.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            self.images += 1
            assert values["alt"]
        for key in ("src", "href"):
            address = values.get(key, "")
            assert not address or address.startswith(("data:", "#"))
            self.links |= {address[1:]} if address.startswith("#") else set()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_one_whole_page_without_anything_from_outside(evaluation):
    records = [
        {"epoch": 1, "loss": {"cover": 1.0, "depth": 2.0}, "rate": 0.1},
        {"epoch": 1, "validation": {"cover": {"balanced_accuracy": 0.5}}, "score": 0.5},
        {"epoch": 2, "loss": {"cover": 0.5, "depth": 1.0}, "rate": 0.1},
        {"epoch": 2, "validation": {"cover": {"balanced_accuracy": 0.4}}, "score": None},
    ]
    second = replace(evaluation, label="second")
    page = evaluation_page([evaluation, second], recipe="small", logs={"toy": records})
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.links == set(checker.ids)
    assert len(set(checker.ids)) == len(checker.ids)
    # two confusions, a reliability; density, errors; coverage; two scenes of two; three curves
    assert checker.images == 3 + 2 + 1 + 4 + 3
    assert number(evaluation.tasks[1].pixel.scores["mae"]) in page
    assert "Models side by side" in page


def test_the_error_histogram_has_100_bins_and_loses_no_pixel(evaluation):
    detail = evaluation.tasks[1].detail
    values, edges = error_histogram(detail)
    assert (len(values), len(edges)) == (100, 101)
    assert values.sum() == evaluation.tasks[1].pixel.n
    assert edges[50] == pytest.approx(0)
    assert edges[0] == -edges[-1]
    rare = np.zeros_like(detail.errors)
    rare[len(rare) // 2], rare[0], rare[-1] = 10_000, 1, 2
    values, edges = error_histogram(replace(detail, errors=rare))
    assert (values[0], values[50], values[-1]) == (1, 10_000, 2)
    assert edges[-1] < 1


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.000"), (-0.5, "-0.500"), (12345.6, "12346"), (99.96, "100.0")]
)
def test_numbers_keep_their_digits(value, text):
    assert number(value) == text


def test_an_error_has_the_decimals_of_its_value():
    assert with_error(2.345, 0.0512, unit="m") == "2.35 ± 0.05 m"
    assert with_error(0.5, float("nan")) == "0.500"


def test_a_page_escapes_what_it_is_given():
    page = Page("<b>", "&")
    page.heading("a < b")
    page.heading("a > b")
    page.table(("x",), [("<script>",)])
    text = page.render()
    assert "<script>" not in text
    assert 'id="a-b"' in text
    assert 'id="a-b-2"' in text

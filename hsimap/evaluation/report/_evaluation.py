"""The report of an evaluation: scores, confusion, density, errors, calibration, maps, curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hsimap.evaluation._detail import ClassDetail, TaskEvaluation, ValueDetail
from hsimap.evaluation._files import compare_evaluations
from hsimap.evaluation.report._class_figures import confusion_figure, reliability_figure
from hsimap.evaluation.report._html import Page, count, number, percent, with_error
from hsimap.evaluation.report._map_figures import maps_figure
from hsimap.evaluation.report._runs import add_curves
from hsimap.evaluation.report._value_figures import coverage_figure, density_figure, error_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsimap.evaluation._evaluate import ModelEvaluation
    from hsimap.tasks import Task

_MOST_SCENES: Final = 2
"""Scenes whose maps are shown."""
CLASS_COLUMNS: Final = {
    "overall_accuracy": "overall accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_accuracy": "macro accuracy",
    "macro_precision": "precision, macro",
    "macro_f1": "F1, macro",
    "weighted_f1": "F1, weighted",
    "macro_auc": "AUC, macro",
    "kappa": "kappa",
}
VALUE_COLUMNS: Final = {
    "rmse": "RMSE",
    "rrmse": "rRMSE",
    "mae": "MAE",
    "bias": "bias",
    "r2": "R²",
    "pearson": "Pearson r",
}
_RELIABILITY: Final = (
    "Reliability: on the dotted line a class is right as often as its probability says."
)
_IN_UNIT: Final = {"rmse", "mae", "bias"}


def evaluation_page(
    evaluations: Sequence[ModelEvaluation],
    *,
    recipe: str,
    logs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> str:
    """Return the report as one HTML page.

    Parameters
    ----------
    evaluations : sequence of ModelEvaluation
        The first is shown in detail; several are compared.
    recipe : str
        Name of the recipe whose labels were used.
    logs : mapping
        Model to the records of its training log; may lack models.
    """
    first = evaluations[0]
    names = ", ".join(found.label for found in evaluations)
    page = Page(
        f"Evaluation of {first.model}",
        f"{first.fold} fold of {recipe} · model folder {names} · digest {first.digest[:12]}",
    )
    _summary(page, first, n_models=len(evaluations))
    _scores(page, first)
    if len(evaluations) > 1:
        _seeds(page, evaluations)
    _categorical(page, first)
    _continuous(page, first)
    _calibration(page, first)
    _maps(page, first)
    add_curves(page, logs)
    _meaning(page, first)
    return page.render()


def _summary(page: Page, first: ModelEvaluation, *, n_models: int) -> None:
    page.heading("Summary")
    stands = max((found.stand[0].n for found in first.tasks if found.stand), default=0)
    pixels = max(found.pixel.n for found in first.tasks)
    unmapped = sum(found.pixel.n_unmapped for found in first.tasks)
    page.text(
        f"{len(first.tasks)} variables were compared with the labels of the {first.fold} fold:",
        f"up to {count(pixels)} pixels" + (f" in {count(stands)} stands." if stands else "."),
        f"{count(unmapped)} labels lie on pixels that are not mapped and are in no score."
        if unmapped
        else "Every labelled pixel was mapped.",
        f"Details are of the first of {n_models} models." if n_models > 1 else "",
    )
    means = first.aggregate()
    for kind, columns in (("categorical", _CLASS_MEANS), ("continuous", _VALUE_MEANS)):
        rows = [
            (group, *(number(values.get(name)) for name in columns))
            for group, values in means.items()
            if f" {kind} " in group
        ]
        if rows:
            page.table(("aggregation", *columns.values()), rows)


_CLASS_MEANS: Final = CLASS_COLUMNS | {"ece": "ECE"}
_VALUE_MEANS: Final = {
    "r2": "R²",
    "pearson": "Pearson r",
    "rrmse": "rRMSE",
    "rmse_of_range": "RMSE / range",
    "mae_of_range": "MAE / range",
}


def _scores(page: Page, first: ModelEvaluation) -> None:
    page.heading("Scores by variable")
    page.text(
        "After ± stands one standard error, by resampling whole blocks (pixels) or stands:",
        "neighbouring pixels repeat each other.",
        note=True,
    )
    for level in ("pixel", "stand"):
        for kind, columns in (("categorical", CLASS_COLUMNS), ("continuous", VALUE_COLUMNS)):
            found = [task for task in first.tasks if task.task.kind.value == kind]
            rows = [_row(task, level, columns) for task in found if level in task.levels()]
            if rows:
                page.heading(f"{kind.capitalize()}, by {level}", level=3)
                page.table(("variable", "n", *columns.values()), rows)


def _row(found: TaskEvaluation, level: str, columns: Mapping[str, str]) -> tuple[str, ...]:
    scores, errors = found.scores(level), found.levels()[level].standard_errors
    values = (
        with_error(
            scores.get(name, float("nan")),
            errors.get(name, float("nan")),
            unit=found.task.unit if name in _IN_UNIT else "",
        )
        for name in columns
    )
    return found.task.label, count(found.levels()[level].n), *values


def _seeds(page: Page, evaluations: Sequence[ModelEvaluation]) -> None:
    page.heading("Models side by side")
    page.text("By pixel: mean over the models, then the lowest and the highest.")
    for kind, columns in (("categorical", CLASS_COLUMNS), ("continuous", VALUE_COLUMNS)):
        of_kind = [found for found in evaluations[0].tasks if found.task.kind.value == kind]
        rows = []
        for task in of_kind:
            runs = [
                other.scores("pixel")
                for found in evaluations
                for other in found.tasks
                if other.task.name == task.task.name
            ]
            cells = []
            for name in columns:
                values = [run[name] for run in runs]
                low, high = number(min(values)), number(max(values))
                cells.append(f"{number(sum(values) / len(values))} ({low} to {high})")
            rows.append((task.task.label, task.task.unit, *cells))
        if rows:
            page.table(("variable", "unit", *columns.values()), rows, words=2)
    comparison = compare_evaluations(evaluations)
    page.table(
        ("model", "mean rank over the variables"),
        [(name, number(comparison.mean_rank[name])) for name in comparison.order],
    )


def _categorical(page: Page, first: ModelEvaluation) -> None:
    found = [task for task in first.tasks if isinstance(task.detail, ClassDetail)]
    if found:
        page.heading("Classes in detail")
    for task in found:
        page.heading(task.task.label, level=3)
        page.table(
            ("class", "code", "pixels", "precision", "recall", "F1", "AUC"),
            [
                (
                    str(row["name"]).replace("_", " "),
                    str(row["code"]),
                    count(row["support"]),
                    *(number(row[name]) for name in ("precision", "recall", "f1", "auc")),
                )
                for row in task.per_class()
            ],
        )
        figures = [
            (
                confusion_figure(task.task, scores),
                f"Confusion by {level}: share of the true class, and the number under it.",
            )
            for level, scores in task.levels().items()
        ]
        if isinstance(task.detail, ClassDetail):
            figures.append((reliability_figure(task.detail), _RELIABILITY))
        page.figures(*figures)


def _continuous(page: Page, first: ModelEvaluation) -> None:
    found = [task for task in first.tasks if isinstance(task.detail, ValueDetail)]
    if found:
        page.heading("Values in detail")
    for task in found:
        if isinstance(task.detail, ValueDetail):
            page.heading(task.task.label, level=3)
            stands = "; circles are stand means" if task.stand is not None else ""
            page.figures(
                (
                    density_figure(task, task.detail),
                    f"Pixels by true and mapped value, with both distributions{stands}.",
                ),
                (
                    error_figure(task, task.detail),
                    "Errors in 100 bins; the end bins hold the rest.",
                ),
            )


def _calibration(page: Page, first: ModelEvaluation) -> None:
    page.heading("Calibration")
    classes = [task for task in first.tasks if isinstance(task.detail, ClassDetail)]
    if classes:
        page.table(
            ("variable", "ECE", "negative log-likelihood", "Brier score"),
            [
                (
                    task.task.label,
                    *(number(task.scores("pixel")[n]) for n in ("ece", "nll", "brier")),
                )
                for task in classes
            ],
        )
    values = [
        (task.task, task.detail)
        for task in first.tasks
        if isinstance(task.detail, ValueDetail) and task.detail.coverage
    ]
    if values:
        _intervals(page, values, unit=first.unit)
    else:
        page.text("The model states no prediction intervals.")


def _intervals(page: Page, values: Sequence[tuple[Task, ValueDetail]], *, unit: str) -> None:
    page.text(
        f"Prediction intervals were calibrated on the {unit}s of the validation fold. What they"
        f" promise is the share of a new {unit}'s pixels whose truth they hold, averaged over the"
        f" {unit}s."
    )
    page.figures(
        (
            coverage_figure([(task.label, detail) for task, detail in values]),
            f"Coverage by {unit}; a mark on its dotted line keeps what was promised.",
        )
    )
    page.table(
        ("variable", "stated", f"by {unit}", "by pixel", "mean width", f"{unit}s"),
        [
            (
                task.label,
                f"{level} %",
                f"{percent(c.by_unit)} ± {100 * c.by_unit_error:.1f}",
                percent(c.by_pixel),
                number(c.width, unit=task.unit),
                count(c.units),
            )
            for task, detail in values
            for level, c in detail.coverage.items()
        ],
    )


def _maps(page: Page, first: ModelEvaluation) -> None:
    if not first.pictures:
        return
    page.heading("Maps beside the truth")
    shown = first.pictures[:_MOST_SCENES]
    steps = sorted({picture.step for picture in shown})
    if steps != [1]:
        page.text(f"Every {' or '.join(map(str, steps))}th pixel is drawn.", note=True)
    for picture in shown:
        page.heading(f"Scene {picture.scene}", level=3)
        for task in first.tasks:
            page.figures((maps_figure(task.task, picture), task.task.label))


def _meaning(page: Page, first: ModelEvaluation) -> None:
    page.heading("What the figures mean")
    rows = [
        ("overall accuracy", "hits over pixels; also the weighted recall"),
        ("balanced accuracy", "mean recall over the classes; also the macro recall"),
        (
            "macro accuracy",
            "mean over the classes of (TP + TN) / pixels, one class against the rest",
        ),
        ("macro, weighted", "plain mean over the classes; mean weighted by their pixels"),
        ("AUC", "area under the ROC curve of a class's probability against all others"),
        ("kappa", "Cohen's: agreement beyond chance"),
        ("ECE", "expected calibration error of the highest probability, 15 equal bins"),
        ("bias", "mean of mapped minus true"),
        ("rRMSE", "RMSE over the mean of the true values"),
        ("R²", "1 - residual over total sum of squares"),
        (
            "by stand",
            "a stand's value is the mean over its pixels, its class the most frequent one",
        ),
    ]
    page.table(("figure", "meaning"), rows, words=2)
    worst = max(
        (float(task.detail.auc_error[task.detail.auc_error >= 0].max(initial=0.0))
         for task in first.tasks if isinstance(task.detail, ClassDetail)),
        default=0.0,
    )  # fmt: skip
    if worst:
        page.text(
            f"Areas by pixel are taken from histograms of 4096 bins; they are exact to {worst:.1g}"
            f" or better.",
            note=True,
        )

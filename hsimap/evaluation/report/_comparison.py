"""The page of a comparison of recipes: ranks, cost, scores task by task, training losses."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from hsimap.evaluation._board import COSTS
from hsimap.evaluation.report._canvas import GREY, picture
from hsimap.evaluation.report._html import Page, count, number
from hsimap.evaluation.report._map_figures import curves_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsimap.evaluation._board import Board, Place

    Records = Sequence[Mapping[str, Any]]
_SCORES: Final = {"r2": "R²"}


def comparison_page(board: Board, *, logs: Mapping[str, Sequence[Records]]) -> str:
    """Return a comparison as one HTML page.

    Parameters
    ----------
    board : Board
        Models side by side.
    logs : mapping
        Model to the training log of each of its runs; may lack models.
    """
    runs = sum(len(board.runs[model]) for model in board.order)
    page = Page(
        f"{len(board.order)} models, the {board.fold} fold",
        f"{runs} runs on the same scenes, labels and folds",
    )
    _ranks(page, board)
    _scores(page, board)
    _losses(page, logs)
    return page.render()


def _ranks(page: Page, board: Board) -> None:
    page.heading("Ranks and cost")
    rows = []
    for model in board.order:
        cost, rank = board.cost(model), board.comparison.mean_rank.get(model)
        cells = (
            count(value) if value and value >= 1000 else number(value)  # noqa: PLR2004  # thousands
            for value in (cost[name] for name in COSTS)
        )
        rows.append((model, f"{len(board.runs[model])}", number(rank), *cells))
    page.table(("model", "runs", "mean rank", *COSTS.values()), rows)
    page.text(
        f"Mean rank over {len(board.comparison.scores)} tasks, 1 = best; of models that lack tasks"
        " there is none. CPU time is that of training, validation and export.",
        note=True,
    )
    if board.missing:
        names = ", ".join(f"{run.model} seed {run.seed}" for run in board.missing)
        page.text(f"Still to be done: {names}.")


def _scores(page: Page, board: Board) -> None:
    page.heading("Scores")
    places = {(place.task, place.model): place for place in board.places()}
    heads = {place.task: place.score for place in places.values()}
    page.figures((_score_figure(board, places, list(heads)), "score of each task"))
    rows = []
    for task, score in heads.items():
        found = (places.get((task, model)) for model in board.order)
        shown = _SCORES.get(score, score.replace("_", " "))
        rows.append((task, shown, *(_cell(place) for place in found)))
    page.table(("task", "score", *board.order), rows, words=2)
    page.text("Mean over the seeds, least and greatest in brackets.", note=True)


def _cell(place: Place | None) -> str:
    if place is None:
        return "-"
    spread = f" ({place.low:.3f}-{place.high:.3f})" if place.runs > 1 else ""
    return f"{place.mean:.3f}{spread}"


def _score_figure(
    board: Board, places: Mapping[tuple[str, str], Place], tasks: Sequence[str]
) -> str:
    """Draw a line a task with a mark a model, and the range of its seeds."""

    def draw(figure: Any) -> None:  # noqa: ANN401  # matplotlib has no types
        ax = figure.subplots()
        for k, model in enumerate(board.order):
            found = [(i, places.get((task, model))) for i, task in enumerate(tasks)]
            shift = 0.7 * ((k + 0.5) / len(board.order) - 0.5)
            known = [(i + shift, place) for i, place in found if place is not None]
            y = [at for at, _ in known]
            ax.hlines(y, [p.low for _, p in known], [p.high for _, p in known], color=f"C{k % 10}")
            marker = "os^Dv"[k // 10 % 5]
            ax.plot([p.mean for _, p in known], y, marker, color=f"C{k % 10}", ms=4, label=model)
        for edge in range(1, len(tasks)):
            ax.axhline(edge - 0.5, color=GREY, lw=0.4)
        ax.set(yticks=range(len(tasks)), yticklabels=tasks, ylim=(len(tasks) - 0.5, -0.5))
        ax.set(xlabel="balanced accuracy, or R²")
        ax.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))

    height = 0.6 + len(tasks) * max(0.28, 0.09 * len(board.order))
    return picture((7.6, height), draw)


def _losses(page: Page, logs: Mapping[str, Sequence[Records]]) -> None:
    curves = {model: _curve(runs) for model, runs in logs.items()}
    known = {model: points for model, points in curves.items() if points}
    if not known:
        return
    page.heading("Training loss")
    label = "sum of the tasks' losses"
    page.figures((curves_figure(known, label=label), f"{label}, mean over the seeds"))
    page.text(
        "Before they are weighted. Only recipes of the same tasks and the same losses have curves"
        " that can be compared.",
        note=True,
    )


def _curve(runs: Sequence[Records]) -> list[tuple[float, float]]:
    """Return epoch and loss, the mean over the runs that got so far."""
    sums: dict[int, list[float]] = {}
    for records in runs:
        for record in records:
            if record.get("loss") and "epoch" in record:
                sums.setdefault(record["epoch"], []).append(sum(record["loss"].values()))
    return [(float(epoch), fmean(losses)) for epoch, losses in sorted(sums.items())]

"""Training curves from the log of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hsimap.evaluation.report._map_figures import curves_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsimap.evaluation.report._html import Page

Curve = list[tuple[float, float]]


def add_curves(page: Page, logs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Add a section with the losses and the validation scores of each run; none without logs."""
    if not logs:
        return
    page.heading("Training")
    for model, records in logs.items():
        page.heading(f"Run {model}", level=3)
        score = _series(records, ("score",))
        best = max(score, key=lambda point: point[1])[0] if score else None
        figures = []
        for label, curves in (
            ("training loss", _nested(records, "loss")),
            ("validation score", {"mean": score}),
            ("validation score of a task", _validation(records)),
        ):
            known = {name: points for name, points in curves.items() if points}
            if known:
                kept = None if best is None else int(best)
                figures.append((curves_figure(known, label=label, best=kept), f"{label} by epoch"))
        page.figures(*figures)
    page.text("The dotted line is the epoch whose weights were kept.", note=True)


def _series(records: Sequence[Mapping[str, Any]], path: Sequence[str]) -> Curve:
    """Return epoch and value of every record that holds a number at a path of keys."""
    points = []
    for record in records:
        value: Any = record
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            points.append((float(record["epoch"]), float(value)))
    return points


def _nested(records: Sequence[Mapping[str, Any]], key: str) -> dict[str, Curve]:
    names = {name: None for record in records for name in record.get(key) or {}}
    return {name: _series(records, (key, name)) for name in names}


def _validation(records: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {}
    for record in records:
        for name, scores in (record.get("validation") or {}).items():
            score = "r2" if "r2" in scores else "balanced_accuracy"
            value = scores.get(score)
            if isinstance(value, int | float):
                label = f"{name} ({'R²' if score == 'r2' else 'balanced accuracy'})"
                curves.setdefault(label, []).append((float(record["epoch"]), float(value)))
    return curves

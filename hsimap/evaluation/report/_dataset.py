"""The page of a recipe's labels: distributions, separability, folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.evaluation.report._class_figures import distribution_figure, pairs_figure, short
from hsimap.evaluation.report._html import Page, count, number, percent
from hsimap.evaluation.report._map_figures import folds_figure
from hsimap.evaluation.report._value_figures import histogram_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.evaluation._dataset import Dataset, Distribution

_SHOWN_BINS: Final = 50
_FOLD_NAMES: Final = ("no fold", "training", "validation", "test")
_MOST_SCENES: Final = 12
"""Maps of folds that are drawn."""


def dataset_page(found: Dataset, *, recipe: str, notes: Sequence[str]) -> str:
    """Return the analysis of a recipe's labels as one HTML page.

    Parameters
    ----------
    found : Dataset
        The analysis.
    recipe : str
        Name of the recipe.
    notes : sequence of str
        What was guessed or dropped when the files were opened.
    """
    page = Page(
        f"Labels of {recipe}",
        f"{len(found.scenes)} scenes · {len(found.distributions)} variables · training windows of"
        f" {found.patch} px",
    )
    _folds(page, found)
    _offsets(page, found)
    _distributions(page, found)
    _separability(page, found)
    if notes:
        page.heading("Notes")
        page.table(("what was guessed, dropped or is unusual",), [(note,) for note in notes])
    return page.render()


def _folds(page: Page, found: Dataset) -> None:
    page.heading("Folds and leaks")
    page.text(
        found.verdict,
        f"{percent(found.foreign_share)} of the pixels in training windows belong to other folds:",
        "the network sees their spectra there, never their labels.",
    )
    page.table(
        (
            "scene", "size [px]", *(f"{fold} [px]" for fold in _FOLD_NAMES[1:]),
            "stands in each fold", "stands in several", "test to training, nearest [px]",
            "test pixels whose window reaches training",
        ),
        [
            (
                scene.scene,
                f"{scene.shape[0]} x {scene.shape[1]}",
                *(count(n) for n in scene.pixels.values()),
                " / ".join(str(n) for n in scene.stands.values()) or "-",
                str(scene.shared_stands) if scene.stands else "-",
                "-" if scene.nearest is None else str(scene.nearest),
                "-" if scene.within_window is None else percent(scene.within_window),
            )
            for scene in found.scenes
        ],
    )  # fmt: skip
    page.figures(
        *(
            (folds_figure(scene.picture, () if i else _FOLD_NAMES), f"Folds of {scene.scene}.")
            for i, scene in enumerate(found.scenes[:_MOST_SCENES])
        )
    )


def _offsets(page: Page, found: Dataset) -> None:
    if not found.offsets:
        return
    page.heading("Place of the labels")
    page.text(
        "How far the labels of the training and validation folds lie below and to the right of the"
        " image: where the spectra around them explain them best. An offset is told if it is more",
        "than three standard errors, and those are below a quarter of a pixel.",
    )
    page.table(
        (
            "scene",
            "pixels",
            "down [px]",
            "right [px]",
            "explained as they are",
            "moved",
            "for the recipe",
        ),
        [
            (
                offset.scene,
                count(offset.pixels),
                *(
                    f"{part:+.2f} ± {error:.2f}"
                    for part, error in zip(offset.offset, offset.standard_error, strict=True)
                ),
                *(percent(share) for share in offset.explained),
                offset.setting or "-",
            )
            for offset in found.offsets
        ],
    )


def _distributions(page: Page, found: Dataset) -> None:
    for kind, title in ((True, "Class distributions"), (False, "Value distributions")):
        tasks = [task for task in found.distributions if bool(task.task.classes) is kind]
        if tasks:
            page.heading(title)
        for task in tasks:
            page.heading(task.task.label, level=3)
            _table(page, task)
            page.figures((_figure(task), "Shares within each fold."))


def _table(page: Page, task: Distribution) -> None:
    folds = list(task.counts)
    if task.edges is None:
        rows = []
        for k, label in enumerate(task.task.classes):
            counts = [task.counts[fold] for fold in folds]
            cells = (
                f"{count(c[k])} ({percent(c[k] / c.sum()) if c.sum() else '-'})" for c in counts
            )
            rows.append((label.name.replace("_", " "), str(label.code), *cells))
        page.table(("class", "code", *folds), rows)
        return
    rows = []
    for fold in folds:
        quantiles = task.quantiles(fold)
        if quantiles:
            mean, std = task.moments[fold]
            cells = (number(v, unit=task.task.unit) for v in (mean, std, *quantiles.values()))
            rows.append((fold, count(task.counts[fold].sum()), *cells))
    head = ("5 %", "25 %", "median", "75 %", "95 %")
    page.table(("fold", "pixels", "mean", "std. deviation", *head), rows)


def _figure(task: Distribution) -> str:
    shares = {fold: counts / counts.sum() for fold, counts in task.counts.items() if counts.sum()}
    if task.edges is None:
        labels = task.task.classes
        names, colors = [short(c.name) for c in labels], [c.color for c in labels]
        return distribution_figure(names, shares, colors)
    each = len(task.edges) // _SHOWN_BINS
    wide = {fold: values.reshape(-1, each).sum(axis=1) for fold, values in shares.items()}
    unit = "" if task.task.unit in {"", "1"} else f" [{task.task.unit}]"
    return histogram_figure(f"{task.task.label}{unit}", task.edges[::each], wide)


def _separability(page: Page, found: Dataset) -> None:
    if not found.separabilities:
        return
    page.heading("Separability of the classes")
    page.text(
        "From normal distributions fitted to the training pixels of each class; 0 = alike, 2 ="
        " apart. Above 1.9 two classes are told apart well, below 1 hardly."
    )
    for pair in found.separabilities:
        page.heading(pair.task.label, level=3)
        page.text(
            f"In {pair.components} principal components, which hold {percent(pair.variance)} of the"
            f" variance; classes with fewer than 20 pixels are left out.",
            note=True,
        )
        names = [short(name) for name in pair.names]
        page.figures(
            (
                pairs_figure(names, pair.jeffries_matusita, what="Jeffries-Matusita"),
                f"Least: {number(_least(pair.jeffries_matusita))}.",
            ),
            (
                pairs_figure(names, pair.transformed_divergence, what="transformed divergence"),
                f"Least: {number(_least(pair.transformed_divergence))}.",
            ),
        )


def _least(values: np.ndarray) -> float:
    return float(values[np.tri(len(values), k=-1, dtype=bool)].min())

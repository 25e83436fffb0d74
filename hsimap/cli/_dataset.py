"""The recipe branch of ``hsimap inspect``: what its labels are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hsimap.evaluation import Dataset

PAGE: Final = "dataset.html"
FACTS: Final = "dataset.json"


def inspect_recipe(
    path: Path,
    *,
    data: Path | None,
    overrides: list[str] | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Analyse the labels of a recipe; print them, and write a page if a folder is named."""
    from hsimap.evaluation import describe_dataset, write_texts
    from hsimap.evaluation._results import finite
    from hsimap.labels import TRAIN
    from hsimap.recipes import load_recipe
    from hsimap.training import foreign_share, make_sampler, open_recipe

    recipe = load_recipe(path, overrides=overrides or (), data=data)
    with open_recipe(recipe) as opened:
        views = [scene.view(TRAIN) for scene in opened.scenes]
        masked = all(scene.context == "mask" for scene in opened.scenes)
        share = 0.0 if masked else foreign_share(make_sampler(views, recipe.training), views)
        found = describe_dataset(
            opened.scenes, recipe.tasks_list(), patch=recipe.training.patch, foreign_share=share
        )
        notes = opened.notes
    record = finite({"recipe": recipe.name, **found.as_dict(), "notes": list(notes)})
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    if out is not None:
        from hsimap.evaluation.report import dataset_page

        page = dataset_page(found, recipe=recipe.name, notes=notes)
        write_texts(out, {PAGE: page, FACTS: f"{text}\n"}, overwrite=overwrite)
    if as_json:
        typer.echo(text)
        return
    for line in _lines(found):
        typer.echo(line)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if out is not None:
        typer.echo(f"{out / PAGE}")


def _lines(found: Dataset) -> Iterator[str]:
    yield from _fold_lines(found)
    for task in found.distributions:
        yield f"{task.task.name} ({task.task.kind.value}, {task.task.unit or 'no unit'})"
        for fold, told in task.as_dict()["folds"].items():
            inner = told.get("classes") or {k: f"{v:.4g}" for k, v in told.items() if k != "pixels"}
            shown = ", ".join(f"{name} {value}" for name, value in inner.items())
            yield f"  {fold:10} {told['pixels']:>9} px  {shown}"
    for pair in found.separabilities:
        yield (
            f"separability of {pair.task.name}, {pair.components} principal components"
            f" ({100 * pair.variance:.1f} % of the variance): Jeffries-Matusita, transformed"
            f" divergence (0 to 2)"
        )
        for i, name in enumerate(pair.names):
            for j in range(i):
                values = pair.jeffries_matusita[i, j], pair.transformed_divergence[i, j]
                yield f"  {pair.names[j]} / {name}: {values[0]:.2f}, {values[1]:.2f}"


def _fold_lines(found: Dataset) -> Iterator[str]:
    for scene in found.scenes:
        pixels = ", ".join(f"{fold} {n}" for fold, n in scene.pixels.items())
        yield f"scene {scene.scene}: {scene.shape[0]} x {scene.shape[1]} px; pixels: {pixels}"
        if scene.stands:
            yield "  stands: " + ", ".join(f"{fold} {n}" for fold, n in scene.stands.items())
        if scene.nearest is not None and scene.within_window is not None:
            yield (
                f"  test to training: {scene.nearest} px at the nearest;"
                f" {100 * scene.within_window:.1f} % of the test pixels have training pixels in"
                f" their window of {found.patch} px"
            )
    yield (
        f"training windows: {100 * found.foreign_share:.1f} % of their pixels belong to other folds"
        f" (spectra only, never labels)"
    )
    yield found.verdict
    for offset in found.offsets:
        yield f"scene {offset.scene}: {offset.verdict}"

"""From a recipe to labelled scenes with one band list."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from hsimap.bundle import InputSpec
from hsimap.errors import InputError, UsageError
from hsimap.geometry import Window
from hsimap.labels import (
    StandSplit,
    finish_folds,
    open_folds,
    open_labels,
    read_stands,
    shared_stand_folds,
)
from hsimap.mapping.adapter import SceneAdapter, Source
from hsimap.mapping.displaced import DisplacedSource
from hsimap.recipes import scene_files, select_bands
from hsimap.scenes import open_scene
from hsimap.spectra import Bands, match_bands
from hsimap.tasks import Kind
from hsimap.training._folds import LabelledScene, LabelReader
from hsimap.training._memory import InMemoryLabels, InMemorySource, Room

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from hsimap.geometry import Grid
    from hsimap.recipes import InputSettings, Recipe, SceneFiles
    from hsimap.scenes import Scene
    from hsimap.tasks import Task

_ROWS: Final = 512
"""Rows of labels that are looked at together."""

_BLOCK: Final = 10
"""Side in pixels of the squares that standard errors are resampled over, where none is stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeScenes:
    """The open scenes of a recipe; use it in a ``with`` block, which closes the files."""

    scenes: tuple[LabelledScene, ...]
    input: InputSpec
    """Bands, scale and nodata rule that the model will have."""
    notes: tuple[str, ...]
    """What was guessed, dropped or is unusual, a sentence each."""
    files: ExitStack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.files.close()


class NoLabels:
    """Labels of a task that a scene has none of.

    Parameters
    ----------
    task : Task
        The task.
    """

    def __init__(self, task: Task) -> None:
        self._categorical = task.kind is Kind.CATEGORICAL

    def read(self, window: Window) -> NDArray[Any]:
        """Return ``(y, x)``: -1 or NaN everywhere."""
        shape = (window.height, window.width)
        if self._categorical:
            return np.full(shape, -1, dtype=np.int64)
        return np.full(shape, np.nan, dtype=np.float32)


def open_recipe(recipe: Recipe, model: InputSpec | None = None) -> RecipeScenes:
    """Open the scenes, labels and folds of a recipe.

    Parameters
    ----------
    recipe : Recipe
        As :func:`hsimap.recipes.load_recipe` returns it.
    model : InputSpec, optional
        Read the bands of this model instead of those that the recipe chooses.

    Returns
    -------
    RecipeScenes

    Raises
    ------
    UsageError, InputError, MismatchError
        If a file is missing, damaged or does not fit the others.
    """
    with ExitStack() as stack:
        files = scene_files(recipe)
        opened = [stack.enter_context(_open(file, recipe.input)) for file in files]
        wanted, notes = model, list[str]()
        if wanted is None:
            kept, notes = choose_bands(opened, recipe.input)
            wanted = _input_spec(opened[0], kept)
        labelled, counted = [], []
        joint = {k for members in _split_alike(files) for k in members}
        room = Room(recipe.training.cache_gib)
        for number, (scene, file) in enumerate(zip(opened, files, strict=True)):
            labels = _open_labels(recipe, file, scene.grid, stack)
            notes += [f"{file.name}: {note}" for label in labels.values() for note in label.notes]
            adapter = SceneAdapter(scene, wanted)
            notes += [f"{file.name}: {note}" for note in adapter.notes]
            keep = room.take(adapter, n_tasks=len(labels))
            whole, pixels = _labelled(recipe, file, adapter, labels=labels, keep=keep)
            if number not in joint:
                folds = _own_folds(recipe, file, scene.grid, (whole.stands, pixels))
                whole = replace(whole, folds=folds)
            labelled.append(whole)
            counted.append(pixels)
        return RecipeScenes(
            scenes=_deal_together(labelled, files, counted),
            input=wanted,
            notes=tuple(dict.fromkeys(notes)),
            files=stack.pop_all(),
        )


def choose_bands(
    scenes: Sequence[Scene], settings: InputSettings
) -> tuple[tuple[int, ...], list[str]]:
    """Return the bands of the first scene that the model will read.

    Left out are bands that the recipe leaves out or calls bad, that the scene declares bad, or
    that hold no data in any one of the scenes.

    Returns
    -------
    bands : tuple of int
        Counted from 0, in file order.
    notes : list of str
        How many were dropped and why.

    Raises
    ------
    InputError
        If no band is left.
    """
    first, n = scenes[0], scenes[0].bands.n
    asked = (
        range(n) if settings.bands is None else select_bands(settings.bands, n=n, key="input.bands")
    )
    bad = (
        ()
        if settings.bad_bands is None
        else select_bands(settings.bad_bands, n=n, key="input.bad_bands")
    )
    good = [i for i in asked if first.bands.good[i] and i not in set(bad)]
    dead = first.dead_bands()
    kept = [i for i in good if i not in dead]
    for other in scenes[1:]:
        match = match_bands(_subset(first.bands, kept), other.bands)
        dead = other.dead_bands()
        kept = [i for i, j in zip(kept, match.indices, strict=True) if j not in dead]
    if not kept:
        raise InputError(f"no band of {first.name} is left: all are bad, dead or not selected")
    notes = []
    if len(kept) < n:
        notes.append(
            f"{len(kept)} of {n} bands are used: {n - len(good)} left out or bad,"
            f" {len(good) - len(kept)} without data"
        )
    return tuple(kept), notes


def _open(file: SceneFiles, settings: InputSettings) -> Scene:
    scene = open_scene(file.image, nodata=settings.nodata, scale=settings.scale)
    if settings.wavelengths is not None:
        if len(settings.wavelengths) != scene.bands.n:
            raise UsageError(
                f"input.wavelengths has {len(settings.wavelengths)} numbers, but {file.image} has"
                f" {scene.bands.n} bands; give one for each band of the file"
            )
        scene.bands = replace(scene.bands, wavelength_nm=settings.wavelengths, fwhm_nm=None)
    return scene


def _input_spec(scene: Scene, kept: Sequence[int]) -> InputSpec:
    bands = _subset(scene.bands, kept)
    return InputSpec(
        n_bands=bands.n,
        wavelength_nm=bands.wavelength_nm,
        fwhm_nm=bands.fwhm_nm,
        scale=scene.scale,
        nodata=None if scene.nodata is None or np.isnan(scene.nodata) else scene.nodata,
        dtype=scene.dtype.name,
    )


def _subset(bands: Bands, kept: Sequence[int]) -> Bands:
    def pick(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(values[i] for i in kept)

    return Bands(
        wavelength_nm=pick(bands.wavelength_nm),
        fwhm_nm=pick(bands.fwhm_nm),
        good=(True,) * len(kept),
    )


def _open_labels(recipe: Recipe, file: SceneFiles, grid: Grid, stack: ExitStack) -> dict[str, Any]:
    labels = {}
    for task in recipe.all_tasks():
        if task.name in file.labels:
            labels[task.name] = open_labels(task, file.labels[task.name], grid=grid, root=file.root)
            stack.callback(labels[task.name].close)
    return labels


def _labelled(
    recipe: Recipe,
    file: SceneFiles,
    adapter: SceneAdapter,
    *,
    labels: Mapping[str, LabelReader],
    keep: bool,
) -> tuple[LabelledScene, NDArray[np.bool_]]:
    """Return a scene with labels, without folds, and which of its pixels count for shares."""
    grid = adapter.grid
    readers: dict[str, LabelReader] = {
        task.name: labels.get(task.name) or NoLabels(task) for task in recipe.all_tasks()
    }
    chosen = [task.name for task in recipe.tasks_list()]
    if keep:
        kept = {name: InMemoryLabels(labels[name], grid) for name in chosen if name in labels}
        readers = readers | kept
    stands = None
    if file.stands is not None:
        stands = read_stands(file.stands, grid=grid, root=file.root)
    counted = _labelled_pixels(readers, grid, file.split.require)
    beside = any(file.label_offset)
    source: Source = DisplacedSource(adapter, file.label_offset) if beside else adapter
    scene = LabelledScene(
        name=file.name,
        source=InMemorySource(source, grid) if keep else source,
        labels={name: readers[name] for name in chosen},
        folds=np.zeros((grid.height, grid.width), np.uint8),
        context=file.split.context,
        stands=stands,
        block=file.split.block or (file.split.blocks.size if file.split.blocks else _BLOCK),
    )
    return scene, counted


def _own_folds(
    recipe: Recipe,
    file: SceneFiles,
    grid: Grid,
    pixels: tuple[NDArray[np.int32] | None, NDArray[np.bool_]],
) -> NDArray[np.uint8]:
    """Return the folds of a scene that is split by itself, of its stands and labelled pixels."""
    return open_folds(
        file.split,
        grid=grid,
        root=file.root,
        stands=pixels[0],
        labelled=pixels[1],
        patch=recipe.training.patch,
    )


def _split_alike(files: Sequence[SceneFiles]) -> list[list[int]]:
    """Return the numbers of scenes whose stands are dealt out alike, two or more together."""
    alike: dict[str, list[int]] = {}
    for number, file in enumerate(files):
        if file.split.stands is not None and file.split.stands.table is None:
            alike.setdefault(file.split.stands.model_dump_json(), []).append(number)
    return [members for members in alike.values() if len(members) > 1]


def _deal_together(
    scenes: Sequence[LabelledScene], files: Sequence[SceneFiles], counted: Sequence[NDArray[Any]]
) -> tuple[LabelledScene, ...]:
    """Deal the stands of scenes that are split alike out, each to one fold in all of them."""
    whole = list(scenes)
    for members in _split_alike(files):
        split = files[members[0]].split.stands or StandSplit()
        stands = [ids for ids in (scenes[k].stands for k in members) if ids is not None]
        dealt = shared_stand_folds(stands, [counted[k] for k in members], split)
        for k, folds in zip(members, dealt, strict=True):
            whole[k] = replace(scenes[k], folds=finish_folds(folds, files[k].split, counted[k]))
    return tuple(whole)


def _labelled_pixels(
    readers: Mapping[str, LabelReader], grid: Grid, required: Sequence[str]
) -> NDArray[np.bool_]:
    """Return ``(y, x)``: True where a pixel carries any label, or all that are required."""
    wanted = [readers[name] for name in required] or list(readers.values())
    found = np.full((grid.height, grid.width), bool(required))
    for row in range(0, grid.height, _ROWS):
        strip = Window(row=row, col=0, height=min(_ROWS, grid.height - row), width=grid.width)
        for reader in wanted:
            values = reader.read(strip)
            has = np.isfinite(values) if values.dtype.kind == "f" else values >= 0
            if required:
                found[strip.slices] &= has
            else:
                found[strip.slices] |= has
    return found

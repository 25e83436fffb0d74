"""The training recipe: what may be written, what is the default, what it means."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from hsimap.config import Settings, unknown_key
from hsimap.labels import LabelSpec, SplitSpec, StandSpec
from hsimap.recipes._bands import BandSelection
from hsimap.recipes._digest import data_digest, recipe_digest
from hsimap.recipes._training import TrainingSettings
from hsimap.tasks import Task, task_from_mapping


def _checked_tasks(tasks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    for name, mapping in tasks.items():
        task_from_mapping(name, mapping)
    return tasks


_Offset = Annotated[float, Field(ge=-16, le=16)]


class SampleSpec(Settings):
    """A synthetic scene, generated into the cache when it is first needed."""

    size: int = Field(default=256, ge=32, le=8192)
    """Side of the scene in pixels."""
    seed: int = Field(default=1, ge=0)
    """Which scene; 0 is the one that is shipped in sample_data."""
    campaign: int | None = Field(default=None, ge=2, le=64)
    """Instead of one scene: so many overlapping flight lines, each turned its own way, over one
    forest of this size. A stand is in one fold in all of them."""


class SceneSpec(Settings):
    """One scene: exactly one of image and sample."""

    image: str | None = None
    """GeoTIFF or ENVI file. This and every other path starts from `data:` of the recipe if given,
    else from --data, else from $HSIMAP_DATA, else from the recipe's folder."""
    sample: SampleSpec | None = None
    """A synthetic scene instead of an image; its labels, stands and split are known."""
    labels: dict[str, LabelSpec] = Field(default_factory=dict)
    """Labels by task: {raster, band, nodata, scale, ignore, clip}, or of polygons and points
    {vector, layer, field, classes, buffer, rule, min_coverage}. A scene may lack tasks, a pixel
    any label."""
    stands: StandSpec | None = None
    """Stand ids: {raster, band, exclude} or {vector, field}; for metrics per stand and splits by
    stand."""
    split: SplitSpec | None = None
    """Folds: {raster, band, train, validation, test}, {field, shares, seed}, {field, train, ...},
    {blocks: {size, buffer, shares, seed}}, {stands: {shares, seed}} or {stands: {table: ...}};
    each with context: share or mask."""
    label_offset: Annotated[tuple[_Offset, _Offset], Field(strict=False)] = (0.0, 0.0)
    """[rows, columns]: how far labels, stands and folds lie below and to the right of the image, in
    pixels and parts of one; `hsimap inspect RECIPE` measures it. Training and evaluation see the
    image moved there; maps of `hsimap predict` lie on the image."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.image is None) == (self.sample is None):
            raise ValueError("a scene has either image or sample")
        return self

    def complete(self, recipe: Recipe) -> SceneSpec:
        """Return the scene with what the recipe states for all scenes where it states nothing.

        Raises
        ------
        ValueError
            If labels or folds are then missing still.
        """
        if self.sample is not None:
            return self
        stands, split = self.stands or recipe.stands, self.split or recipe.split
        labels = self.labels or recipe.labels
        if split is not None and split.field is not None and split.vector is None:
            split = split.model_copy(update={"vector": _only_vector(labels, stands)})
        whole = {"labels": labels, "stands": stands, "split": split}
        return self.model_copy(update=whole).checked()

    def checked(self) -> SceneSpec:
        """Return the scene if it is complete.

        Raises
        ------
        ValueError
            If labels or folds are missing.
        """
        if self.image is not None and not self.labels:
            raise ValueError(f"scene {self.image} has no labels")
        if self.image is not None and self.split is None:
            raise ValueError(
                f"scene {self.image} has no split; give {{raster: ...}}, {{blocks: {{size: ...}}}}"
                f" or {{stands: {{}}}}"
            )
        if self.image and self.split and self.split.stands and self.stands is None:
            raise ValueError(f"scene {self.image}: a split by stands needs stands: {{raster: ...}}")
        if self.split and self.split.field and self.split.vector is None:
            raise ValueError(
                f"scene {self.image}: a split by field needs vector: the file of the features, as"
                " labels and stands name no single one"
            )
        return self

    @property
    def title(self) -> str:
        """What the scene is called: its path without the ending, or the sample's size and seed."""
        if self.sample is not None:
            kind = "sample" if self.sample.campaign is None else f"campaign{self.sample.campaign}"
            return f"{kind}_{self.sample.size}_{self.sample.seed}"
        return PurePath(self.image or "").with_suffix("").as_posix()


def _only_vector(labels: dict[str, LabelSpec], stands: StandSpec | None) -> str | None:
    """Return the vector file that labels and stands name, if it is one."""
    named = {spec.vector for spec in (*labels.values(), stands) if spec is not None}
    named.discard(None)
    return named.pop() if len(named) == 1 else None


class InputSettings(Settings):
    """What is known of the scenes and how their values enter the network."""

    scale: float | None = Field(default=None, gt=0)
    """Reflectance (0 to 1) per stored unit, as 0.0001. null: what the scene states."""
    normalise: Literal["standardise", "minmax", "l2", "none"] = "standardise"
    """standardise: each band to mean 0 and standard deviation 1 of the training windows; minmax:
    each band to 0 to 1; l2: each spectrum to length 1; none: stored values."""
    wavelengths: Annotated[tuple[float, ...], Field(strict=False, min_length=1)] | None = None
    """Band centres in nm, one for each band of the file. null: what the scene states."""
    bands: BandSelection | None = None
    """Bands that are used, counted from 0: "0:110" (the end is left out), "3,5,10:20" or a list.
    null: all good ones."""
    bad_bands: BandSelection | None = None
    """Bands that are dropped, counted from 0 and written as `bands` is, beside those that the
    scene declares bad and those without data."""
    nodata: float | None = Field(default=None, allow_inf_nan=True)
    """Stored value of a missing sample. null: what the scene declares."""


class Recipe(Settings):
    """A training recipe."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the model; letters, digits, dot, dash, underscore."""
    description: str = ""
    """One line for lists of recipes."""
    data: str | None = None
    """Folder that paths start from, itself relative to the recipe's folder; see image."""
    obtain: str = ""
    """Where the files can be had; said when one is missing."""
    scenes: Annotated[tuple[SceneSpec, ...], Field(strict=False, min_length=1)]
    """One or more scenes with the same bands."""
    labels: dict[str, LabelSpec] = Field(default_factory=dict)
    """Labels of every image that states none of its own, as one file of stands over many scenes."""
    stands: StandSpec | None = None
    """Stands of every image that states none of its own."""
    split: SplitSpec | None = None
    """Folds of every image that states none of its own."""
    tasks: Annotated[dict[str, dict[str, Any]], Field(min_length=1), AfterValidator(_checked_tasks)]
    """What is mapped, by name: {kind: categorical, classes: {code: name}, colors: {code: "#..."}}
    or {kind: continuous, unit, range: [low, high]}; each may have a title. Code 0 is "no label"
    unless it is named as a class."""
    only_tasks: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Tasks that are trained and mapped, by name, as for a single-task twin: folds are those of the
    whole recipe. null: all."""
    input: InputSettings = InputSettings()
    """What is known of the scenes and how their values enter the network."""
    network: dict[str, Any] = Field(
        default_factory=lambda: {"architecture": "taiga", "preset": "tiny"}
    )
    """architecture (taiga, spectral_spatial, or one to compare with: docs/networks.md), preset
    (paper, half, small, tiny), and any field of that architecture's settings."""
    training: TrainingSettings = TrainingSettings()
    """How the network is fitted."""
    seeds: int | None = Field(default=None, ge=1)
    """Trials that `hsimap train` runs, with training.seed 0, 1, ..., each into a folder of its own,
    and then compares. null: one run with training.seed."""
    _root: Path = PrivateAttr(default=Path())

    @property
    def root(self) -> Path:
        """The folder that relative paths start from; no part of the recipe's identity."""
        return self._root

    def at(self, root: Path) -> Self:
        """Return the recipe with its paths starting from another folder."""
        moved = self.model_copy()
        moved._root = root  # noqa: SLF001 - of the copy
        return moved

    def tasks_list(self) -> tuple[Task, ...]:
        """Return the tasks that are trained, in the order of the recipe."""
        chosen = self.tasks if self.only_tasks is None else self.only_tasks
        return tuple(task for task in self.all_tasks() if task.name in chosen)

    def all_tasks(self) -> tuple[Task, ...]:
        """Return the tasks that the recipe describes; their labels decide on splits."""
        return tuple(task_from_mapping(name, mapping) for name, mapping in self.tasks.items())

    def complete_scenes(self) -> tuple[SceneSpec, ...]:
        """Return the scenes, with the labels, stands and folds that are stated for all."""
        return tuple(scene.complete(self) for scene in self.scenes)

    @property
    def digest(self) -> str:
        """Sha256 of everything that shapes the model, defaults included, machine paths not.

        The data's folder, the description, the number of trials and where the training runs do
        not count; of an absolute path only the name does. A field that came after the first
        results counts once it is not at its default, so that older results keep their digest.
        """
        return recipe_digest(self, self.all_tasks())

    @property
    def data_digest(self) -> str:
        """Sha256 of scenes, labels, folds and tasks: scores of recipes that agree in it compare."""
        return data_digest(self, self.all_tasks())

    def seeded(self, seed: int) -> Self:
        """Return the recipe with another ``training.seed``."""
        training = self.training.model_copy(update={"seed": seed})
        return self.model_copy(update={"training": training}).at(self.root)

    @model_validator(mode="after")
    def _check(self) -> Self:
        scenes = self.complete_scenes()
        titles = [scene.title for scene in self.scenes]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"scene {title} is listed twice, so that folds would leak")
        named = {task for scene in scenes for task in scene.labels} | set(self.labels)
        required = [task for scene in scenes if scene.split for task in scene.split.require]
        for task in [*named, *required, *self.training.task_weights, *(self.only_tasks or ())]:
            if task not in self.tasks:
                raise ValueError(f"unknown task `{task}`; {unknown_key(task, self.tasks)}")
        for task in self.tasks:
            if task not in named and all(scene.sample is None for scene in self.scenes):
                raise ValueError(f"task {task!r} has no labels in any scene")
        return self

"""What a network is built from, as plain data; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from hsimap.networks._settings import NetworkSettings
from hsimap.tasks import Kind, Output, Strict, Task, main_output


class NormalisationSpec(Strict):
    """How stored values become network values; the numbers are per band, in storage units."""

    mode: Literal["standardise", "minmax", "l2", "none"] = "standardise"
    """``standardise`` and ``minmax``: (x - mean) / std, where minmax has the minimum for mean and
    the width of the range for std; ``l2``: x over the pixel's norm along the bands."""
    mean: tuple[float, ...] = ()
    """One a band; empty = 0."""
    std: tuple[float, ...] = ()
    """One a band, positive; empty = 1."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.mean) != len(self.std) or min(self.std, default=1.0) <= 0:
            raise ValueError("normalisation needs one mean and one positive std a band")
        return self


class NetworkSpec(Strict):
    """Everything that determines a network but its weights; what a bundle stores of it."""

    settings: SerializeAsAny[NetworkSettings]
    """Kept with the preset's numbers filled in, so that a stored spec outlives the preset."""
    n_bands: int = Field(ge=1)
    patch: int = Field(ge=1)
    """Side of the training patch in pixels: the window that the attention pools over."""
    tasks: tuple[Task, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)
    """The main output of each task, in the order of the tasks."""
    normalisation: NormalisationSpec
    scaling: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Continuous task to (offset, gain): value = offset + gain * network's number."""
    temperature: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """Categorical task to the number that its logits are divided by before they become
    probabilities; 1 where a task is not named. No class map depends on it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for task in self.tasks:
            if task.kind is Kind.SCENE:
                raise ValueError(f"task {task.name!r}: no architecture here classifies scenes")
        strides = [output.stride for output in self.outputs]
        if len(strides) != len(self.tasks) or list(self.outputs) != [
            main_output(task, stride=stride)
            for task, stride in zip(self.tasks, strides, strict=True)
        ]:
            raise ValueError("outputs must be the main outputs of the tasks, in their order")
        bands = len(self.normalisation.mean)
        if bands not in {0, self.n_bands}:
            raise ValueError(f"normalisation has {bands} bands, the input {self.n_bands}")
        continuous = {task.name for task in self.tasks if task.kind is Kind.CONTINUOUS}
        if not set(self.scaling) <= continuous:
            raise ValueError(
                f"scaling names {sorted(set(self.scaling) - continuous)}, which is no"
                f" continuous task"
            )
        categorical = {task.name for task in self.tasks if task.kind is Kind.CATEGORICAL}
        if not set(self.temperature) <= categorical:
            raise ValueError(
                f"temperature names {sorted(set(self.temperature) - categorical)}, which is no"
                f" categorical task"
            )
        return self


def head_name(task: str) -> str:
    """Return the module name of a task's head; a bare task name could hide a method of torch's."""
    return f"head_{task}"

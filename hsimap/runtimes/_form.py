"""The YAML file of ``hsimap import``, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, ValidationError, model_validator

from hsimap.bundle import BundleFields
from hsimap.errors import UsageError
from hsimap.geometry import round_up
from hsimap.runtimes._compose import Tap
from hsimap.tasks import Kind, Output, Role, Strict, Task, main_output, task_from_mapping

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_MAX_TILE: Final = 1024
_RAMP: Final = 8
_SIDE_ROLES: Final = (Role.STD, Role.LOW, Role.HIGH)


class _Numbers(Strict):
    model_config = ConfigDict(allow_inf_nan=False)


class ImportInput(_Numbers):
    """What the network reads."""

    bands: int | None = Field(default=None, ge=1)
    """Needed only where neither wavelengths nor the graph name the number."""
    wavelengths: tuple[float, ...] | None = None
    """In nm."""
    fwhm: tuple[float, ...] | None = None
    """In nm."""
    scale: float | None = Field(default=None, gt=0)
    """Reflectance per stored unit."""
    nodata: float | None = None
    dtype: str = "float32"
    """Storage type of the scenes that the network was trained on."""
    graph_input: str | None = None
    """Name of the graph's image input; needed only if it has several inputs."""
    graph_valid: str | None = None
    """Name of the graph's mask input, if it has one."""
    mean: float | tuple[float, ...] | str | None = None
    """In storage units: one number, one a band, or an .npz file that holds ``mean``."""
    std: float | tuple[float, ...] | str | None = None
    """As ``mean``; the network gets (stored - mean) / std."""


class ImportOutput(_Numbers):
    """Where an output of the bundle comes from."""

    source: str = Field(alias="from")
    """Name of the graph's output."""
    activation: Literal["none", "softmax", "sigmoid"] = "none"
    """Applied to the channels that were chosen."""
    channel: int | None = Field(default=None, ge=0)
    """One channel, from 0."""
    channels: str | None = Field(default=None, pattern=r"^\d+:\d+$")
    """"first:end", end excluded."""
    offset: float = 0.0
    """Value = offset + gain * number."""
    gain: float = 1.0
    stride: int = Field(default=1, ge=1)
    """Input pixels per output pixel."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.channel is not None and self.channels is not None:
            raise ValueError("give channel or channels, not both")
        return self

    @property
    def span(self) -> tuple[int, int] | None:
        """First channel and one past the last; None = all."""
        if self.channel is not None:
            return self.channel, self.channel + 1
        if self.channels is None:
            return None
        first, end = self.channels.split(":")
        return int(first), int(end)


class ImportTile(Strict):
    """Default tile geometry, in pixels; what is not given follows from the reach."""

    trim: int | None = Field(default=None, ge=0)
    ramp: int | None = Field(default=None, ge=0)
    max_tile: int | None = Field(default=None, ge=1)


class ImportManifest(_Numbers):
    """The YAML file of ``hsimap import``."""

    name: str
    description: str = ""
    intended_use: str = ""
    license: str = ""
    input: ImportInput
    tasks: dict[str, dict[str, Any]] = Field(min_length=1)
    outputs: dict[str, ImportOutput] = Field(min_length=1)
    """By task, or by task and role as in ``height_std``."""
    alignment: int = Field(ge=1)
    """The network takes sides in multiples of it, in pixels."""
    reach: int = Field(ge=0)
    """One-sided receptive field, in pixels."""
    patch: int | None = Field(default=None, ge=1)
    """Smallest input side; the alignment by default."""
    tile: ImportTile = ImportTile()
    activation_bytes_per_px: float | None = Field(default=None, gt=0)
    metrics: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)


def read_statistic(
    value: float | tuple[float, ...] | str | None, key: str, *, n_bands: int, folder: Path
) -> NDArray[np.float32] | None:
    """Return ``(band,)`` mean or std from its YAML form; None where it is not given."""
    if value is None:
        return None
    if isinstance(value, str):
        value = _read_npz(folder / value, key)
    array = np.asarray(value, dtype=np.float32).reshape(-1)
    if array.size == 1:
        array = np.repeat(array, n_bands)
    if array.size != n_bands:
        raise UsageError(f"input.{key} has {array.size} numbers for {n_bands} bands")
    if not np.isfinite(array).all() or (key == "std" and array.min() <= 0):
        raise UsageError(f"input.{key} must be finite{', and above 0' if key == 'std' else ''}")
    return array


def _read_npz(path: Path, key: str) -> Any:  # noqa: ANN401  # an array of any shape
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[key]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"input.{key}: cannot read {key!r} from {path}: {error}") from error


def bundle_fields(stated: ImportManifest, n_bands: int, *, source: str) -> BundleFields:
    """Return the manifest of the bundle to be, without its files."""
    step = stated.alignment
    tasks = tuple(task_from_mapping(name, form) for name, form in stated.tasks.items())
    trim = round_up(stated.reach, step) if stated.tile.trim is None else stated.tile.trim
    ramp = round_up(_RAMP, step) if stated.tile.ramp is None else stated.tile.ramp
    content = {
        **stated.model_dump(include={"name", "description", "intended_use", "license", "metrics"}),
        **stated.model_dump(include={"alignment", "reach", "activation_bytes_per_px"}),
        "input": {
            "n_bands": n_bands,
            "wavelength_nm": stated.input.wavelengths,
            "fwhm_nm": stated.input.fwhm,
            **stated.input.model_dump(include={"scale", "nodata", "dtype"}),
        },
        "tasks": tasks,
        "outputs": tuple(_output(key, stated, tasks, source) for key in stated.outputs),
        "patch": step if stated.patch is None else stated.patch,
        "tile": {
            "trim": trim,
            "ramp": ramp,
            "max_tile": stated.tile.max_tile or round_up(_MAX_TILE, step),
        },
        "provenance": stated.provenance,
    }
    try:
        return BundleFields.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{source}: {where + ': ' if where else ''}{text}") from error


def _output(key: str, stated: ImportManifest, tasks: tuple[Task, ...], source: str) -> Output:
    for task in tasks:
        main = main_output(task, stride=stated.outputs[key].stride)
        sides = [main.model_copy(update={"role": role}) for role in _SIDE_ROLES]
        for output in (main, *sides):
            if output.name == key:
                return output
    raise UsageError(
        f"{source}: outputs.{key} is no task; tasks are {', '.join(task.name for task in tasks)}"
    )


def taps_of(stated: ImportManifest, fields: BundleFields, *, source: str) -> list[Tap]:
    """Return how each output of the bundle is made, in their order."""
    tasks = {task.name: task for task in fields.tasks}
    taps = []
    for output in fields.outputs:
        form, task = stated.outputs[output.name], tasks[output.task]
        if output.role is Role.PROBABILITY and (form.gain, form.offset) != (1, 0):
            raise UsageError(f"{source}: outputs.{output.name}: probabilities have no unit")
        taps.append(
            Tap(
                output=output,
                source=form.source,
                channels=form.span,
                activation=form.activation,
                offset=form.offset,
                gain=form.gain,
                limits=task.range if _is_value(output) else None,
            )
        )
    return taps


def _is_value(output: Output) -> bool:
    return output.kind is Kind.CONTINUOUS and output.role is not Role.STD

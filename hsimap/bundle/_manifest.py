"""What a bundle says of itself, as checked records and canonical text."""

from __future__ import annotations

import hashlib
import json
import math
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, JsonValue, ValidationError, model_validator

from hsimap.bundle._calibration import Calibration
from hsimap.bundle._input import InputSpec, Record
from hsimap.errors import BundleError
from hsimap.tasks import Kind, Output, Role, Task

SCHEMA_VERSION: Final = "hsimap-bundle/1"
MANIFEST_LIMIT: Final = 16 << 20
"""Bytes; a manifest of 10 000 bands stays under 8 MiB."""
_LATER: Final = (
    "acceptance", "calibration", "stored_activation_bytes_per_px", "ncnn_activation_bytes_per_px",
)  # fmt: skip
"""Left out of the text where there is none, as in bundles that are older than these."""
_MAIN_ROLES: Final = {Role.VALUE, Role.PROBABILITY}


def _plain(value: object) -> object:
    """Turn tuples and numpy numbers into plain JSON values; a number that is not finite is null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


Facts = Annotated[dict[str, JsonValue], BeforeValidator(_plain)]
"""Free-form JSON; numbers that are not finite become null."""


class TileDefaults(Record):
    """Tile geometry that meets the seam bar, in pixels; multiples of the alignment."""

    trim: int = Field(ge=0)
    """Context thrown away on each side."""
    ramp: int = Field(ge=0)
    """Cross-fade with the neighbour."""
    max_tile: int = Field(ge=1)
    """Largest kept side that is chosen without being asked for."""


class FileEntry(Record):
    """Fingerprint of one file."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Acceptance(Record):
    """How a route compares with the default one in float32 on one kind of machine."""

    runtime: Literal["torch", "onnx", "openvino", "ncnn"]
    precision: Literal["fp32", "bf16", "fp16", "int8"]
    cpu: str
    """GPU, or instruction set of the CPU, that it was measured on; another needs its own record."""
    verdict: Literal["accepted", "refused", "waived"]
    """waived: the figures do not suffice, or there are too few, and the user said to go on."""
    pixels: int = Field(ge=0)
    """Valid pixels that were compared, none of them used for calibration."""
    scene: str
    """Where they are from."""
    tasks: dict[str, dict[str, float]]
    """Task to ``agreement`` of its classes, or ``rmse`` and ``p999`` in standard deviations."""
    faults: tuple[str, ...] = ()
    """What fell short, a sentence each."""
    metrics: Literal["not measured"] | dict[str, dict[str, float]] = "not measured"
    """Task to the change of each validation score, in points; they need labels."""
    mpx_per_s: float = Field(gt=0)
    """Speed on that machine, with one thread a core."""


class BundleFields(Record):
    """What the maker of a bundle states; the rest of the manifest is computed."""

    name: str = Field(pattern=r"^[^\x00-\x1f\x7f/\\]+$")
    description: str = ""
    intended_use: str = ""
    """What the model is for and where it must not be used; shown in the model card."""
    license: str = ""
    """SPDX name of the weights' licence."""
    input: InputSpec
    tasks: tuple[Task, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)
    """In the order of the graph's outputs."""
    alignment: int = Field(ge=1)
    """Input sides, tile starts, trims and ramps are multiples of it, in pixels."""
    reach: int = Field(ge=0)
    """One-sided receptive field in pixels, attention window included."""
    patch: int = Field(ge=1)
    """Side of a training patch, and the smallest input side, in pixels."""
    tile: TileDefaults
    activation_bytes_per_px: float | None = Field(default=None, gt=0)
    """Peak memory of a forward per input pixel; None = not measured."""
    stored_activation_bytes_per_px: float | None = Field(default=None, gt=0)
    """The same where a scene's integers go in as they are stored; None = not measured."""
    ncnn_activation_bytes_per_px: float | None = Field(default=None, gt=0)
    """The same of stored integers in ncnn; None = not measured, and not offered."""
    network: dict[str, JsonValue] | None = None
    """NetworkSpec as JSON; None = the bundle is ONNX only."""
    metrics: Facts = Field(default_factory=dict)
    provenance: Facts = Field(default_factory=dict)
    acceptance: tuple[Acceptance, ...] = ()
    """Written by ``hsimap export``; left out of the text where there is none."""
    calibration: Calibration | None = None
    """Written by training; left out of the text where there is none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_outputs(self.tasks, self.outputs)
        _check_calibration(self.tasks, self.calibration)
        steps = {
            "tile.trim": self.tile.trim,
            "tile.ramp": self.tile.ramp,
            "tile.max_tile": self.tile.max_tile,
        }
        for field, value in steps.items():
            if value % self.alignment:
                raise ValueError(f"{field} {value} is no multiple of alignment {self.alignment}")
        for output in self.outputs:
            if self.alignment % output.stride:
                raise ValueError(
                    f"alignment {self.alignment} is no multiple of stride {output.stride} of output"
                    f" {output.name!r}"
                )
        return self


class BundleManifest(BundleFields):
    """The whole content of ``manifest.json``."""

    schema_version: Literal["hsimap-bundle/1"] = SCHEMA_VERSION
    files: dict[str, FileEntry]
    """Every other file of the folder."""
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    """sha256 of the canonical JSON of all other fields: the identity of the bundle."""


def _check_outputs(tasks: tuple[Task, ...], outputs: tuple[Output, ...]) -> None:
    known = {task.name: task for task in tasks}
    if len(known) != len(tasks):
        raise ValueError(f"task names must differ, got {[task.name for task in tasks]}")
    names = [output.name for output in outputs]
    if len(set(names)) != len(names):
        raise ValueError(f"output names must differ, got {names}")
    for output in outputs:
        if output.task not in known:
            raise ValueError(f"output {output.name!r} is for the unknown task {output.task!r}")
        _check_output(output, known[output.task])
    for name in known.keys() - set(names):
        raise ValueError(f"task {name!r} has no output of its own")


def _check_output(output: Output, task: Task) -> None:
    if output.kind is not task.kind:
        raise ValueError(
            f"output {output.name!r} is {output.kind.value} but its task is {task.kind.value}"
        )
    if output.channels != task.channels and task.kind is not Kind.SCENE:
        what = f"{len(task.classes)} classes" if task.classes else "one channel"
        raise ValueError(f"output {output.name!r} has {output.channels} channels for {what}")
    wanted = Role.VALUE if task.kind is Kind.CONTINUOUS else Role.PROBABILITY
    if output.role in _MAIN_ROLES and output.role is not wanted:
        raise ValueError(
            f"output {output.name!r} of a {task.kind.value} task must have role {wanted.value},"
            f" got {output.role.value}"
        )


def _check_calibration(tasks: tuple[Task, ...], calibration: Calibration | None) -> None:
    if calibration is None:
        return
    kinds = {task.name: task.kind for task in tasks}
    named = [("intervals", name, Kind.CONTINUOUS) for name in calibration.intervals]
    named += [("temperature", name, Kind.CATEGORICAL) for name in calibration.temperature]
    named += [("sharpness", name, Kind.CATEGORICAL) for name in calibration.sharpness]
    for field, name, kind in named:
        if kinds.get(name) is not kind:
            raise ValueError(f"calibration.{field}: {name!r} is no {kind.value} task")
    for name, value in calibration.temperature.items():
        if value <= 0:
            raise ValueError(f"calibration.temperature of {name!r} must be above 0, got {value:g}")


def complete(fields: BundleFields, files: dict[str, FileEntry]) -> BundleManifest:
    """Return the manifest: the maker's fields, the files, the digest."""
    draft = BundleManifest(**_fields_of(fields), files=files, digest="0" * 64)
    return draft.model_copy(update={"digest": digest_of(draft)})


def fields_of(manifest: BundleManifest) -> BundleFields:
    """Return what the maker stated, without files and digest."""
    return BundleFields(**_fields_of(manifest))


def _fields_of(fields: BundleFields) -> dict[str, Any]:
    return {name: getattr(fields, name) for name in BundleFields.model_fields}


def _content(manifest: BundleManifest) -> dict[str, Any]:
    content = manifest.model_dump(mode="json")
    for name in _LATER:
        if not content[name]:
            del content[name]
    for name in ("dispensable", "spread"):
        if not content["input"][name]:
            del content["input"][name]
    return content


def digest_of(manifest: BundleManifest) -> str:
    """Return the sha256 of the canonical JSON of everything but the digest."""
    content = _content(manifest)
    del content["digest"]
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


def manifest_text(manifest: BundleManifest) -> bytes:
    """Return the one legal text of a manifest: sorted keys, two blanks, UTF-8, a final newline."""
    content = _content(manifest)
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def parse_manifest(text: bytes, *, where: str) -> BundleManifest:
    """Read a manifest and refuse any text but the canonical one.

    Raises
    ------
    BundleError
        If it is too long, no JSON, of another schema, inconsistent, edited or not canonical.
    """
    if len(text) > MANIFEST_LIMIT:
        raise BundleError(f"{where} has {len(text)} bytes, more than the limit {MANIFEST_LIMIT}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is no JSON ({one_line(error)}); restore the bundle") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{where} has schema_version {version!r}; this hsimap reads {SCHEMA_VERSION!r}"
        )
    try:
        manifest = BundleManifest.model_validate(content)
        canonical = manifest_text(manifest) == text
        digest = digest_of(manifest)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: {first_fault(error)}; restore the bundle") from error
    if not canonical or digest != manifest.digest:
        raise BundleError(f"{where} was altered: its digest does not fit it; restore the bundle")
    return manifest


def first_fault(error: Exception) -> str:
    """Return the first fault of a validation as one line: field, reason."""
    if not isinstance(error, ValidationError):
        return one_line(error)
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return one_line(f"{where}: {text}" if where else text)


def one_line(text: object) -> str:
    """Return a text without line breaks, cut where it is very long."""
    return textwrap.shorten(str(text), 300, placeholder=" …")

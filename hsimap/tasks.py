"""What is mapped: tasks, their classes, units and colours, and the outputs of a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

import numpy as np
from array_api_compat import device
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hsimap.arrays import namespace
from hsimap.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLASS_NODATA: Final = 255
"""Code of an invalid pixel in a class map."""
PROBABILITY_STEPS: Final = 65534
"""A probability p is stored as round(p * 65534); 65535 is nodata."""
PROBABILITY_NODATA: Final = 65535
"""Stored number of an invalid pixel in a map of probabilities."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_RESERVED: Final = re.compile(r"qa|.*_(probability|std|low|high)")
_FIELDS: Final = ("kind", "title", "classes", "colors", "unit", "range")
_PALETTE: Final = (
    "#4e79a7", "#59a14f", "#f28e2b", "#e15759", "#76b7b2", "#edc948", "#b07aa1", "#9c755f",
    "#ff9da7", "#bab0ac", "#1b7837", "#762a83", "#2166ac", "#b2182b", "#8c510a", "#35978f",
)  # fmt: skip
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]


class Kind(StrEnum):
    """What a task's map holds."""

    CATEGORICAL = "categorical"
    CONTINUOUS = "continuous"
    SALIENCY = "saliency"
    SCENE = "scene"


class Scope(StrEnum):
    """What one value of an output speaks of."""

    PIXEL = "pixel"
    PATCH = "patch"


class Role(StrEnum):
    """What the numbers of an output are."""

    VALUE = "value"
    PROBABILITY = "probability"
    STD = "std"
    LOW = "low"
    HIGH = "high"


class Strict(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassLabel(Strict):
    """One class of a categorical task."""

    code: int = Field(ge=0, le=254)
    """Code in the label rasters and in the map; 255 is nodata."""
    name: str = Field(min_length=1)
    color: Colour


class Task(Strict):
    """One mapped variable."""

    name: str
    kind: Kind
    title: str = ""
    """What people read; the name with blanks where empty."""
    classes: tuple[ClassLabel, ...] = ()
    """Categorical tasks only, in the order of the network's channels."""
    unit: str = ""
    """UDUNITS text of a continuous task; "1" = a pure number."""
    range: tuple[float, float] | None = None
    """Valid range of a continuous task, in ``unit``: maps are clipped to it and styled over it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not _NAME.fullmatch(self.name) or _RESERVED.fullmatch(self.name):
            raise ValueError(
                f"task name must match [a-z][a-z0-9_]* and must not be qa or end in _probability,"
                f" _std, _low or _high; got {self.name!r}"
            )
        if (self.kind is Kind.CATEGORICAL) != bool(self.classes):
            raise ValueError(
                f"task {self.name!r}: classes are needed for a categorical task and for no other"
            )
        codes = [label.code for label in self.classes]
        if len(set(codes)) != len(codes):
            raise ValueError(f"task {self.name!r}: class codes must differ, got {codes}")
        if self.range and not self.range[0] < self.range[1]:
            raise ValueError(f"task {self.name!r}: range must rise, got {self.range}")
        return self

    @property
    def label(self) -> str:
        """The title, or the name with blanks."""
        return self.title or self.name.replace("_", " ")

    @property
    def codes(self) -> NDArray[np.uint8]:
        """``(class,) uint8``: the code of each network channel."""
        return np.array([label.code for label in self.classes], dtype=np.uint8)

    @property
    def channels(self) -> int:
        """Channels of the network output: one a class, else one."""
        return len(self.classes) or 1


class Output(Strict):
    """One output of a network's graph, named after its task."""

    task: str
    kind: Kind
    channels: int = Field(ge=1)
    scope: Scope = Scope.PIXEL
    stride: int = Field(default=1, ge=1)
    """Input pixels per output pixel, along each axis."""
    role: Role = Role.VALUE

    @property
    def name(self) -> str:
        """Name of the graph output and of the map: the task, with the role if not the main one."""
        main = self.role in {Role.VALUE, Role.PROBABILITY}
        return self.task if main else f"{self.task}_{self.role.value}"


def main_output(task: Task, *, stride: int = 1) -> Output:
    """Return the output that carries a task: probabilities of its classes, or its value."""
    role = Role.VALUE if task.kind is Kind.CONTINUOUS else Role.PROBABILITY
    return Output(task=task.name, kind=task.kind, channels=task.channels, stride=stride, role=role)


def default_colors(n: int) -> list[str]:
    """Return ``n`` colours that differ as far as the palette reaches."""
    return [_PALETTE[i % len(_PALETTE)] for i in range(n)]


def encode_classes(
    task: Task, codes: NDArray[np.generic], *, unlabelled: Sequence[float] = (0,)
) -> NDArray[np.int64]:
    """Turn label codes into channel indices.

    Parameters
    ----------
    task : Task
        A categorical task.
    codes : ndarray
        ``(...)`` label codes of any integer or float dtype; NaN = no label.
    unlabelled : sequence of float
        Codes that mean "no label", unless they are classes of the task.

    Returns
    -------
    ndarray
        ``(...) int64``: channel index, -1 = no label.

    Raises
    ------
    InputError
        If a code is neither a class nor unlabelled.
    """
    index = np.full(codes.shape, -1, dtype=np.int64)
    known = np.isnan(codes) if codes.dtype.kind == "f" else np.zeros(codes.shape, dtype=bool)
    for value in unlabelled:
        known |= codes == value
    for channel, label in enumerate(task.classes):
        hit = codes == label.code
        index[hit], known = channel, known | hit
    if not known.all():
        strays = np.unique(codes[~known])[:5].tolist()
        raise InputError(
            f"labels of {task.name!r} hold the code(s) {strays}, which the recipe's classes"
            f" {task.codes.tolist()} do not name; add them to `classes` or mark them with `nodata`"
        )
    return index


def decode_classes(task: Task, probabilities: Any) -> Any:  # noqa: ANN401  # of any library
    """Take the most probable class once, the first one among equals, and return map codes.

    Parameters
    ----------
    task : Task
        A categorical task.
    probabilities : array
        ``(class, y, x)`` blended class probabilities, NumPy's or another library's of the array
        API standard; a pixel with any NaN is invalid.

    Returns
    -------
    array
        ``(y, x) uint8`` in the same place: class codes, 255 = invalid.
    """
    xp, n = namespace(probabilities), probabilities.shape[0]
    highest = xp.max(probabilities, axis=0)
    rank = xp.zeros_like(highest, dtype=xp.uint8)
    for k in range(n):  # NumPy's argmax takes four times as long
        is_highest = xp.astype(probabilities[k, ...] == highest, xp.uint8)
        rank = xp.maximum(rank, is_highest * (n - k))
    rank *= xp.astype(xp.all(xp.isfinite(probabilities), axis=0), xp.uint8)
    by_rank = np.concatenate([[CLASS_NODATA], task.codes[::-1]]).astype(np.uint8)
    return xp.asarray(by_rank, device=device(probabilities))[xp.astype(rank, xp.int64)]


def task_from_mapping(name: str, mapping: object) -> Task:
    """Build a task from its YAML form.

    Parameters
    ----------
    name : str
        Name of the task.
    mapping : object
        A mapping with ``kind`` and optionally ``title``, ``unit``, ``range``, ``classes`` (code to
        name, in the order of the network's channels) and ``colors`` (code to ``"#rrggbb"``;
        classes without one take the palette's).

    Returns
    -------
    Task

    Raises
    ------
    UsageError
        Naming the task and the field.

    Examples
    --------
    >>> task = task_from_mapping(
    ...     "cover", {"kind": "categorical", "classes": {1: "roof", 4: "tree"}}
    ... )
    >>> task.codes.tolist(), task.classes[1].color
    ([1, 4], '#59a14f')
    """
    if not isinstance(mapping, Mapping):
        raise UsageError(f"task {name!r} must be a mapping such as {{kind: ...}}, got {mapping!r}")
    for key in mapping:
        if key not in _FIELDS:
            near = get_close_matches(str(key), _FIELDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(_FIELDS)}"
            raise UsageError(f"task {name!r}: unknown key {key!r}{hint}")
    plain = {key: mapping[key] for key in mapping if key not in {"classes", "colors"}}
    try:
        return Task.model_validate({"name": name, **plain, "classes": _class_labels(name, mapping)})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        text = first["msg"].removeprefix("Value error, ")
        got = f", got {first['input']!r}" if where else ""
        field = f" {where}:" if where else ""
        raise UsageError(f"task {name!r}:{field} {text}{got}") from None


def _class_labels(name: str, mapping: Mapping[object, object]) -> tuple[dict[str, object], ...]:
    names = _by_code(name, "classes", mapping.get("classes"))
    colors = _by_code(name, "colors", mapping.get("colors"))
    for code in colors:
        if code not in names:
            raise UsageError(
                f"task {name!r}: colors names the code {code}, which classes {list(names)} do not"
            )
    default = default_colors(len(names))
    return tuple(
        {"code": code, "name": text, "color": colors.get(code, default[i])}
        for i, (code, text) in enumerate(names.items())
    )


def _by_code(name: str, field: str, value: object) -> dict[int, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(
            f"task {name!r}: {field} must map codes to texts as in {{1: ...}}, got {value!r}"
        )
    for code in value:
        if not isinstance(code, int) or isinstance(code, bool):
            raise UsageError(f"task {name!r}: {field} has the code {code!r}; codes are integers")
    return dict(value)

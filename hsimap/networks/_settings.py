"""The settings of a network as a recipe gives them: one record for each architecture."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, model_validator

from hsimap.config import validate
from hsimap.errors import UsageError
from hsimap.tasks import Strict

Count = Annotated[int, Field(ge=1)]
Preset = Literal["paper", "half", "small", "tiny"]
Sizes = Mapping[str, object]
PRESET: Final = "tiny"
"""Where a recipe names none."""
_FIRST: Final = "taiga"
"""The architecture where a recipe names none."""
_FORMER: Final[Mapping[str, object]] = {
    "preset": None, "widths": None, "blocks": None, "decoder_width": None, "rates": "auto",
    "aspp": "dense_sum", "attention": None, "pooling_block": None, "width": 64,
    "spectral_layers": 2, "kernel": 3, "dilations": (1, 1), "context": (),
}  # fmt: skip
"""Fields and defaults of the one record that two architectures shared: stored specifications of
that time name all of them, the other architecture's at these values."""


class NetworkSettings(Strict):
    """Architecture and size of a network; whatever a preset sets may be overridden.

    Each architecture has a record of its own, a subclass of this one. Called with the fields of a
    recipe's ``network``, this class makes the record of the architecture that they name.

    Raises
    ------
    ValidationError
        If the architecture is not known, or has no such setting.

    Examples
    --------
    >>> NetworkSettings(architecture="unet", preset="tiny").widths
    (16, 32, 64, 128, 256)
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    architecture: str = _FIRST
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of feature channels dropped in training."""
    members: int = Field(default=1, ge=1, le=16)
    """Networks of these sizes that are trained side by side, each from a start of its own; what
    they give is averaged. Training and mapping take as many times as long."""

    presets: ClassVar[Mapping[str, Sizes]] = {}
    """Name to the sizes that it sets; empty where the architecture has no presets."""

    def __new__(cls, *_args: object, **values: object) -> Self:
        """Make an instance of the record of the architecture that is named."""
        chosen: Any = settings_type(values) if cls is NetworkSettings else cls
        made: Self = super().__new__(chosen)
        return made

    @model_validator(mode="wrap")
    @classmethod
    def _choose(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(data, NetworkSettings) or not isinstance(data, Mapping):
            return handler(data)
        if cls is NetworkSettings:
            chosen: Any = settings_type(data).model_validate(data)
            return chosen  # type: ignore[no-any-return]
        return handler(cls.fill(cls._own(data)))

    @classmethod
    def fill(cls, given: Mapping[str, object]) -> dict[str, object]:
        """Return the given fields and, for those that are not given or None, the preset's."""
        if not cls.presets:
            return dict(given)
        preset = given.get("preset") or PRESET
        if preset not in cls.presets:
            return dict(given)  # the field's own check says what is wrong
        sizes = cls.presets[str(preset)]
        said = {key: value for key, value in given.items() if value is not None}
        return {**sizes, "preset": preset, **said}

    @classmethod
    def _own(cls, data: Mapping[str, object]) -> dict[str, object]:
        """Leave out what an older stored specification says of other architectures."""
        others = {key for other in architectures().values() for key in other.model_fields}
        own = {}
        for key, value in data.items():
            if key in cls.model_fields or key not in others:
                own[key] = value
                continue
            plain = tuple(value) if isinstance(value, list) else value
            if key not in _FORMER or plain != _FORMER[key]:
                fields = [name for name in cls.model_fields if name != "architecture"]
                raise ValueError(
                    f"{key} is no setting of the architecture"
                    f" {cls.model_fields['architecture'].default}, which has {', '.join(fields)}"
                )
        return own


def architectures() -> dict[str, type[NetworkSettings]]:
    """Return the record of each architecture by the architecture's name."""
    found: dict[str, type[NetworkSettings]] = {}
    waiting = [NetworkSettings]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            waiting.append(kind)
            name = kind.model_fields["architecture"]
            if name.annotation is not str:
                found[name.default] = kind
    return dict(sorted(found.items()))


def settings_type(data: Mapping[str, object]) -> type[NetworkSettings]:
    """Return the record that fields as of a recipe's ``network`` are to become.

    Raises
    ------
    ValueError
        If there is no such architecture.
    """
    known = architectures()
    name = data.get("architecture", _FIRST)
    if name in known:
        return known[str(name)]
    near = get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"{name!r} is no architecture; {hint}known here: {', '.join(known)}")


def read_settings(data: Mapping[str, object], *, source: str) -> NetworkSettings:
    """Turn a recipe's ``network`` into settings.

    Parameters
    ----------
    data : mapping
        As the recipe gives it: ``architecture``, perhaps ``preset``, and fields of that
        architecture.
    source : str
        What the data are called in errors.

    Returns
    -------
    NetworkSettings
        The record of the architecture.

    Raises
    ------
    UsageError
        One line: the source, the key, what is wrong with it, and what is known.
    """
    try:
        kind = settings_type(data)
        own = kind._own(data)  # noqa: SLF001 - the record's own rule, asked before it is made
    except ValueError as error:
        raise UsageError(f"{source}: {error}") from None
    return validate(kind, own, source=source)

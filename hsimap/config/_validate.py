"""Plain values to settings records, with errors that a reader of the YAML understands."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from reprlib import Repr
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from hsimap.errors import UsageError

M = TypeVar("M", bound=BaseModel)
_SHORT: Final = Repr()
_SHORT.maxstring = _SHORT.maxother = 60


class Settings(BaseModel):
    """A frozen record of settings: no unknown key, no silent conversion, no NaN.

    The docstring under a field is its description, which :func:`dump_commented` prints.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )


def validate(model: type[M], data: object, *, source: str) -> M:
    """Turn plain values into a record.

    Parameters
    ----------
    model : type
        A pydantic model.
    data : object
        What the YAML text held.
    source : str
        What the data are called in errors, as a file's path.

    Returns
    -------
    BaseModel
        A ``model``.

    Raises
    ------
    UsageError
        One line: the source, the dotted key, what is wrong, the value; for an unknown key the
        nearest known one.
    """
    for found, node, path in _records(model, data, ()):
        known = _keys(found)
        for key in node:
            if key not in known:
                hint = unknown_key(str(key), known, elsewhere=_places(model, str(key)))
                raise UsageError(f"{source}: unknown key `{_dotted((*path, key))}`; {hint}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UsageError(_message(error, source)) from None


def unknown_key(key: str, known: Iterable[str], *, elsewhere: Iterable[str] = ()) -> str:
    """Return the part of an error that names the nearest known key and then all of them.

    Examples
    --------
    >>> unknown_key("epoch", ["epochs", "batch"])
    'did you mean `epochs`? known here: epochs, batch'
    """
    names = list(known)
    near = get_close_matches(key, names, n=1) or list(elsewhere)[:1]
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"{hint}known here: {', '.join(names)}"


def _records(
    annotation: Any,  # noqa: ANN401 - any type form
    value: object,
    path: tuple[object, ...],
) -> Iterator[tuple[type[BaseModel], Mapping[object, object], tuple[object, ...]]]:
    """Yield every mapping in the data that is to become a record, outermost first."""
    if _is_record(annotation) and isinstance(value, Mapping):
        yield annotation, value, path
        for name, field in annotation.model_fields.items():
            key = field.alias or name
            yield from _records(field.annotation, value.get(key), (*path, key))
    for inner, item, part in _inside(annotation, value):
        yield from _records(inner, item, (*path, *part))


def _inside(annotation: Any, value: object) -> Iterator[tuple[Any, object, tuple[object, ...]]]:  # noqa: ANN401 - any type form
    """Yield the type and value of each part of a union, list, tuple or dict, and its key."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield inner[0], value, ()
    elif origin in {Union, types.UnionType}:
        yield from ((option, value, ()) for option in inner)
    elif origin in {tuple, list} and isinstance(value, list):
        yield from ((inner[0], item, (i,)) for i, item in enumerate(value))
    elif origin in {dict, Mapping} and isinstance(value, Mapping):
        yield from ((inner[1], item, (key,)) for key, item in value.items())


def _keys(model: type[BaseModel]) -> list[str]:
    """Return the keys of a record as they stand in the YAML text."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_record(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _places(model: type[BaseModel], key: str, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the fields of this name in a record and the records in it."""
    if key in model.model_fields:
        yield prefix + key
    for name, field in model.model_fields.items():
        if _is_record(field.annotation):
            yield from _places(field.annotation, key, f"{prefix}{name}.")  # type: ignore[arg-type]


def _message(error: ValidationError, source: str) -> str:
    errors = error.errors(include_url=False)
    first = errors[0]
    where = f" `{_dotted(first['loc'])}`" if first["loc"] else ""
    if first["type"] == "missing":
        return f"{source}:{where} is missing"
    text = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if first["type"] == "value_error":
        return f"{source}:{where}{':' if where else ''} {text}"
    return f"{source}:{where} {text}, got {_SHORT.repr(first['input'])}"


def _dotted(parts: Iterable[object]) -> str:
    return ".".join(str(part) for part in parts)

"""Settings records to YAML text with the description of every field as a comment."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from hsimap.config._yaml import plain_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH: Final = 100
_PLAIN: Final = re.compile(r"[A-Za-z_/][\w./+%-]*( [\w./+%-]+)*", re.ASCII)


def dump_commented(record: BaseModel) -> str:
    """Return a record as YAML that reads back to the same record.

    Parameters
    ----------
    record : BaseModel
        Each field is written, defaults too, under its description; the fields of a kind of record
        are described where it occurs first.

    Returns
    -------
    str
        YAML text that ends in a newline.
    """
    return "\n".join(_record(record, 0, set())) + "\n"


def _record(record: BaseModel, indent: int, told: set[type]) -> Iterator[str]:
    describe = type(record) not in told
    told.add(type(record))
    pad = " " * indent
    for name, field in type(record).model_fields.items():
        if describe and field.description:
            text = " ".join(field.description.split()).replace("``", "`")
            yield from textwrap.wrap(
                text,
                width=_WIDTH,
                initial_indent=f"{pad}# ",
                subsequent_indent=f"{pad}# ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        yield from _entry(name, getattr(record, name), indent, told)


def _entry(key: object, value: object, indent: int, told: set[type]) -> Iterator[str]:
    """Yield ``key: value``, on one line where it fits."""
    start = f"{' ' * indent}{_scalar(key)}:"
    if not _holds_record(value):
        line = f"{start} {_flow(value)}"
        if len(line) <= _WIDTH or not value or not isinstance(value, Mapping | list | tuple):
            yield line
            return
    yield start
    yield from _block(value, indent + 2, told)


def _block(value: object, indent: int, told: set[type]) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield from _record(value, indent, told)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(key, item, indent, told)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _item(item, indent, told)


def _item(item: object, indent: int, told: set[type]) -> Iterator[str]:
    """Yield one element of a list: its lines, the first of them after a dash."""
    if not isinstance(item, BaseModel | Mapping | list | tuple) or not item:
        yield f"{' ' * indent}- {_flow(item)}"
        return
    dash = f"{' ' * indent}- "
    for line in _block(item, indent + 2, told):
        is_comment = line.lstrip().startswith("#")
        yield line if is_comment else dash + line[indent + 2 :]
        dash = dash if is_comment else " " * (indent + 2)


def _holds_record(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_record(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_record(item) for item in value)
    return isinstance(value, BaseModel)


def _flow(value: object) -> str:
    if isinstance(value, Mapping):
        return (
            "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, Enum):
        value = value.value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if isinstance(value, int | float):
        return repr(value)
    return _text(str(value))


def _text(text: str) -> str:
    """Return a text, in double quotes unless it is plainly a text without them."""
    if _PLAIN.fullmatch(text) and plain_scalar(text) == text:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _escape(c) for c in escaped) + '"'


def _escape(character: str) -> str:
    return f"\\U{ord(character):08x}"

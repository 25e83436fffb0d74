"""YAML text to plain values, without surprises and without bombs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import yaml

from hsimap.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_BYTES: Final = 1 << 20
MAX_VALUES: Final = 100_000
"""Values after aliases are expanded; a recipe of 60 flight lines has about 3000."""
MAX_DEPTH: Final = 64
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: Final = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_DECIMAL: Final = re.compile(r"[-+]?[0-9]{1,30}")
_OTHER_BASE: Final = re.compile(r"0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Parameters
    ----------
    path : Path
        A UTF-8 text file of at most 1 MiB.

    Returns
    -------
    dict
        Keys in the order of the file; aliases are expanded.

    Raises
    ------
    UsageError
        If the file is missing, too large, not UTF-8, not valid YAML, or not a mapping; if a key
        occurs twice, a tag occurs, or aliases expand to more than 100 000 values.
    """
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise UsageError(f"{path} {what}; name a YAML file")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES} bytes, the limit for a YAML file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: byte {error.start} is invalid") from None
    data = parse_yaml(text, source=str(path))
    if not isinstance(data, dict):
        found = "is empty" if data is None else f"holds {type(data).__name__}"
        raise UsageError(f"{path} {found}, where a mapping (`key: value` lines) is needed")
    return data


def parse_yaml(text: str, *, source: str) -> Any:  # noqa: ANN401 - any plain value
    """Turn YAML text into dicts, lists, strings, ints, floats, booleans and None.

    Parameters
    ----------
    text : str
        One YAML document.
    source : str
        What the text is called in errors.

    Raises
    ------
    UsageError
        As :func:`load_yaml`, with the line.

    Examples
    --------
    >>> parse_yaml("{rate: 1e-3, site: no, code: 010, flips: true}", source="example")
    {'rate': 0.001, 'site': 'no', 'code': 10, 'flips': True}
    """
    try:
        return _Builder(source).build(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{source}: not valid YAML{where}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from None


def plain_scalar(text: str) -> str | float | bool | None:
    """Return what an unquoted scalar means in the core schema of YAML 1.2."""
    if text in _WORDS:
        return _WORDS[text]
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return float(text.replace(".", "")) if _NOT_FINITE.fullmatch(text) else text


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been read."""

    node: dict[Any, Any] | list[Any]
    line: int
    anchor: str | None
    first: int
    """Number of values read before it."""
    lines: dict[Any, int] = field(default_factory=dict)
    """Line of each key."""
    key: Any = None
    has_key: bool = False


class _Builder:
    """Builds values from parser events on a stack of its own, so that depth costs no recursion."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._result: Any = None
        self._documents = self._count = 0

    def build(self, events: Iterable[yaml.Event]) -> Any:  # noqa: ANN401 - any plain value
        for event in events:
            self._take(event)
        return self._result

    def _take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._error(line, "a second document starts; one is allowed")
            case yaml.AliasEvent():
                self._alias(str(event.anchor), line)
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                done = self._stack.pop()
                if done.anchor:
                    self._anchors[done.anchor] = (done.node, self._count - done.first)
                self._add(done.node, done.line)
            case _:  # the start and the end of the stream, the end of a document
                pass

    def _error(self, line: int, text: str) -> UsageError:
        return UsageError(f"{self._source}: line {line}: {text}")

    def _grow(self, n: int, line: int) -> None:
        self._count += n
        if self._count > MAX_VALUES:
            raise self._error(line, f"more than {MAX_VALUES} values (aliases expanded)")

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None:
            raise self._error(line, f"the tag {event.tag!r} is refused; write the plain value")

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        self._refuse_tag(event, line)
        value = plain_scalar(event.value) if event.implicit[0] else event.value
        self._grow(1, line)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1)
        self._add(value, line)

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> None:
        self._refuse_tag(event, line)
        if len(self._stack) >= MAX_DEPTH:
            raise self._error(line, f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor:
            self._anchors[event.anchor] = None
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        node: dict[Any, Any] | list[Any] = {} if is_mapping else []
        self._stack.append(_Open(node=node, line=line, anchor=event.anchor, first=self._count))
        self._grow(1, line)

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise self._error(line, f"the alias *{anchor} has no anchor &{anchor} above it")
        known = self._anchors[anchor]
        if known is None:
            raise self._error(line, f"the alias *{anchor} refers to what it is part of")
        self._grow(known[1], line)
        self._add(_copy(known[0]), line)

    def _add(self, value: Any, line: int) -> None:  # noqa: ANN401 - any plain value
        """Put a finished value where it belongs."""
        if not self._stack:
            self._result = value
            return
        top = self._stack[-1]
        if isinstance(top.node, list):
            top.node.append(value)
        elif top.has_key:
            top.node[top.key], top.has_key = value, False
        else:
            self._add_key(top, value, line)

    def _add_key(self, top: _Open, key: Any, line: int) -> None:  # noqa: ANN401 - any plain value
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise self._error(line, f"a key must be a text or an integer, got {key!r}")
        if key in top.lines:
            raise self._error(line, f"the key `{key}` occurs twice, first at line {top.lines[key]}")
        top.key, top.has_key, top.lines[key] = key, True, line


def _copy(value: Any) -> Any:  # noqa: ANN401 - any plain value
    """Copy nested dicts and lists, so that a change in one place stays there."""
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value

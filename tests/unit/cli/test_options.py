"""Options: sizes, progress, and that every command line shown in help and docs can be parsed."""

import io
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from hsimap.cli import _main
from hsimap.cli._progress import parse_bytes, tile_progress
from hsimap.errors import UsageError

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
SHOWN = re.compile(r"^ *(?:\.venv/bin/)?hsimap (\w[^#>|\n]*?)(?: {2,}.*|[#>|].*)?$", re.MULTILINE)


def shown(text):
    """The command lines of a text: lines that start with ``hsimap``, without what follows them."""
    return [match.group(1).strip() for match in SHOWN.finditer(text)]


@given(
    st.integers(1, 4096),
    st.sampled_from(["", "K", "M", "G", "T"]),
    st.sampled_from(["", "B", "iB", "ib", "b"]),
    st.booleans(),
)
def test_sizes_are_powers_of_1024(number, unit, suffix, lower):
    text = f" {number}{unit.lower() if lower else unit}{suffix} "
    assert parse_bytes(text) == number * 1024 ** "_KMGT".replace("_", " ").index(unit or " ")


@pytest.mark.parametrize("text", ["", "G", "-1G", "4 PB", "1e3", "0x10", "4GiBs", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="--memory must be a size"):
        parse_bytes(text)


def test_no_progress_where_nobody_looks(monkeypatch):
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    with tile_progress("line", quiet=False) as progress:
        progress(1, 2)
    assert said.getvalue() == ""


def test_progress_is_drawn_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    said = Terminal()
    monkeypatch.setattr("sys.stderr", said)
    monkeypatch.setenv("TERM", "xterm")
    with tile_progress("line", quiet=False) as progress:
        progress(1, 2)
    assert "1/2" in said.getvalue()
    with tile_progress("line", quiet=True) as progress:
        before = said.getvalue()
        progress(2, 2)
    assert said.getvalue() == before


def lines_shown():
    found = [(name, line) for name, verb in _main.VERBS.items() for line in shown(verb.EXAMPLES)]
    found += [("--help", line) for line in shown(_main.app.info.epilog)]
    return found + [(page.name, line) for page in PAGES for line in shown(page.read_text())]


@pytest.mark.parametrize(("where", "line"), lines_shown())
def test_every_command_line_that_is_shown_can_be_parsed(where, line):
    group = get_command(_main.app)
    verb, *arguments = shlex.split(line.replace("[SCENE ...]", ""))
    command = group.commands[verb]
    command.make_context(verb, arguments)  # raises where an option is unknown or one is missing


def test_every_verb_shows_examples_and_explains_every_option():
    for name, command in get_command(_main.app).commands.items():
        assert shown(_main.VERBS[name].EXAMPLES), name
        assert all(line.startswith(name) for line in shown(_main.VERBS[name].EXAMPLES))
        assert all(getattr(parameter, "help", None) for parameter in command.params), name
        assert len(command.get_short_help_str(200)) <= 62  # a line of the list of verbs

"""What the pages tell a user to type exists."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from hsimap.cli._main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
COMMANDS = typer.main.get_command(app).commands
OPTIONS = {
    name: {flag for parameter in command.params for flag in (*parameter.opts, "--help")}
    for name, command in COMMANDS.items()
}
TYPED = re.compile(r"(?:^ {4}|`)hsimap ([^`\n#]+)", re.MULTILINE)
OPTION = re.compile(r"`(--[a-z][a-z-]*)")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#]+)[^)]*\)")


def typed(page: Path) -> list[list[str]]:
    return [shlex.split(line) for line in TYPED.findall(page.read_text())]


def test_commands_are_found() -> None:
    assert sum(len(typed(page)) for page in PAGES) > 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page: Path) -> None:
    for words in typed(page):
        verb, rest = words[0], words[1:]
        if verb.startswith("-"):
            continue
        assert verb in OPTIONS, words
        unknown = [w for w in rest if w.startswith("--") and w.split("=")[0] not in OPTIONS[verb]]
        assert unknown == [], words
    every = set().union(*OPTIONS.values())
    assert set(OPTION.findall(page.read_text())) <= every


def test_python_of_the_readme_names_what_exists() -> None:
    import hsimap

    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
        for name in re.findall(r"hsimap\.(\w+)\(", block):
            assert callable(getattr(hsimap, name)), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    site = ROOT / "docs"
    for target in LINK.findall(page.read_text()):
        path = (page.parent / target).resolve()
        assert path.exists(), target
        assert site not in page.parents or site in path.parents, f"{target} is not on the site"

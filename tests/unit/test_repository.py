"""What is committed speaks of the project alone, and names nothing that is left to do."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".cff", ".txt", ""}
LEFT = re.compile("TO" + "DO|FIX" + "ME|NotImplemented" + "Error")
MACHINE = re.compile("/(wo" + "rk|ro" + "ot|ho" + "me)/[a-z]")


def tracked():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\n") if name]
    return [p for p in paths if p.suffix in TEXT and p.is_file() and p.stat().st_size < 1 << 20]


@pytest.mark.parametrize("pattern", [LEFT, MACHINE], ids=["left to do", "path of a machine"])
def test_no_file_holds(pattern):
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        if (match := pattern.search(path.read_text(errors="replace")))
    ]
    assert found == []


def test_links_between_the_pages_lead_somewhere():
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.name} -> {target}")
    assert broken == []


def test_no_function_and_no_file_outgrows_its_room():
    import ast

    large = []
    for path in sorted((ROOT / "hsimap").rglob("*.py")):
        text = path.read_text()
        if text.count("\n") > 350:
            large.append(f"{path.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                docstring = ast.get_docstring(node) is not None
                body = node.body[1:] if docstring else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                if lines > 40:
                    large.append(f"{path.name}: {node.name} has {lines} lines")
    assert large == []

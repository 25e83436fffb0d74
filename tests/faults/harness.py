"""Kill a mapping run at a named step, resume it, and say what that cost."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hsimap.cli._main import run
from hsimap.products import MANIFEST, RUN_FOLDER

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command line of ``hsimap predict`` on one scene, without ``--out``."""

    arguments: tuple[str, ...]
    stem: str
    """Stem of the scene, which is the name of its folder of maps."""

    def command(self, out: Path, *extra: str) -> list[str]:
        """Return the arguments of ``hsimap``."""
        return [*self.arguments, "--out", str(out), *extra]

    def finished(self, out: Path, *extra: str) -> tuple[int, list[dict[str, object]]]:
        """Run in this process; give the exit code and the events."""
        log = out.with_name(out.name + ".events")
        code, _ = call(*self.command(out, "--log-json", str(log), *extra))
        return code, events(log)

    def folder(self, out: Path) -> Path:
        """Return where the maps are."""
        return out / self.stem


_FORKS = """
import json, os, sys
import hsimap.cli._main, hsimap.mapping, hsimap.scenes, hsimap.runtimes._onnx
for line in sys.stdin:
    point, sys.argv[1:] = (asked := json.loads(line))[0], asked[1:]
    child = os.fork()
    if not child:
        os.environ["HSIMAP_CRASH_AT"] = point
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            hsimap.cli._main.main()
        except SystemExit as end:
            os._exit(end.code)  # no clean-up of threads that the fork did not copy
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Killer:
    """Runs command lines in processes of their own, forked from one that has done the imports."""

    def __enter__(self) -> Self:
        self._forks = subprocess.Popen(
            [sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._forks.communicate()

    def reaches(self, point: str, arguments: list[str]) -> bool:
        """Run ``hsimap`` until it kills itself at a crash point; say whether it did."""
        self._forks.stdin.write(json.dumps([point, *arguments]) + "\n")
        self._forks.stdin.flush()
        return int(self._forks.stdout.readline()) == -signal.SIGKILL


def call(*arguments: str) -> tuple[int, str]:
    """Call the command line in this process; give the exit code and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run([str(argument) for argument in arguments])
    return code, said.getvalue()


def events(log: Path) -> list[dict[str, object]]:
    """Return the lines of a log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def journalled(folder: Path) -> list[int]:
    """Return the strips that are in the journal of an unfinished run."""
    journal = folder / RUN_FOLDER / "journal.jsonl"
    text = journal.read_text() if journal.exists() else ""
    return [json.loads(line)["strip"] for line in text.splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder that must repeat to the byte, the hidden ones not."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name != MANIFEST and not path.name.startswith(".")
    }

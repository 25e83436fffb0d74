"""Kill a mapping run at a named step, resume it, and say what that cost."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hsimap.cli._main import run
from hsimap.crashpoints import VARIABLE
from hsimap.products import MANIFEST, RUN_FOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A command line of ``hsimap predict`` on one scene, without ``--out``."""

    arguments: tuple[str, ...]
    stem: str
    """Stem of the scene, which is the name of its folder of maps."""

    def killed_at(self, point: str, out: Path, *extra: str) -> subprocess.CompletedProcess[str]:
        """Run in a process that kills itself at a crash point."""
        return subprocess.run(
            [sys.executable, "-m", "hsimap", *self.arguments, "--out", str(out), *extra],
            env=os.environ | {VARIABLE: point},
            capture_output=True,
            text=True,
            check=False,
        )

    def finished(self, out: Path, *extra: str) -> tuple[int, list[dict[str, object]]]:
        """Run in this process; give the exit code and the events."""
        log = out.with_name(out.name + ".events")
        code, _ = call(*self.arguments, "--out", str(out), "--log-json", str(log), *extra)
        return code, events(log)

    def folder(self, out: Path) -> Path:
        """Return where the maps are."""
        return out / self.stem


def call(*arguments: str) -> tuple[int, str]:
    """Call the command line in this process; give the exit code and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run([str(argument) for argument in arguments])
    return code, said.getvalue()


def events(log: Path) -> list[dict[str, object]]:
    """Return the lines of a log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def was_killed(ran: subprocess.CompletedProcess[str]) -> bool:
    """Say whether a process reached its crash point."""
    return ran.returncode == -signal.SIGKILL


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

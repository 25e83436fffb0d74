"""Which version of the source tree runs."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def git_commit(folder: Path) -> str | None:
    """Return the commit of the source tree that holds a folder, with + where it was changed."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603  # fixed program
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if commit is None or git("ls-files", "--error-unmatch", __file__) is None:
        return None
    return f"{commit}+" if git("status", "--porcelain", "-uno") else commit

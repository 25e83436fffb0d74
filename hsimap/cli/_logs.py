"""Training logs as they lie on the disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_LOG: Final = "log.jsonl"


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a run's training log, without a torn line; none without a log."""
    path = folder / _LOG
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

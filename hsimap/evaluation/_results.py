"""Results kept as JSON lines: one run, one line, never rewritten."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

from hsimap.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def append_result(path: Path, result: Mapping[str, Any]) -> None:
    """Append one result as one JSON line.

    Parameters
    ----------
    path : Path
        The ``.jsonl`` file; it and its parents are made where missing.
    result : mapping
        Plain JSON values; numbers that are not finite become null.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    line = json.dumps(finite(result), sort_keys=True, ensure_ascii=False, allow_nan=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot append the result to {path}: {error}") from error


def finite(value: Any) -> Any:  # noqa: ANN401  # any JSON value
    """Return plain JSON values; numbers are rounded to 6 digits, those not finite become null."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value

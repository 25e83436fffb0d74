"""How much a verb prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How much is printed."""

    as_json: bool
    quiet: bool

"""The command line: parse, one settings object, one call, exit code."""

from __future__ import annotations

from hsimap.cli._main import main

__all__ = ["main"]

"""Strict YAML: what is read is what is written, and every key is known.

Scalars follow the core schema of YAML 1.2: ``1e-3`` is a float; ``yes``, ``no``, ``on``, ``off``
and ``12:30:45`` are texts; ``010`` is ten; booleans are ``true`` and ``false``. Tags are refused.
"""

from hsimap.config._dump import dump_commented
from hsimap.config._overrides import apply_overrides
from hsimap.config._validate import Settings, unknown_key, validate
from hsimap.config._yaml import load_yaml, parse_yaml

__all__ = [
    "Settings",
    "apply_overrides",
    "dump_commented",
    "load_yaml",
    "parse_yaml",
    "unknown_key",
    "validate",
]

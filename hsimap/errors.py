"""Errors that hsimap raises on purpose, each with its stable exit code; anything else is a bug.

A message is one line that names the thing, the limit, the value and the remedy.
"""

from __future__ import annotations

from typing import ClassVar


class HsimapError(Exception):
    """Base of every deliberate error; the CLI prints it without a traceback."""

    exit_code: ClassVar[int] = 70


class UsageError(HsimapError, ValueError):
    """A missing file, a bad option, a bad recipe or YAML text."""

    exit_code = 2


class InputError(HsimapError, ValueError):
    """A scene or a label source is damaged, inconsistent or holds an undeclared code."""

    exit_code = 10


class OutsideError(InputError):
    """No part of the area that is asked for lies on the scene."""


class MismatchError(HsimapError, ValueError):
    """The scene and the model do not fit each other."""

    exit_code = 11


class BundleError(HsimapError, ValueError):
    """A bundle is incomplete, altered or refused for safety."""

    exit_code = 12


class StorageError(HsimapError, OSError):
    """The disk is full, read-only or failed."""

    exit_code = 20


class ResourceError(HsimapError, RuntimeError):
    """Memory or device: too little of the first, or the second is not there."""

    exit_code = 21


class LockedError(HsimapError, RuntimeError):
    """Another run holds the output folder."""

    exit_code = 22


class OutputExistsError(HsimapError, FileExistsError):
    """The output folder holds the result of a different run."""

    exit_code = 23


class VerificationError(HsimapError, RuntimeError):
    """What was written does not read back as what was computed."""

    exit_code = 30


class BatchError(HsimapError, RuntimeError):
    """Some scenes of a batch failed; the others are complete."""

    exit_code = 40

"""What ``torch.compile`` needs beside torch, and what of it may change the bits of a result."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Final

from hsimap.errors import ResourceError

_REMEDY: Final = "or leave --compile out"
_TIMEOUT: Final = 60.0


def compiler_for(device: str) -> str:
    """Return what makes the machine code, with its version.

    Parameters
    ----------
    device : str
        Type of torch's device: cpu or cuda.

    Raises
    ------
    ResourceError
        If it is not there; says what to install.
    """
    if device != "cpu" and find_spec("triton") is None:
        raise ResourceError(
            f"--compile on a GPU needs the package triton, which is not installed; pip install"
            f" triton, {_REMEDY}"
        )
    # Triton's launcher is C, and the CPU's kernels are C++.
    variable, plain = ("CXX", "g++") if device == "cpu" else ("CC", "gcc")
    name = os.environ.get(variable, plain)
    path = shutil.which(name)
    if path is None:
        raise ResourceError(
            f"--compile needs a C++ compiler and there is no {name!r} here; install one (apt-get"
            f" install g++), name it in ${variable}, {_REMEDY}"
        )
    told = _first_line(path)
    return told if device == "cpu" else f"triton {version('triton')}, {told}"


@cache
def _first_line(path: str) -> str:
    """Return the name and version that a compiler says of itself."""
    try:
        done = subprocess.run(  # noqa: S603  # the compiler that torch is going to call
            [path, "--version"], capture_output=True, text=True, timeout=_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ResourceError(
            f"--compile needs a C++ compiler and {path!r} does not run: {error}; install another,"
            f" {_REMEDY}"
        ) from error
    return done.stdout.splitlines()[0].strip() if done.stdout else path


def compile_failed(error: Exception) -> ResourceError:
    """Return what is said where the compiler is there and does not get through."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "error" in line.lower()), *lines[:1]) if lines else ""
    return ResourceError(
        f"the network could not be compiled: {told[:200] or type(error).__name__}; see that the"
        f" compiler works and Python's headers are there (apt-get install python3-dev), {_REMEDY}"
    )

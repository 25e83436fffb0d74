"""How much memory a forward takes, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.bundle import ONNX
from hsimap.geometry import round_up
from hsimap.runtimes._host import has
from hsimap.runtimes._routes import NCNN_LIBRARIES

if TYPE_CHECKING:
    from hsimap.bundle import Bundle

_SIDES: Final = (128, 384)
"""Sides in pixels; the difference of the two peaks leaves out what does not grow."""
_PROGRAM: Final = r"""
import re, sys
from pathlib import Path
import numpy as np
from hsimap.bundle import Bundle
from hsimap.runtimes import open_runtime

bundle = Bundle.load(sys.argv[1])
runtime = open_runtime(bundle, runtime=sys.argv[3], device="cpu", threads=1)
for side in map(int, sys.argv[4:]):
    image = np.full((1, bundle.manifest.input.n_bands, side, side), 1, dtype=sys.argv[2])
    for _ in range(2):
        runtime.forward(image, np.ones((1, 1, side, side), dtype=np.float32))
    print(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
"""
_POOLED: Final = 1.25
"""What ncnn's pool takes at most, over what was measured: which block serves which request varies
with the size of the image and from run to run."""
_TIMEOUT: Final = 600.0


def measure_activations(bundle: Bundle) -> dict[str, float | None]:
    """Measure what a bundle's manifest says of the memory of a forward; see its fields."""
    return {
        "activation_bytes_per_px": activation_bytes(bundle),
        "stored_activation_bytes_per_px": activation_bytes(bundle, dtype="int16"),
        "ncnn_activation_bytes_per_px": _in_ncnn(bundle),
    }


def _in_ncnn(bundle: Bundle) -> float | None:
    if not has(*NCNN_LIBRARIES) or ONNX not in bundle.manifest.files:
        return None
    found = activation_bytes(bundle, dtype="int16", runtime="ncnn")
    return None if found is None else found * _POOLED


def activation_bytes(
    bundle: Bundle, *, dtype: str = "float32", runtime: str = "auto"
) -> float | None:
    """Measure the peak memory of a forward on the CPU beside its input.

    Parameters
    ----------
    bundle : Bundle
        A saved bundle.
    dtype : str
        Of the image.
    runtime : str
        As :func:`hsimap.runtimes.open_runtime` takes it.

    Returns
    -------
    float or None
        Bytes per input pixel; None where the system does not tell, or the forward fails.
    """
    if sys.platform != "linux":
        return None  # VmHWM; ru_maxrss starts from the parent's memory, also on Linux
    manifest = bundle.manifest
    small, large = (round_up(max(side, manifest.patch), manifest.alignment) for side in _SIDES)
    if large == small:
        large *= 2
    command = [sys.executable, "-c", _PROGRAM, str(bundle.path), dtype, runtime]
    command += [str(small), str(large)]
    try:
        done = subprocess.run(  # noqa: S603  # our own interpreter and program
            command, capture_output=True, text=True, timeout=_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    before, after = (int(line) * 1024 for line in done.stdout.split())
    growth = (after - before) / (large**2 - small**2)
    return max(growth - np.dtype(dtype).itemsize * manifest.input.n_bands - 4, 1.0)

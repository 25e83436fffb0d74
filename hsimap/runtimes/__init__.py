"""From a bundle to something that runs: torch or ONNX Runtime, each loaded only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hsimap.bundle import ONNX, WEIGHTS
from hsimap.errors import UsageError
from hsimap.runtimes._host import available_cpus, keep_freed_memory
from hsimap.runtimes._interface import Contract, Runtime
from hsimap.runtimes._parity import TOLERANCE, ParityReport

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.runtimes._export import Exportable

__all__ = [
    "Contract",
    "ParityReport",
    "Runtime",
    "available_cpus",
    "export_onnx",
    "import_onnx",
    "keep_freed_memory",
    "open_runtime",
]
_CHOICES: Final = {"runtime": ("auto", "torch", "onnx"), "device": ("auto", "cpu", "cuda")}


def open_runtime(
    bundle: Bundle, *, runtime: str = "auto", device: str = "auto", threads: int | None = None
) -> Runtime:
    """Make a bundle's network ready to run.

    Parameters
    ----------
    bundle : Bundle
        The model.
    runtime : str
        torch, onnx, or auto: onnx if the bundle holds a graph, else torch.
    device : str
        cpu, cuda, or auto: cuda if there is one that works, else cpu.
    threads : int, optional
        Threads of one forward; None = the cores this process may use.

    Returns
    -------
    Runtime
        Its ``describe()`` says what was taken.

    Raises
    ------
    UsageError
        If an option is none of the above, or the bundle does not hold what the runtime needs.
    ResourceError
        If cuda is asked for and not got.
    BundleError
        If the network is refused or does not fit its manifest.
    """
    for name, value in (("runtime", runtime), ("device", device)):
        if value not in _CHOICES[name]:
            raise UsageError(f"--{name} must be one of {', '.join(_CHOICES[name])}, got {value!r}")
    if threads is not None and threads < 1:
        raise UsageError(f"--threads must be at least 1, got {threads}")
    threads = threads or available_cpus()
    files = bundle.manifest.files
    chosen = ("onnx" if ONNX in files else "torch") if runtime == "auto" else runtime
    needed, other = (ONNX, "torch") if chosen == "onnx" else (WEIGHTS, "onnx")
    if needed not in files:
        raise UsageError(f"model {bundle.name!r} holds no {needed}; use --runtime {other}")
    if chosen == "torch":
        from hsimap.runtimes._torch import open_torch

        return open_torch(bundle, device=device, threads=threads)
    from hsimap.runtimes._onnx import OnnxRuntime

    return OnnxRuntime(
        bundle.onnx or b"",
        Contract.of(bundle.manifest),
        device=device,
        threads=threads,
        where=str(bundle.path / ONNX),
    )


def export_onnx(
    network: Exportable,
    *,
    stored: tuple[Sequence[float], Sequence[float]] | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[bytes, ParityReport]:
    """Export a torch network to ONNX; see :func:`hsimap.runtimes._export.export_onnx`."""
    from hsimap.runtimes._export import export_onnx as export

    return export(network, stored=stored, tolerance=tolerance)


def import_onnx(network: Path, manifest: Path, out: Path, *, overwrite: bool = False) -> Bundle:
    """Make a bundle of a user's network; see :func:`hsimap.runtimes._import.import_onnx`."""
    from hsimap.runtimes._import import import_onnx as make

    return make(network, manifest, out, overwrite=overwrite)

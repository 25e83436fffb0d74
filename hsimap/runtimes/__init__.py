"""From a bundle to something that runs: torch or ONNX Runtime, each loaded only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hsimap.bundle import INT8, ONNX, WEIGHTS
from hsimap.errors import UsageError
from hsimap.runtimes._host import (
    give_back_memory,
    instruction_set,
    keep_freed_memory,
    processor,
)
from hsimap.runtimes._interface import STORED, Contract, Runtime
from hsimap.runtimes._parity import TOLERANCE, ParityReport
from hsimap.runtimes._routes import (
    FULL,
    PRECISIONS,
    Route,
    choices,
    default_runtime,
    other_routes,
    record_of,
    runs_side_by_side,
    waiver_note,
)
from hsimap.streams import available_cpus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from hsimap.bundle import Bundle
    from hsimap.runtimes._export import Exportable
    from hsimap.runtimes._quantise import Batch

__all__ = [
    "FULL",
    "STORED",
    "Contract",
    "ParityReport",
    "Route",
    "Runtime",
    "choices",
    "default_runtime",
    "export_onnx",
    "give_back_memory",
    "import_onnx",
    "instruction_set",
    "keep_freed_memory",
    "measure_activations",
    "open_runtime",
    "other_routes",
    "processor",
    "quantise",
    "record_of",
    "runs_side_by_side",
    "waiver_note",
]
_GIVES: Final = {
    "torch": (FULL, "bf16", "fp16"),
    "onnx": (FULL, "int8", "fp16"),
    "openvino": (FULL, "bf16"),
    "ncnn": (FULL,),
}
_ON_CPU: Final = {"openvino", "ncnn"}
_CHOICES: Final = {
    "runtime": ("auto", "torch", "onnx", "openvino", "ncnn"),
    "precision": PRECISIONS,
    "device": ("auto", "cpu", "cuda"),
}


def open_runtime(  # noqa: PLR0913  # what a user may ask of a runtime
    bundle: Bundle,
    *,
    runtime: str = "auto",
    device: str = "auto",
    threads: int | None = None,
    precision: str = FULL,
    stay: bool = False,
    compiled: bool = False,
) -> Runtime:
    """Make a bundle's network ready to run.

    Parameters
    ----------
    bundle : Bundle
        The model.
    runtime : str
        torch, onnx, openvino, ncnn, or auto: onnx if the bundle holds a graph, else torch.
    device : str
        cpu, cuda, or auto: cuda if there is one that works, else cpu.
    threads : int, optional
        Threads of one forward; None = the cores this process may use.
    precision : str
        fp32, bf16, fp16 or int8. Whether it was accepted is not asked here: see :func:`choices`.
    stay : bool
        Leave results on a GPU, as tensors, where the runtime can.
    compiled : bool
        Compile the network for the shape of its batches first; torch alone can.

    Returns
    -------
    Runtime
        Its ``describe()`` says what was taken.

    Raises
    ------
    UsageError
        If an option is none of the above, or the bundle does not hold what the runtime needs.
    ResourceError
        If cuda, or the compiler that is needed, is asked for and not got.
    BundleError
        If the network is refused or does not fit its manifest.
    """
    for name, value in (("runtime", runtime), ("device", device), ("precision", precision)):
        if value not in _CHOICES[name]:
            raise UsageError(f"--{name} must be one of {', '.join(_CHOICES[name])}, got {value!r}")
    if threads is not None and threads < 1:
        raise UsageError(f"--threads must be at least 1, got {threads}")
    keep_freed_memory()  # before there are threads
    threads = threads or available_cpus()
    chosen = default_runtime(bundle) if runtime == "auto" else runtime
    needed, other = (WEIGHTS, "onnx") if chosen == "torch" else (ONNX, "torch")
    if needed not in bundle.manifest.files:
        raise UsageError(f"model {bundle.name!r} holds no {needed}; use --runtime {other}")
    if precision not in _GIVES[chosen]:
        raise UsageError(f"--runtime {chosen} does not run {precision}; use --precision {FULL}")
    if chosen == "torch":
        from hsimap.runtimes._torch import open_torch

        return open_torch(
            bundle,
            device=device,
            threads=threads,
            precision=precision,
            stay=stay,
            compiled=compiled,
        )
    if compiled:
        raise UsageError(f"--compile is of torch, not of {chosen}; use --runtime torch")
    return _open_graph(bundle, chosen, device=device, threads=threads, precision=precision)


def _open_graph(
    bundle: Bundle, runtime: str, *, device: str, threads: int, precision: str
) -> Runtime:
    name, graph = (INT8, bundle.int8) if precision == "int8" else (ONNX, bundle.onnx)
    where = str(bundle.path / name)
    if graph is None:
        raise UsageError(f"model {bundle.name!r} holds no {name}; make it with hsimap export")
    contract = Contract.of(bundle.manifest)
    if runtime in _ON_CPU and device == "cuda":
        raise UsageError(f"--runtime {runtime} runs on the CPU; use --device cpu")
    if runtime == "ncnn":
        from hsimap.runtimes._ncnn import open_ncnn

        return open_ncnn(bundle, threads=threads)
    if runtime == "openvino":
        from hsimap.runtimes._openvino import OpenVinoRuntime

        return OpenVinoRuntime(graph, contract, precision=precision, threads=threads, where=where)
    from hsimap.runtimes._onnx import OnnxRuntime

    return OnnxRuntime(
        graph, contract, device=device, threads=threads, where=where, precision=precision
    )


def measure_activations(bundle: Bundle) -> dict[str, float | None]:
    """Measure the memory of a forward; see :func:`hsimap.runtimes._memory.measure_activations`."""
    from hsimap.runtimes._memory import measure_activations as measure

    return measure(bundle)


def quantise(graph: bytes, batches: Iterable[Batch]) -> bytes:
    """Quantise a graph to int8; see :func:`hsimap.runtimes._quantise.quantise`."""
    from hsimap.runtimes._quantise import quantise as make

    return make(graph, batches)


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

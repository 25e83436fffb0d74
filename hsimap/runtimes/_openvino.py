"""OpenVINO on the bundle's ONNX graph, CPU only; an optional extra. Never loads torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import BundleError, ResourceError, UsageError
from hsimap.runtimes._graph import load_graph
from hsimap.runtimes._host import instruction_set
from hsimap.runtimes._interface import IMAGE, VALID

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.runtimes._interface import Contract

_HINTS: Final = {"fp32": "f32", "bf16": "bf16"}
_MEMORY_WORDS: Final = ("bad allocation", "bad_alloc", "allocate", "out of memory")


class OpenVinoRuntime:
    """A graph in OpenVINO.

    Parameters
    ----------
    graph : bytes
        As for :class:`hsimap.runtimes._onnx.OnnxRuntime`.
    contract : Contract
        What it takes and gives.
    precision : str
        fp32, or bf16 where the CPU computes in it.
    threads : int
        Threads of one forward.
    where : str
        Name of the graph, for messages.

    Raises
    ------
    UsageError
        If OpenVINO is not installed, or the CPU lacks the precision.
    BundleError
        If the graph is refused.
    """

    def __init__(
        self, graph: bytes, contract: Contract, *, precision: str, threads: int, where: str
    ) -> None:
        load_graph(graph, where=where)
        self._library = _library()
        self._contract, self._threads, self._precision = contract, threads, precision
        core = self._library.Core()
        if precision == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise UsageError("this CPU does not compute in bf16; use --precision fp32")
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = core.read_model(model=graph, weights=b"")
            self._request = core.compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            text = " ".join(str(error).split())[:300]
            raise BundleError(f"{where} does not load in OpenVINO: {text}") from error
        self._takes_valid = VALID in _names(model.inputs)

    def describe(self) -> dict[str, str]:
        """Return what may change the bits of a result."""
        return {
            "runtime": "openvino",
            "version": f"openvino {self._library.__version__}",
            "provider": "CPU",
            "device": "cpu",
            "precision": "float32" if self._precision == "fp32" else self._precision,
            "threads": str(self._threads),
            "cpu": instruction_set(),
        }

    def forward(
        self, image: NDArray[np.generic], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the network on a batch; see :class:`hsimap.runtimes.Runtime`."""
        self._contract.check_input(image, valid)
        feed = {IMAGE: image.astype(np.float32, copy=False)}
        feed |= {VALID: valid} if self._takes_valid else {}
        try:
            found = self._request.infer(feed, share_inputs=True)
        except RuntimeError as error:
            text = " ".join(str(error).split())[:300]
            if any(word in text for word in _MEMORY_WORDS):
                raise ResourceError(
                    f"the network runs out of memory on {image.shape}; lower --tile"
                ) from error
            raise BundleError(f"the network fails on {image.shape}: {text}") from error
        results = {name: found[name].copy() for name in (o.name for o in self._contract.outputs)}
        self._contract.check_output(results, image.shape)
        return results

    def close(self) -> None:
        """Give memory and threads back."""
        del self._request


def _names(values: Any) -> set[str]:  # noqa: ANN401  # OpenVINO has no stubs
    return {name for value in values for name in value.get_names()}


def _library() -> Any:  # noqa: ANN401  # OpenVINO has no stubs
    try:
        import openvino  # noqa: PLC0415  # an optional extra
    except ImportError as error:
        raise UsageError(
            "OpenVINO is not installed; pip install 'hsimap[openvino]', or use --runtime onnx"
        ) from error
    return openvino

"""ONNX Runtime; never loads torch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import onnxruntime as ort

from hsimap.errors import BundleError
from hsimap.runtimes._graph import load_graph
from hsimap.runtimes._host import cuda_devices, instruction_set
from hsimap.runtimes._interface import IMAGE, VALID
from hsimap.runtimes._sessions import CUDA, Sessions, empty_arena, open_session, wants_gpu

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hsimap.runtimes._interface import Contract

_RANK: Final = 4


class OnnxRuntime:
    """A graph in ONNX Runtime.

    Parameters
    ----------
    graph : bytes
        Self-contained ONNX with the input ``image`` and optionally ``valid``.
    contract : Contract
        What it takes and gives.
    device : str
        auto, cpu or cuda.
    threads : int
        Threads of one forward.
    where : str
        Name of the graph, for messages.
    precision : str
        fp32; fp16, which is made of the graph here; int8, which the graph is in.

    Raises
    ------
    BundleError
        If the graph is refused or does not fit the contract.
    ResourceError
        If the device is not there.
    """

    def __init__(
        self,
        graph: bytes,
        contract: Contract,
        *,
        device: str,
        threads: int,
        where: str,
        precision: str = "fp32",
    ) -> None:
        self._precision = "float32" if precision == "fp32" else precision
        self._contract, self._threads, self._device = contract, threads, device
        self._sessions = Sessions(
            load_graph(graph, where=where),
            side=max(contract.patch, contract.alignment),
            open_one=partial(open_session, device=device, threads=threads, where=where),
            made_for="half" if precision == "fp16" else "gpu" if wants_gpu(device) else "cpu",
        )
        session = self._sessions.floats
        _check_inputs(session, contract, where=where)
        _check_outputs(session, contract, where=where)
        self._takes_valid = VALID in {value.name for value in session.get_inputs()}

    def describe(self) -> dict[str, str]:
        """Return what may change the bits of a result."""
        provider = self._sessions.floats.get_providers()[0]
        on_gpu = provider == CUDA
        return {
            "runtime": "onnx",
            "version": f"onnxruntime {ort.__version__}",
            "provider": provider,
            "device": f"cuda ({cuda_devices()[0]})" if on_gpu else "cpu",
            "precision": self._precision,
            "threads": str(self._threads),
            "cpu": instruction_set(),
        }

    def forward(
        self, image: NDArray[np.generic], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the network on a batch; see :class:`hsimap.runtimes.Runtime`."""
        self._contract.check_input(image, valid)
        results = self._sessions.run(
            {IMAGE: image, VALID: valid} if self._takes_valid else {IMAGE: image}
        )
        self._contract.check_output(results, image.shape)
        return results

    def close(self) -> None:
        """Give memory and threads back."""
        self._sessions.close()
        if not wants_gpu(self._device):
            empty_arena()


def _check_inputs(session: ort.InferenceSession, contract: Contract, *, where: str) -> None:
    channels = {IMAGE: contract.n_bands, VALID: 1}
    inputs = {value.name: value for value in session.get_inputs()}
    if IMAGE not in inputs or inputs.keys() - channels.keys():
        raise BundleError(
            f"{where} has the inputs {sorted(inputs)}, wanted {IMAGE!r} and {VALID!r};"
            f" `hsimap import` adapts other networks"
        )
    for name, value in inputs.items():
        check_value(value.type, value.shape, channels=channels[name], what=f"{where}: {name!r}")
        fixed = [value.shape[axis] for axis in (0, 2, 3) if isinstance(value.shape[axis], int)]
        if fixed:
            raise BundleError(
                f"{where}: {name!r} has the fixed shape {value.shape}; export the network with"
                f" dynamic batch, height and width"
            )


def _check_outputs(session: ort.InferenceSession, contract: Contract, *, where: str) -> None:
    outputs = {value.name: value for value in session.get_outputs()}
    wanted = {output.name: output.channels for output in contract.outputs}
    if outputs.keys() != wanted.keys():
        raise BundleError(
            f"{where} has the outputs {sorted(outputs)}, its manifest names {sorted(wanted)}"
        )
    for name, value in outputs.items():
        check_value(value.type, value.shape, channels=wanted[name], what=f"{where}: {name!r}")


def check_value(kind: str, shape: list[int | str | None], *, channels: int, what: str) -> None:
    """Refuse an input or output of a graph that is not ``(batch, channels, y, x) float32``.

    Parameters
    ----------
    kind, shape
        As ONNX Runtime states them; a dimension that is not fixed is a text or None.
    channels : int
        Wanted length of the second axis.
    what : str
        Name of the value, for the message.
    """
    if kind != "tensor(float)":
        raise BundleError(f"{what} is a {kind}; export the network with float32")
    if len(shape) != _RANK:
        raise BundleError(f"{what} has the shape {shape}; wanted (batch, channel, height, width)")
    if isinstance(shape[1], int) and shape[1] != channels:
        raise BundleError(f"{what} has {shape[1]} channels, the manifest says {channels}")

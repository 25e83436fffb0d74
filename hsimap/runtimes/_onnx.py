"""ONNX Runtime; never loads torch."""

from __future__ import annotations

import contextlib
import io
import logging
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from hsimap.errors import BundleError, ResourceError
from hsimap.runtimes._graph import load_graph
from hsimap.runtimes._half import to_half
from hsimap.runtimes._host import cuda_devices, instruction_set
from hsimap.runtimes._interface import IMAGE, VALID
from hsimap.runtimes._light import lighten
from hsimap.runtimes._raw import take_integers
from hsimap.runtimes._slim import slim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hsimap.runtimes._interface import Contract

ERRORS: Final[tuple[type[Exception], ...]] = tuple(
    value
    for value in vars(_state).values()
    if isinstance(value, type) and issubclass(value, Exception)
)
"""What ONNX Runtime raises; the classes have no common base of their own."""
_MEMORY_WORDS: Final = ("bad allocation", "bad_alloc", "Failed to allocate", "out of memory")
_CPU: Final = "CPUExecutionProvider"
_CUDA: Final = "CUDAExecutionProvider"
_CUDA_OPTIONS: Final = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
_DISABLED: Final = ["GatherSliceToSplitFusion"]
"""It would copy all bands at once where ``slim`` takes a few at a time."""
_SHRINK: Final = ("memory.enable_memory_arena_shrinkage", "cpu:0")
"""Give back what a run took beyond what is in use."""
_ARENA: Final = {
    "arena_extend_strategy": 1,
    "initial_chunk_size_bytes": -1,
    "max_dead_bytes_per_chunk": -1,
}
"""Take from the system what is asked for, and not the next power of two."""
_FATAL: Final = 4
_RANK: Final = 4
_log = logging.getLogger("hsimap")


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
        self._graph, self._device, self._where = graph, device, where
        self._contract, self._threads = contract, threads
        self._seen: set[tuple[np.dtype[np.generic], tuple[int, ...]]] = set()
        self._stored: dict[np.dtype[np.generic], ort.InferenceSession | None] = {}
        model = load_graph(graph, where=where)
        if precision == "fp16":
            model = to_half(model)
        elif not _wants_gpu(device):
            slim(model)
            lighten(model)
        self._session = self._open(model)
        _check_inputs(self._session, contract, where=where)
        _check_outputs(self._session, contract, where=where)
        self._takes_valid = VALID in {value.name for value in self._session.get_inputs()}

    def describe(self) -> dict[str, str]:
        """Return what may change the bits of a result."""
        provider = self._session.get_providers()[0]
        on_gpu = provider == _CUDA
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
        session = self._session if image.dtype == np.float32 else self._takes(image.dtype)
        if session is None:
            session, image = self._session, image.astype(np.float32)
        feed = {IMAGE: image, VALID: valid} if self._takes_valid else {IMAGE: image}
        # The first run of a shape finds out what it needs and takes it piece by piece; from the
        # second on it lies in one block, and the pieces would stay beside it.
        is_new = (image.dtype, image.shape) not in self._seen
        results = run_session(session, feed, shrink=is_new)
        self._seen.add((image.dtype, image.shape))
        self._contract.check_output(results, image.shape)
        return results

    def _takes(self, dtype: np.dtype[np.generic]) -> ort.InferenceSession | None:
        """Return the session that takes integers as they are stored, if the graph can be made so.

        It has threads of its own, which sleep while the other one runs.
        """
        if dtype not in self._stored:
            model = load_graph(self._graph, where=self._where)
            plain = self._precision != "fp16" and not _wants_gpu(self._device)
            made = plain and take_integers(
                model, dtype, side=max(self._contract.patch, self._contract.alignment)
            )
            if made:
                lighten(model)
            self._stored[dtype] = self._open(model) if made else None
        return self._stored[dtype]

    def _open(self, model: onnx.ModelProto) -> ort.InferenceSession:
        return open_session(
            model.SerializeToString(),
            device=self._device,
            threads=self._threads,
            where=self._where,
        )

    def close(self) -> None:
        """Give memory and threads back."""
        del self._session, self._stored
        if not _wants_gpu(self._device):
            _empty_arena()


def open_session(graph: bytes, *, device: str, threads: int, where: str) -> ort.InferenceSession:
    """Open a graph on a device, with its own threads, silent and not spinning.

    ONNX Runtime falls back to the CPU in silence, so the provider is read back.

    Raises
    ------
    BundleError
        If the graph does not load.
    ResourceError
        If the device is not there or the memory does not suffice.
    """
    wants_gpu = _wants_gpu(device)
    if wants_gpu and not cuda_devices():
        raise ResourceError("cuda was asked for, but no CUDA device is there; use --device cpu")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _FATAL
    options.use_deterministic_compute = True
    if not wants_gpu:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    built_in = wants_gpu and _CUDA in ort.get_available_providers()
    providers = [(_CUDA, _CUDA_OPTIONS), _CPU] if built_in else [_CPU]
    ort.set_default_logger_severity(_FATAL)
    quiet = contextlib.redirect_stdout(io.StringIO()) if built_in else contextlib.nullcontext()
    try:
        with quiet:  # both print what they miss
            if built_in:
                ort.preload_dlls()
            session = ort.InferenceSession(
                graph, options, providers=providers, disabled_optimizers=_DISABLED
            )
    except ERRORS as error:
        raise _translate(error, what=f"{where} does not load") from error
    if wants_gpu and session.get_providers()[0] != _CUDA:
        text = (
            f"the CUDA libraries of onnxruntime {ort.__version__} do not load on"
            f" {cuda_devices()[0]}; install onnxruntime-gpu[cuda,cudnn], or use --runtime torch"
        )
        if device == "cuda":
            raise ResourceError(f"cuda was asked for, but {text} or --device cpu")
        _log.warning("running on the CPU: %s", text)
    return session


@cache
def _share_arena() -> None:
    """Give all sessions of the process one arena on the CPU that grows by what is needed."""
    where = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(where, ort.OrtArenaCfg(_ARENA))


def _empty_arena() -> None:
    """Give back what closed sessions have left: any run can do it, here one of a single number."""
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "empty", [value], [])
    graph.output.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = open_session(model.SerializeToString(), device="cpu", threads=1, where="memory")
    run_session(session, {"x": np.zeros(1, dtype=np.float32)}, shrink=True)


def _wants_gpu(device: str) -> bool:
    return device == "cuda" or (device == "auto" and bool(cuda_devices()))


def run_session(
    session: ort.InferenceSession,
    feed: Mapping[str, NDArray[np.generic]],
    *,
    shrink: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Run a session and return its outputs by name; ``shrink`` gives memory back afterwards.

    Raises
    ------
    ResourceError
        If the memory does not suffice.
    BundleError
        If the graph fails on this input.
    """
    names = [value.name for value in session.get_outputs()]
    options = ort.RunOptions()
    if shrink:
        options.add_run_config_entry(*_SHRINK)
    try:
        return dict(zip(names, session.run(names, feed, options), strict=True))
    except ERRORS as error:
        shapes = {name: value.shape for name, value in feed.items()}
        raise _translate(error, what=f"the network fails on {shapes}") from error


def _translate(error: Exception, *, what: str) -> BundleError | ResourceError:
    text = " ".join(str(error).split())
    if any(word in text for word in _MEMORY_WORDS):
        return ResourceError(f"{what}: not enough memory; lower --tile or use another device")
    return BundleError(f"{what}: {text[:300]}")


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

"""Sessions of ONNX Runtime: how they are opened, which graphs they are given, what they raise."""

from __future__ import annotations

import contextlib
import io
import logging
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as _state

from hsimap.errors import BundleError, ResourceError
from hsimap.runtimes._half import to_half
from hsimap.runtimes._host import cuda_devices
from hsimap.runtimes._interface import IMAGE
from hsimap.runtimes._light import lighten
from hsimap.runtimes._raw import take_integers
from hsimap.runtimes._slim import slim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

ERRORS: Final[tuple[type[Exception], ...]] = tuple(
    value
    for value in vars(_state).values()
    if isinstance(value, type) and issubclass(value, Exception)
)
"""What ONNX Runtime raises; the classes have no common base of their own."""
_MEMORY_WORDS: Final = ("bad allocation", "bad_alloc", "Failed to allocate", "out of memory")
_CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
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
_log = logging.getLogger("hsimap")


class Sessions:
    """The sessions of one graph: for float32 images, and for integers where it can be made so.

    Parameters
    ----------
    model : ModelProto
        The graph; for a CPU it is rewritten in place.
    side : int
        Smallest side of an image, in pixels.
    open_one : callable
        Opens a session of a graph, as :func:`open_session` with its options.
    made_for : str
        cpu, gpu, or half for float16: only for a CPU is the graph rewritten.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        side: int,
        open_one: Callable[[bytes], ort.InferenceSession],
        made_for: str = "cpu",
    ) -> None:
        self._graph, self._side = model.SerializeToString(), side
        self._open, self._made_for = open_one, made_for
        self._seen: set[tuple[np.dtype[np.generic], tuple[int, ...]]] = set()
        self._stored: dict[np.dtype[np.generic], ort.InferenceSession | None] = {}
        self._lock = Lock()
        if made_for == "half":
            model = to_half(model)
        elif made_for == "cpu":
            slim(model)
            lighten(model)
        self.floats = self._open(model.SerializeToString())
        """The one for float32 images."""

    def run(self, feed: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
        """Run the graph on a batch of images in float32 or as stored; outputs by name."""
        image = feed[IMAGE]
        session = self.floats if image.dtype == np.float32 else self._takes(image.dtype)
        if session is None:
            session, feed = self.floats, {**feed, IMAGE: image.astype(np.float32)}
        # The first run of a shape finds out what it needs and takes it piece by piece; from the
        # second on it lies in one block, and the pieces would stay beside it.
        new = (feed[IMAGE].dtype, image.shape)
        results = run_session(session, feed, shrink=new not in self._seen)
        self._seen.add(new)
        return results

    def close(self) -> None:
        """Give threads back; their memory is the arena's."""
        del self.floats, self._stored

    def _takes(self, dtype: np.dtype[np.generic]) -> ort.InferenceSession | None:
        """Return the session that takes integers as they are stored, if the graph can be made so.

        It has threads of its own, which sleep while the other one runs.
        """
        with self._lock:  # forwards run side by side
            if dtype not in self._stored:
                model = onnx.load_model_from_string(self._graph)
                made = self._made_for == "cpu" and take_integers(model, dtype, side=self._side)
                if made:
                    lighten(model)
                self._stored[dtype] = self._open(model.SerializeToString()) if made else None
        return self._stored[dtype]


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
    on_gpu = wants_gpu(device)
    if on_gpu and not cuda_devices():
        raise ResourceError("cuda was asked for, but no CUDA device is there; use --device cpu")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _FATAL
    options.use_deterministic_compute = True
    if not on_gpu:
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    built_in = on_gpu and CUDA in ort.get_available_providers()
    providers = [(CUDA, _CUDA_OPTIONS), _CPU] if built_in else [_CPU]
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
    if on_gpu and session.get_providers()[0] != CUDA:
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


def empty_arena() -> None:
    """Give back what closed sessions have left: any run can do it, here one of a single number."""
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "empty", [value], [])
    graph.output.append(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = open_session(model.SerializeToString(), device="cpu", threads=1, where="memory")
    run_session(session, {"x": np.zeros(1, dtype=np.float32)}, shrink=True)


def wants_gpu(device: str) -> bool:
    """Say whether a device that was asked for is a GPU: cuda, or auto where there is one."""
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

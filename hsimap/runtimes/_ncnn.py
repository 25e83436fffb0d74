"""ncnn on the convolutions of the bundle's graph, CPU only; an optional extra. Never loads torch.

ncnn computes 3 x 3 convolutions by minimal filtering (Winograd; Lavin and Gray 2016,
arXiv 1509.09308) in float32, which takes up to five times fewer products than the direct sum that
other runtimes take. What stands before and after the convolutions is run by ONNX Runtime.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
from contextlib import closing
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
import onnxruntime as ort

from hsimap.bundle import ONNX
from hsimap.errors import BundleError, ResourceError, UsageError
from hsimap.geometry import round_up
from hsimap.runtimes._cut import Cut, Part, cut
from hsimap.runtimes._graph import load_graph
from hsimap.runtimes._host import instruction_set
from hsimap.runtimes._interface import IMAGE, VALID, Contract
from hsimap.runtimes._light import lighten
from hsimap.runtimes._onnx import OnnxRuntime
from hsimap.runtimes._parity import check_parity
from hsimap.runtimes._routes import NCNN_LIBRARIES
from hsimap.runtimes._sessions import Sessions, empty_arena, open_session, run_session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hsimap.bundle import Bundle

_REDUCED: Final = (
    "use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage",
)  # fmt: skip
"""On by default where the CPU has them; here everything is float32."""
_REUSE: Final = 0.5
"""A freed block serves a request of no less than this part of it. Of 0 to 0.75 it took the least
memory: 3200 to 3900 bytes a pixel of a U-Net of 64 channels, where 0 takes 4100 to 4500."""
_WAITING: Final = "OMP_WAIT_POLICY"
"""Read when ncnn's OpenMP is loaded. Its threads would otherwise spin while others decode: 9.6
instead of 7.5 CPU s a million pixels of a U-Net on two busy cores."""
_TIMEOUT: Final = 600.0
_TRIAL: Final = slice(3, 4)
"""Two images of odd shape, one with holes and one with a border."""
_SPREAD: Final = 0.3
"""Standard deviation of the trial's spectra over their mean."""
_SIDES: Final = (2, 3)
"""Sides of the two inputs that show the converter what varies, in patches."""


class NcnnRuntime:
    """A graph whose convolutions run in ncnn.

    Parameters
    ----------
    parts : Cut
        The graph; rewritten in place.
    contract : Contract
        What it takes and gives.
    threads : int
        Threads of one forward.
    where : str
        Name of the graph, for messages.

    Raises
    ------
    BundleError
        If its conversion is refused.
    """

    def __init__(self, parts: Cut, contract: Contract, *, threads: int, where: str) -> None:
        self._library = _library()
        self._contract, self._threads, self._where = contract, threads, where
        self._parts = parts
        open_one = partial(open_session, device="cpu", threads=threads, where=where)
        side = max(contract.patch, contract.alignment)
        self._head = Sessions(parts.head.model, side=side, open_one=open_one)
        lighten(parts.tail.model)
        tail = parts.tail.model
        self._tail = open_one(tail.SerializeToString()) if parts.tail.gives else None
        self._net = self._library.Net()
        self._pool = _pool(self._library)
        self._load(parts.middle)

    def forward(
        self, image: NDArray[np.generic], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the network on a batch; see :class:`hsimap.runtimes.Runtime`."""
        self._contract.check_input(image, valid)
        values = self._before(image, valid)
        members = [self._run(values, member) for member in range(len(image))]
        values |= {name: np.stack([m[name] for m in members]) for name in members[0]}
        if self._tail is not None:
            feed = {name: values[name] for name in self._parts.tail.takes}
            values |= run_session(self._tail, feed)
        results = {output.name: values[output.name] for output in self._contract.outputs}
        self._contract.check_output(results, image.shape)
        return results

    def close(self) -> None:
        """Give memory and threads back."""
        self._net.clear()
        del self._net, self._tail
        self._pool.clear()
        self._head.close()
        empty_arena()

    def _before(
        self, image: NDArray[np.generic], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[Any]]:
        values = {IMAGE: image, VALID: valid}
        feed = {name: values[name] for name in self._parts.head.takes}
        return {VALID: valid, **self._head.run(feed)}

    def _run(
        self, values: Mapping[str, NDArray[Any]], member: int
    ) -> dict[str, NDArray[np.float32]]:
        """Run the middle on one member of a batch."""
        extractor = self._net.create_extractor()
        found = {}
        for index, name in enumerate(self._parts.middle.takes):
            block = np.ascontiguousarray(values[name][member])
            # A copy: ncnn's first layer may write into its input, and wants it aligned.
            extractor.input(f"in{index}", self._library.Mat(block).clone(self._pool))
        for index, name in enumerate(self._parts.middle.gives):
            code, result = extractor.extract(f"out{index}")
            if code:
                raise ResourceError(
                    f"the network runs out of memory in ncnn on {values[VALID].shape}; lower --tile"
                )
            found[name] = np.array(result)
        extractor.clear()
        return found

    def _load(self, middle: Part) -> None:
        """Make ncnn's files of the middle and load them."""
        net = self._net
        net.opt.num_threads = self._threads
        net.opt.blob_allocator = net.opt.workspace_allocator = self._pool
        for name in _REDUCED:
            setattr(net.opt, name, False)
        lighten(middle.model)
        with tempfile.TemporaryDirectory(prefix="hsimap-") as folder:
            param, weights = self._files(middle, Path(folder))
            if net.load_param(str(param)) or net.load_model(str(weights)):
                raise BundleError(f"{self._where} does not load in ncnn; use --runtime onnx")
        self._pool.clear()

    def _files(self, middle: Part, folder: Path) -> tuple[Path, Path]:
        shapes = [self._shapes(middle, step) for step in _SIDES]
        source = folder / "middle.onnx"
        onnx.save(middle.model, source)
        command = [str(_converter()), source.name, "fp16=0"]
        command += [f"inputshape{'' if i == 0 else 2}={shape}" for i, shape in enumerate(shapes)]
        try:
            subprocess.run(  # noqa: S603  # the converter that belongs to ncnn
                command,
                cwd=folder,
                env=os.environ | {"OMP_NUM_THREADS": str(self._threads)},
                capture_output=True,
                timeout=_TIMEOUT,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise BundleError(f"{self._where} does not convert to ncnn: {error}") from error
        param, weights = folder / "middle.ncnn.param", folder / "middle.ncnn.bin"
        if not param.is_file() or not weights.is_file():
            raise BundleError(f"{self._where} does not convert to ncnn; use --runtime onnx")
        return param, weights

    def _shapes(self, middle: Part, step: int) -> str:
        """Return the shapes of the middle's inputs for an image of so many patches."""
        side = step * round_up(self._contract.patch, self._contract.alignment)
        image = np.zeros((1, self._contract.n_bands, side, side), dtype=np.float32)
        values = self._before(image, np.ones((1, 1, side, side), dtype=np.float32))
        shapes = (",".join(map(str, values[name].shape)) for name in middle.takes)
        return ",".join(f"[{shape}]f32" for shape in shapes)


class OnDemand:
    """A network that is converted, and checked, when it is first run.

    That takes seconds, which a finished run that is only looked at need not wait for.

    Parameters
    ----------
    bundle : Bundle
        The model.
    parts : Cut
        Its graph.
    threads : int
        Threads of one forward.
    """

    def __init__(self, bundle: Bundle, parts: Cut, *, threads: int) -> None:
        self._bundle, self._parts, self._threads = bundle, parts, threads
        self._runtime: NcnnRuntime | None = None
        self._lock = Lock()

    def describe(self) -> dict[str, str]:
        """Return what may change the bits of a result."""
        versions = (f"{n} {metadata.version(n)}" for n in NCNN_LIBRARIES)
        return {
            "runtime": "ncnn",
            "version": f"{', '.join(versions)}, onnxruntime {ort.__version__}",
            "provider": "CPU",
            "device": "cpu",
            "precision": "float32",
            "threads": str(self._threads),
            "cpu": instruction_set(),
        }

    def forward(
        self, image: NDArray[np.generic], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Run the network on a batch; see :class:`hsimap.runtimes.Runtime`."""
        with self._lock:  # forwards run side by side
            if self._runtime is None:
                self._runtime = _checked(self._bundle, self._parts, threads=self._threads)
        return self._runtime.forward(image, valid)

    def close(self) -> None:
        """Give memory and threads back."""
        if self._runtime is not None:
            self._runtime.close()


def open_ncnn(bundle: Bundle, *, threads: int) -> OnDemand:
    """Make a bundle's graph ready for ncnn; the first forward holds it against ONNX Runtime.

    Raises
    ------
    UsageError
        If ncnn is not installed, or the graph holds no convolutions that it could take.
    BundleError
        If the graph is refused.
    """
    _library()
    where = str(bundle.path / ONNX)
    parts = cut(load_graph(bundle.onnx or b"", where=where))
    if parts is None:
        raise UsageError(
            f"{where} has no stretch of plain convolutions for ncnn; use --runtime onnx"
        )
    return OnDemand(bundle, parts, threads=threads)


def _checked(bundle: Bundle, parts: Cut, *, threads: int) -> NcnnRuntime:
    """Convert a graph, and hold one small image against ONNX Runtime.

    Raises
    ------
    VerificationError
        If the results differ.
    """
    contract, where = Contract.of(bundle.manifest), str(bundle.path / ONNX)
    spectrum = bundle.manifest.input.mean_spectrum
    runtime = NcnnRuntime(parts, contract, threads=threads, where=where)
    with closing(
        OnnxRuntime(bundle.onnx or b"", contract, device="cpu", threads=threads, where=where)
    ) as reference:
        mean = np.zeros(contract.n_bands) if spectrum is None else np.asarray(spectrum)
        std = np.maximum(np.abs(mean) * _SPREAD, 1e-6) if mean.any() else mean + 1
        check_parity(
            contract,
            reference.forward,
            runtime.forward,
            stored=(list(mean), list(std)),
            trials=_TRIAL,
        )
    return runtime


def _library() -> Any:  # noqa: ANN401  # ncnn's stubs are not complete
    before = os.environ.get(_WAITING)
    os.environ.setdefault(_WAITING, "passive")
    try:
        import ncnn  # noqa: PLC0415  # an optional extra
    except ImportError as error:
        raise UsageError(
            "ncnn is not installed; pip install 'hsimap[ncnn]', or use --runtime onnx"
        ) from error
    finally:
        if before is None:
            del os.environ[_WAITING]
    return ncnn


def _pool(library: Any) -> Any:  # noqa: ANN401  # ncnn's stubs are not complete
    """Return a new pool of memory that never goes: ncnn crashes where a block outlives its pool."""
    pool = library.PoolAllocator()
    pool.set_size_compare_ratio(_REUSE)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(pool))
    return pool


def _converter() -> Path:
    """Return the program inside pnnx, whose Python side would load torch."""
    spec = find_spec("pnnx")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    name = "pnnx.exe" if os.name == "nt" else "pnnx"
    found = next((path for f in folders if (path := Path(f, name)).is_file()), None)
    if found is None:
        raise UsageError("pnnx is not installed; pip install 'hsimap[ncnn]'")
    return found

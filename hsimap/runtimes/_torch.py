"""The network in torch, built from the bundle's own description."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from pydantic import ValidationError

from hsimap.errors import BundleError, ResourceError, UsageError
from hsimap.networks import NetworkSpec, build_network
from hsimap.runtimes._compile import compile_failed, compiler_for
from hsimap.runtimes._host import instruction_set, keep_freed_memory
from hsimap.runtimes._interface import Contract

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from hsimap.bundle import Bundle
    from hsimap.networks import MappingNetwork

_RANK: Final = 4
_APART: Final = ("cuda",)
"""Devices whose memory is not the host's."""
_REDUCED: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRuntime:
    """A network in torch.

    Parameters
    ----------
    network : Module
        Takes ``(image, valid)`` and gives a tuple in the order of the contract's outputs.
    contract : Contract
        What it takes and gives.
    device : str
        auto, cpu or cuda.
    threads : int
        Threads of one forward; torch knows one number for the whole process.
    precision : str
        fp32, bf16 or fp16: matrix products and convolutions only, the rest stays in float32.
    stay : bool
        Leave results on the GPU, as tensors, for a caller that goes on there.
    compiled : bool
        Turn the network into machine code for the shape of the first batch; another shape is
        compiled anew. What was compiled once is found again in torch's cache, a folder of the
        user under the system's temporary one.

    Raises
    ------
    ResourceError
        If the device is not there, or what compiles is not.
    """

    def __init__(  # noqa: PLR0913  # what decides the bits, and where results go
        self,
        network: torch.nn.Module,
        contract: Contract,
        *,
        device: str,
        threads: int,
        precision: str = "fp32",
        stay: bool = False,
        compiled: bool = False,
    ) -> None:
        self._precision = precision
        self._contract, self._threads = contract, threads
        self._device = _device(device)
        self._stay = stay and self._device.type in _APART
        self._compiler = compiler_for(self._device.type) if compiled else None
        self._compiled_for: tuple[torch.Size, ...] = ()
        keep_freed_memory()
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        self._network = network.eval().to(self._device, torch.float32)
        for weight in self._network.parameters():
            if weight.dim() == _RANK:  # the layout is known for four axes only
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)
        self._run: Callable[..., Any] = self._network
        if compiled:
            self._run = _compiled(self._network)

    def describe(self) -> dict[str, str]:
        """Return what may change the bits of a result."""
        on_gpu = self._device.type == "cuda"
        name = f"cuda ({torch.cuda.get_device_name(self._device)})" if on_gpu else "cpu"
        told = {
            "runtime": "torch",
            "version": f"torch {torch.__version__}",
            "provider": "cudnn" if on_gpu else "mkldnn",
            "device": name,
            "precision": "float32" if self._precision == "fp32" else self._precision,
            "threads": str(self._threads),
            "cpu": instruction_set(),
        }
        return told if self._compiler is None else {**told, "compiled": self._compiler}

    def forward(self, image: NDArray[np.generic], valid: NDArray[np.float32]) -> dict[str, Any]:
        """Run the network on a batch; see :class:`hsimap.runtimes.Runtime`.

        Results that stay are tensors that may be changed in place; their numbers may still be in
        the making.
        """
        self._contract.check_input(image, valid)
        # A tensor of the inference mode could not be changed in place.
        mode = torch.no_grad if self._stay else torch.inference_mode
        try:
            with mode(), self._cast():
                results = self._results(self._tensor(image), self._tensor(valid))
                tensors = [result.float().contiguous() for result in results]
                arrays = tensors if self._stay else [t.cpu().numpy() for t in tensors]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error):
                raise
            raise ResourceError(
                f"the network runs out of memory on {image.shape}; lower --tile or --batch, or use"
                f" another device"
            ) from error
        named = dict(zip([out.name for out in self._contract.outputs], arrays, strict=True))
        self._contract.check_output(named, image.shape)
        return named

    def _results(self, image: torch.Tensor, valid: torch.Tensor) -> Any:  # noqa: ANN401  # the network's
        if self._compiler is None:
            return self._run(image, valid)
        if self._compiled_for != (shapes := (image.shape, valid.shape)):
            # Torch gives up after a few shapes of one function and goes on uncompiled.
            torch.compiler.reset()
            self._compiled_for = shapes
        try:
            return self._run(image, valid)
        except torch._dynamo.exc.TorchDynamoException as error:  # noqa: SLF001  # documented, no other name
            raise compile_failed(error) from error

    def _cast(self) -> torch.autocast:
        dtype = _REDUCED.get(self._precision)
        return torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None)

    def _tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        """Bring an array to the device as it is stored, and to float32 there."""
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        if self._device.type == "cuda":
            tensor = tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(torch.float32, memory_format=torch.channels_last)

    def close(self) -> None:
        """Give memory back."""
        del self._network, self._run
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def open_torch(
    bundle: Bundle,
    *,
    device: str,
    threads: int,
    precision: str = "fp32",
    stay: bool = False,
    compiled: bool = False,
) -> TorchRuntime:
    """Build a bundle's network and load its weights; see :class:`TorchRuntime`.

    Raises
    ------
    BundleError
        If the bundle's description, weights and outputs do not fit each other.
    ResourceError
        If the device, or what compiles for it, is not there.
    """
    network = load_network(bundle)
    return TorchRuntime(
        network,
        Contract.of(bundle.manifest),
        device=device,
        threads=threads,
        precision=precision,
        stay=stay,
        compiled=compiled,
    )


def load_network(bundle: Bundle) -> MappingNetwork:
    """Return a bundle's network with its weights, in float32 on the CPU.

    Raises
    ------
    BundleError
        If the bundle is ONNX only, or its parts do not fit each other.
    """
    manifest = bundle.manifest
    if manifest.network is None:
        raise BundleError(f"{bundle.path} is an ONNX-only bundle; use --runtime onnx")
    try:
        network = build_network(NetworkSpec.model_validate(manifest.network))
    except (ValidationError, UsageError) as error:
        text = " ".join(str(error).split())[:300]
        raise BundleError(f"{bundle.path}: the manifest's network is wrong: {text}") from error
    stated = (manifest.input.n_bands, manifest.outputs, manifest.alignment)
    if (network.spec.n_bands, network.outputs, network.alignment) != stated:
        raise BundleError(
            f"{bundle.path}: bands, outputs or alignment of the manifest are not its network's"
        )
    load_weights(network, bundle.weights(), where=str(bundle.path))
    return network.eval()


def load_weights(
    network: torch.nn.Module, weights: Mapping[str, NDArray[Any]], *, where: str
) -> None:
    """Put weights into a network; names and shapes must be exactly its own.

    Raises
    ------
    BundleError
        Naming the first that is missing, left over or of another shape.
    """
    wanted = network.state_dict()
    for name in sorted(wanted.keys() ^ weights.keys()):
        what = "lack" if name in wanted else "have the unknown"
        raise BundleError(f"{where}: the weights {what} {name!r}; the network is another one")
    for name, tensor in wanted.items():
        if tuple(tensor.shape) != weights[name].shape:
            raise BundleError(
                f"{where}: {name!r} has shape {weights[name].shape}, the network needs"
                f" {tuple(tensor.shape)}"
            )
    tensors = {name: torch.from_numpy(array.copy()) for name, array in weights.items()}
    network.load_state_dict(tensors, strict=True)


def _compiled(network: torch.nn.Module) -> Callable[..., Any]:
    """Have a network compiled when it is first called, as a whole and for that shape.

    Where torch can, kernels are chosen by rule: what is fastest in a trial may be another one in
    the next process, with other bits.
    """
    known = import_module("torch._inductor").list_options()
    options: dict[str, Any] = {"deterministic": True} if "deterministic" in known else {}
    return torch.compile(network, dynamic=False, fullgraph=True, options=options)


def _device(asked: str) -> torch.device:
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ResourceError(
            f"cuda was asked for, but torch {torch.__version__} sees no CUDA device; use"
            f" --device cpu or install a torch build for CUDA"
        )
    return torch.device("cuda")

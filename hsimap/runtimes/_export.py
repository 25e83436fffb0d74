"""From a torch network to one self-contained ONNX graph, compared before it is given out."""

from __future__ import annotations

import copy
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import torch

from hsimap.errors import BundleError, VerificationError
from hsimap.runtimes._graph import strip
from hsimap.runtimes._interface import IMAGE, VALID, Contract
from hsimap.runtimes._onnx import OnnxRuntime
from hsimap.runtimes._parity import TOLERANCE, ParityReport, check_parity, export_shape
from hsimap.streams import available_cpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from hsimap.runtimes._parity import Forward
    from hsimap.tasks import Output

_OPSET: Final = 20
_SPATIAL: Final = (2, 3)


class _Spec(Protocol):
    @property
    def n_bands(self) -> int: ...
    @property
    def patch(self) -> int: ...


class Exportable(Protocol):
    """What is asked of a network; :class:`hsimap.networks.MappingNetwork` obeys it."""

    @property
    def spec(self) -> _Spec:
        """Number of bands and training patch."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """In the order of the tuple that the network returns."""

    @property
    def alignment(self) -> int:
        """Input sides are multiples of it, in pixels."""

    def __call__(self, image: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs of ``(batch, band, y, x)`` and ``(batch, 1, y, x)``."""


def export_onnx(
    network: Exportable,
    *,
    stored: tuple[Sequence[float], Sequence[float]] | None = None,
    tolerance: float = TOLERANCE,
) -> tuple[bytes, ParityReport]:
    """Export a network with dynamic batch, height and width, and compare it on other shapes.

    Parameters
    ----------
    network : Exportable
        A torch module; it is copied, not changed.
    stored : tuple, optional
        ``(band,)`` mean and spread of stored values, for the trials; by default what the network
        itself normalises with, else 0.5 and 0.25.
    tolerance : float
        Limit of the difference: of a probability, or of a value over the span of its output.

    Returns
    -------
    bytes
        The graph: inputs ``image`` and ``valid``, outputs named after the tasks. The same weights
        give the same bytes.
    ParityReport
        The differences found.

    Raises
    ------
    VerificationError
        If the network does not export, or its graph differs from it.
    """
    contract = Contract(
        n_bands=network.spec.n_bands,
        outputs=tuple(network.outputs),
        alignment=network.alignment,
        patch=network.spec.patch,
    )
    still: Any = copy.deepcopy(network)
    still = still.cpu().float().eval()
    data = _trace(still, contract)
    try:
        runtime = OnnxRuntime(
            data, contract, device="cpu", threads=available_cpus(), where="the exported graph"
        )
        report = check_parity(
            contract,
            _eager(still, contract),
            runtime.forward,
            stored=stored or _typical(network),
            tolerance=tolerance,
        )
    except BundleError as error:
        raise VerificationError(f"the network does not export for every shape: {error}") from error
    return data, report


def _typical(network: Exportable) -> tuple[Sequence[float], Sequence[float]]:
    norm = getattr(network.spec, "normalisation", None)
    if norm is not None and norm.mean:
        return norm.mean, norm.std
    return [0.5] * network.spec.n_bands, [0.25] * network.spec.n_bands


def _eager(network: torch.nn.Module, contract: Contract) -> Forward:
    def forward(
        image: NDArray[np.float32], valid: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            results = network(torch.from_numpy(image), torch.from_numpy(valid))
        names = [output.name for output in contract.outputs]
        return {name: result.numpy() for name, result in zip(names, results, strict=True)}

    return forward


def _trace(network: torch.nn.Module, contract: Contract) -> bytes:
    batch, height, width = export_shape(contract)
    dims = {0: torch.export.Dim("batch"), **_sides(contract)}
    sample = (
        torch.zeros(batch, contract.n_bands, height, width),
        torch.ones(batch, 1, height, width),
    )
    with _quiet():
        try:
            program = torch.onnx.export(
                network,
                sample,
                dynamo=True,
                external_data=False,
                input_names=[IMAGE, VALID],
                output_names=[output.name for output in contract.outputs],
                dynamic_shapes={IMAGE: dims, VALID: dims},
                opset_version=_OPSET,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            text = " ".join(str(error.__cause__ or error).split())[:300]
            raise VerificationError(f"the network does not export to ONNX: {text}") from error
    if program is None:
        raise VerificationError("torch exported nothing")
    model: onnx.ModelProto = program.model_proto
    return _finish(model, contract)


def _sides(contract: Contract) -> dict[int, Any]:
    """Height and width as multiples of the alignment, not below the patch."""
    step = contract.alignment
    least = -(-contract.patch // step)
    names = dict(zip(_SPATIAL, ("rows", "cols"), strict=True))
    dims = {axis: torch.export.Dim(name, min=least) for axis, name in names.items()}
    return {axis: dim if step == 1 else step * dim for axis, dim in dims.items()}


def _finish(model: onnx.ModelProto, contract: Contract) -> bytes:
    strip(model)
    model.producer_name, model.producer_version = "hsimap", ""
    model.graph.name = "hsimap"
    strides = {output.name: output.stride for output in contract.outputs}
    for value in (*model.graph.input, *model.graph.output):
        stride = strides.get(value.name, 1)
        suffix = "" if stride == 1 else f" / {stride}"
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param, dims[2].dim_param, dims[3].dim_param = (
            "batch",
            f"height{suffix}",
            f"width{suffix}",
        )
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notes about packages and versions, which no user can act upon."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

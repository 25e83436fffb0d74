"""Static int8: u8 activations, s8 weights a channel, calibrated on real pixels."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from hsimap.runtimes._graph import load_graph, nodes_of, strip
from hsimap.runtimes._host import instruction_set
from hsimap.runtimes._interface import IMAGE, VALID
from hsimap.runtimes._slim import PREFIX, slim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Batch = tuple[NDArray[np.generic], NDArray[np.float32]]
_VNNI: Final = {"avx512_vnni", "avx_vnni", "asimd"}
"""Without one of these a product of u8 and s8 overflows 16 bits unless weights have 7 bits."""


def quantise(graph: bytes, batches: Iterable[Batch]) -> bytes:
    """Quantise the convolutions of a graph, but not the first one of many bands.

    Parameters
    ----------
    graph : bytes
        The bundle's float32 graph.
    batches : iterable
        ``(image, valid)`` as :meth:`hsimap.runtimes.Runtime.forward` takes them.

    Returns
    -------
    bytes
        A graph of the same inputs and outputs, in the form that :func:`slim` gives.
    """
    model = load_graph(graph, where="the graph")
    slim(model)
    names = {value.name for value in model.graph.input}
    _name(model)
    keep = [n.name for n in model.graph.node if n.name.startswith(PREFIX) or IMAGE in n.input]
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory(prefix="hsimap-") as folder:
        source, target = Path(folder) / "full.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        root.setLevel(logging.ERROR)  # it warns of shape tensors, which no one can act upon
        try:
            quantize_static(
                source,
                target,
                _Reader(batches, with_valid=VALID in names),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                reduce_range=not _VNNI & set(instruction_set().split()),
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=keep,
                calibrate_method=CalibrationMethod.MinMax,
            )
        finally:
            root.setLevel(level)
        made = onnx.load(target)
    strip(made)
    made.producer_name, made.producer_version = "hsimap", ""
    data: bytes = made.SerializeToString(deterministic=True)
    return data


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no stubs
    def __init__(self, batches: Iterable[Batch], *, with_valid: bool) -> None:
        self._batches: Iterator[Batch] = iter(batches)
        self._with_valid = with_valid

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        batch = next(self._batches, None)
        if batch is None:
            return None
        return {IMAGE: batch[0], VALID: batch[1]} if self._with_valid else {IMAGE: batch[0]}


def _name(model: onnx.ModelProto) -> None:
    """Give every node a name: the quantiser knows what to leave alone by names."""
    for index, node in enumerate(nodes_of(model.graph)):
        node.name = node.name or f"node/{index}"

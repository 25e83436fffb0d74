"""Half precision for a GPU: what lies between the convolutions in float16, the rest in float32.

ONNX Runtime's own converter rounds every value of the graph, also those it is told to leave alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEAVY: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_LIGHT: Final = frozenset(
    {
        "Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Gelu", "GlobalAveragePool",
        "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MaxPool", "Mul", "Pad", "Relu",
        "Reshape", "Resize", "Sigmoid", "Slice", "Split", "Squeeze", "Tanh", "Transpose",
        "Unsqueeze",
    }
)  # fmt: skip
"""What may be in float16 between heavy nodes; sums over many values and norms keep float32."""
_ONE_VALUE: Final = frozenset({"Resize"})
"""Whose other inputs are float32 by definition."""
_FLOAT: Final = TensorProto.FLOAT


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph of the same inputs and outputs whose inner part computes in float16.

    Stored values up to 65 535 and values in physical units do not fit float16, which has 11
    significant bits: what stands before the first convolution of a path and after its last one
    keeps float32.

    Parameters
    ----------
    model : ModelProto
        In float32; it is not changed.
    """
    typed = onnx.shape_inference.infer_shapes(model)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    nodes = list(made.graph.node)
    cast = _Casts(typed.graph)
    inner = _between(nodes)
    done: list[onnx.NodeProto] = []
    for index, node in enumerate(nodes):
        ends = node.input[:1] if node.op_type in _ONE_VALUE else node.input
        for place, name in enumerate(ends):
            node.input[place] = cast.wanted(name, half=index in inner, before=done)
        done.append(node)
        if index in inner:
            cast.halves.update(node.output)
    outputs = [value.name for value in made.graph.output]
    cast.restore(outputs, done)
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(done)
    made.graph.initializer.extend(cast.constants)
    _drop_unused(made.graph)
    return made


class _Casts:
    """Knows which values are in float16, and casts where a node wants the other type."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        values = (*graph.input, *graph.value_info, *graph.output)
        self._floats = {v.name for v in values if v.type.tensor_type.elem_type == _FLOAT}
        self._arrays = {t.name: t for t in graph.initializer if t.data_type == _FLOAT}
        self.halves: set[str] = set()
        self.constants: list[TensorProto] = []
        self._made: dict[str, str] = {}

    def wanted(self, name: str, *, half: bool, before: list[onnx.NodeProto]) -> str:
        """Return the name of a value in the type that is wanted; add a cast where there is none."""
        is_float = name in self._floats or name in self._arrays
        if not is_float or half == (name in self.halves):
            return name
        made = f"{name}/{'half' if half else 'float'}"
        if made not in self._made:
            self._made[made] = name
            if name in self._arrays:
                array = numpy_helper.to_array(self._arrays[name]).astype(np.float16)
                self.constants.append(numpy_helper.from_array(array, made))
            else:
                kind = TensorProto.FLOAT16 if half else _FLOAT
                before.append(helper.make_node("Cast", [name], [made], to=kind))
        return made

    def restore(self, outputs: Iterable[str], nodes: list[onnx.NodeProto]) -> None:
        """Give the graph's outputs in float32 under their names."""
        for name in self.halves.intersection(outputs):
            inside = f"{name}/inside"
            for node in nodes:
                for place, value in enumerate(node.output):
                    node.output[place] = inside if value == name else value
                for place, value in enumerate(node.input):
                    node.input[place] = inside if value == name else value
            nodes.append(helper.make_node("Cast", [inside], [name], to=_FLOAT))


def _between(nodes: list[onnx.NodeProto]) -> set[int]:
    """Return the places of the heavy nodes and of the light ones with one before and one after."""
    heavy = {index for index, node in enumerate(nodes) if node.op_type in _HEAVY}
    light = {index for index, node in enumerate(nodes) if node.op_type in _LIGHT}
    after = _reached(list(enumerate(nodes)), into=False)
    before = _reached(list(enumerate(nodes))[::-1], into=True)
    return heavy | (light & after & before)


def _reached(nodes: list[tuple[int, onnx.NodeProto]], *, into: bool) -> set[int]:
    """Return the nodes that come after a heavy one or, with ``into``, lead into one.

    ``nodes`` are in the order of the walk; a graph's own order is topological.
    """
    values: set[str] = set()
    found: set[int] = set()
    for index, node in nodes:
        near, far = (node.output, node.input) if into else (node.input, node.output)
        if values.intersection(near):
            found.add(index)
        if index in found or node.op_type in _HEAVY:
            values.update(name for name in far if name)
    return found


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Drop the float32 weights that only their float16 copies are left of."""
    used = {name for node in graph.node for name in node.input}
    used.update(value.name for value in graph.output)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)

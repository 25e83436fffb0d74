"""Cut a graph in three: what comes before its convolutions, they themselves, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Final

import onnx
from onnx import TensorProto, helper, shape_inference

from hsimap.runtimes._interface import IMAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onnx import GraphProto, NodeProto

_PLAIN: Final = {
    "Add", "AveragePool", "Concat", "Conv", "ConvTranspose", "LeakyRelu", "MaxPool", "Relu",
}  # fmt: skip
"""Operators of the middle; the parts before and after may hold any."""
_CHANNELS_AXIS: Final = {1, -3}
_RANK: Final = 4
_KERNEL: Final = 3
"""Least side of a kernel that another algorithm than the direct one is worth looking for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A graph of its own, and the names of what goes in and out, in the graph's order."""

    model: onnx.ModelProto
    takes: tuple[str, ...]
    gives: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A graph in three parts, to be run one after the other."""

    head: Part
    """Everything up to the first convolution of the bands."""
    middle: Part
    """Convolutions, pools, sums and joined channels, and nothing else."""
    tail: Part
    """What is left: activations, units, slices."""


def cut(model: onnx.ModelProto) -> Cut | None:
    """Cut out the longest stretch of plain convolutions behind the first one.

    A stretch of a list in which every node stands behind those it needs can be run as a whole, so
    that any graph can be cut at its ends.

    Parameters
    ----------
    model : ModelProto
        Checked by :func:`hsimap.runtimes._graph.load_graph`; not changed.

    Returns
    -------
    Cut or None
        None where no convolution of 3 x 3 or more would come into the middle.
    """
    graph = model.graph
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    count = len(graph.node)
    first = next((i for i, n in enumerate(graph.node) if _is_wide(n, weights)), count)
    others = (i for i in range(first + 1, count) if not _is_plain(graph.node[i], weights))
    stretches = [range(a + 1, b) for a, b in pairwise([first, *others, count])]
    best = max(stretches, key=lambda stretch: _work(graph, stretch, weights))
    return _parts(model, best) if _work(graph, best, weights) else None


def _is_wide(node: NodeProto, weights: dict[str, tuple[int, ...]]) -> bool:
    """Say whether a node is a convolution to more than one channel."""
    shape = weights.get(node.input[1]) if node.op_type == "Conv" else None
    return shape is not None and shape[0] > 1


def _is_plain(node: NodeProto, weights: dict[str, tuple[int, ...]]) -> bool:
    if node.op_type not in _PLAIN:
        return False
    if node.op_type in {"Conv", "ConvTranspose"}:
        return all(name in weights for name in node.input[1:])
    if any(name in weights for name in node.input):
        return False
    if node.op_type == "Concat":
        return any(a.name == "axis" and a.i in _CHANNELS_AXIS for a in node.attribute)
    return len(node.output) == 1


def _work(graph: GraphProto, stretch: range, weights: dict[str, tuple[int, ...]]) -> int:
    """Return how many weights of kernels of 3 x 3 or more lie in a stretch."""
    total = 0
    for index in stretch:
        node = graph.node[index]
        shape = weights[node.input[1]] if node.op_type == "Conv" else ()
        if len(shape) == _RANK and min(shape[2:]) >= _KERNEL:
            total += prod(shape)
    return total


def _parts(model: onnx.ModelProto, stretch: range) -> Cut | None:
    nodes = list(model.graph.node)
    groups = nodes[: stretch.start], nodes[stretch.start : stretch.stop], nodes[stretch.stop :]
    results = {value.name for value in model.graph.output}
    needs = [_needed(group, model.graph) for group in groups]
    if IMAGE in needs[1] | needs[2]:
        return None
    kinds = _kinds(model)
    later = (needs[1] | needs[2] | results, needs[2] | results, results)
    parts = []
    for group, takes, wanted in zip(groups, needs, later, strict=True):
        made = {name for node in group for name in node.output}
        gives = [name for node in group for name in node.output if name in wanted & made]
        parts.append(_part(model, group, sorted(takes), gives, kinds))
    head, middle, tail = parts
    floats = all(kinds[name].tensor_type.elem_type == TensorProto.FLOAT for name in middle.takes)
    return Cut(head=head, middle=middle, tail=tail) if floats else None


def _needed(nodes: Iterable[NodeProto], graph: GraphProto) -> set[str]:
    """Return what some nodes take that is neither a constant nor made by themselves."""
    known = {tensor.name for tensor in graph.initializer} | {""}
    needed: set[str] = set()
    for node in nodes:
        needed |= set(node.input) - known
        known |= set(node.output)
    return needed


def _kinds(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    graph = shape_inference.infer_shapes(model).graph
    return {v.name: v.type for v in (*graph.input, *graph.value_info, *graph.output)}


def _part(
    model: onnx.ModelProto,
    nodes: Sequence[NodeProto],
    takes: Sequence[str],
    gives: Sequence[str],
    kinds: dict[str, onnx.TypeProto],
) -> Part:
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in used]
    ends = [
        [helper.make_value_info(name, kinds[name]) for name in names] for names in (takes, gives)
    ]
    graph = helper.make_graph(nodes, "part", *ends, initializer=constants)
    made = helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )
    return Part(model=made, takes=tuple(takes), gives=tuple(gives))

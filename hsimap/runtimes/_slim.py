"""Rewrite the first layers of a graph so that a forward on the CPU holds less memory.

A scene of 128 bands is 512 bytes a pixel, and each step before the first convolution makes another
copy of it: difference, quotient, masked image, and ONNX Runtime's own layout of it. Here the steps
and the convolution are done for 16 bands at a time and the results are added up. Taiga ``tiny`` on
128 bands needs 500 instead of 1900 bytes a pixel beside its input, in the same time; outputs move
by 1e-6, as sums are taken in another order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from hsimap.runtimes._interface import IMAGE, VALID

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

_GROUP: Final = 16
"""Bands that are worked on at a time."""
_LEAST: Final = 2 * _GROUP
"""Fewer bands are left alone."""
PREFIX: Final = "slim/"
_ELEMENTWISE: Final = {"Sub", "Mul", "Div", "Add"}
_RANK: Final = 4


def slim(model: onnx.ModelProto) -> bool:
    """Split the way from the image to the first convolution by bands, in place.

    Parameters
    ----------
    model : ModelProto
        Its input ``image`` goes through steps with constants, a ``Where`` that masks it, and one
        convolution; any other graph is left as it is. Must be run with ONNX Runtime's
        ``GatherSliceToSplitFusion`` off, which would undo the split.

    Returns
    -------
    bool
        Whether anything was changed.
    """
    changed = False
    for node in list(model.graph.node):
        if sums_bands(node, Graph(model.graph)):
            replace(model.graph, {node.output[0]}, _product(node, Graph(model.graph)))
            changed = True
    graph = Graph(model.graph)
    chain = graph.chain()
    if chain is not None:
        replace(model.graph, {node.output[0] for node in chain}, _split(chain, graph))
    return changed or chain is not None


class Graph:
    """Look-up tables of a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.inputs = {value.name for value in graph.input}
        self._outputs = {value.name for value in graph.output}
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def maker(self, name: str) -> NodeProto | None:
        """Return the node that gives a value; None for inputs and constants."""
        return self._makers.get(name)

    def is_used_once(self, name: str) -> bool:
        """Say whether one node alone takes a value."""
        return len(self._users.get(name, [])) == 1 and name not in self._outputs

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a constant; None where it is no constant."""
        return tuple(self._constants[name].dims) if name in self._constants else None

    def array(self, name: str) -> NDArray[Any]:
        """Return a constant."""
        array: NDArray[Any] = numpy_helper.to_array(self._constants[name])
        return array

    def chain(self) -> list[NodeProto] | None:
        """Return the nodes from the image to the first convolution, if they can be split."""
        for first in self._users.get(IMAGE, []):
            steps: list[NodeProto] = []
            node, value = first, IMAGE
            while self._is_step(node, value):
                steps.append(node)
                value = node.output[0]
                users = self._users.get(value, [])
                if len(users) != 1 or value in self._outputs:
                    break
                node = users[0]
            if steps and steps[-1].op_type == "Where" and self._is_wide(node, value):
                return [*steps, node]
        return None

    def _is_step(self, node: NodeProto, value: str) -> bool:
        others = [self.shape(name) for name in node.input if name != value]
        if node.op_type == "Where":
            return node.input[1] == value and _is_number(self.shape(node.input[2]))
        if node.op_type == "BatchNormalization":
            return node.input[0] == value and None not in others
        known = node.op_type in _ELEMENTWISE and len(others) == 1
        return known and (_is_number(others[0]) or _is_spectrum(others[0]))

    def _is_wide(self, node: NodeProto, value: str) -> bool:
        shape = self.shape(node.input[1]) if node.op_type == "Conv" else None
        grouped = any(a.name == "group" and a.i != 1 for a in node.attribute)
        return (
            node.input[0] == value
            and not grouped
            and shape is not None
            and len(shape) == _RANK
            and shape[1] >= _LEAST
        )


def _is_number(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and set(shape) <= {1}


def _is_spectrum(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and len(shape) in {_RANK - 1, _RANK} and shape[-2:] == (1, 1)


def sums_bands(node: NodeProto, graph: Graph) -> bool:
    """Say whether a node is a plain 1 x 1 convolution of the raw image to one channel."""
    if node.op_type != "Conv" or list(node.input[:1]) != [IMAGE] or VALID not in graph.inputs:
        return False
    shape = graph.shape(node.input[1])
    plain = {"pads": {0}, "strides": {1}, "dilations": {1}, "group": {1}, "kernel_shape": {1}}
    return (
        len(node.input) == len((IMAGE, "weight"))
        and shape is not None
        and (shape[0], *shape[2:]) == (1, 1, 1)
        and all(
            {*a.ints, *([a.i] if a.i else [])} <= plain.get(a.name, set()) for a in node.attribute
        )
    )


def _product(node: NodeProto, graph: Graph) -> Parts:
    """Make a matrix product of a sum over the bands.

    ONNX Runtime re-orders all bands for a convolution; a product reads them where they are.
    """
    weight = graph.array(node.input[1]).reshape(1, -1)
    parts, name = Parts(), f"{PREFIX}{node.output[0]}"
    shape = parts.constant(f"{name}/shape", np.array([0, weight.shape[1], -1]))
    flat = parts.add("Reshape", [IMAGE, shape], f"{name}/flat")
    total = parts.add("MatMul", [parts.constant(f"{name}/weight", weight), flat], f"{name}/sum")
    parts.add("Reshape", [total, parts.add("Shape", [VALID], f"{name}/sides")], node.output[0])
    return parts


def _split(chain: list[NodeProto], graph: Graph) -> Parts:
    """Make one chain a group of bands and a running sum."""
    *steps, last = chain
    parts, weight = Parts(), graph.array(last.input[1])
    parts.constant(f"{PREFIX}axis", np.array([1]))
    total = ""
    for first in range(0, weight.shape[1], _GROUP):
        name, bands = f"{PREFIX}{first}", slice(first, first + _GROUP)
        value = _stored(parts, bands)
        for index, step in enumerate(steps):
            before = steps[index - 1].output[0] if index else IMAGE
            inputs = [value if source == before else source for source in step.input]
            for place, source in enumerate(step.input):
                if graph.shape(source) is not None:
                    part = _cut(graph.array(source), bands, n_bands=weight.shape[1])
                    inputs[place] = parts.constant(f"{name}/{index}/{place}", part)
            value = parts.add(step.op_type, inputs, f"{name}/{index}", like=step)
        kernel = parts.constant(f"{name}/weight", weight[:, bands])
        bias = [] if total else last.input[2:]
        part_sum = parts.add("Conv", [value, kernel, *bias], f"{name}/part", like=last)
        # The running sum stands second: ONNX Runtime then finishes it before the next group.
        # The other way round all groups lie in memory at once.
        total = parts.add("Add", [part_sum, total], f"{name}/sum") if total else part_sum
    parts.nodes[-1].output[0] = last.output[0]
    return parts


def _stored(parts: Parts, bands: slice) -> str:
    """Add the node that takes some bands of the image."""
    name = f"{PREFIX}{bands.start}"
    bounds = [
        parts.constant(f"{name}/{what}", np.array([number]))
        for what, number in (("first", bands.start), ("end", bands.stop))
    ]
    return parts.add("Slice", [IMAGE, *bounds, f"{PREFIX}axis"], f"{name}/stored")


def _cut(array: NDArray[Any], bands: slice, *, n_bands: int) -> NDArray[Any]:
    """Return a constant's part for some bands; a single number serves them all."""
    if array.size != n_bands:
        return array
    return array[bands] if array.ndim == 1 else array.reshape(n_bands, 1, 1)[bands]


def replace(graph: onnx.GraphProto, gone: set[str], parts: Parts) -> None:
    """Put new nodes in the place of the last of some others, known by what they give."""
    nodes = list(graph.node)
    last = max(i for i, node in enumerate(nodes) if node.output[0] in gone)
    before = [node for node in nodes[:last] if node.output[0] not in gone]
    nodes = [*before, *parts.nodes, *nodes[last + 1 :]]
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    tensors += parts.constants.values()
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)


class Parts:
    """Nodes and constants under construction."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        output: str,
        *,
        like: NodeProto | None = None,
        **attributes: int,
    ) -> str:
        """Add a node; return the name of what it gives."""
        node = helper.make_node(operator, inputs, [output], name=output, **attributes)
        if like is not None:
            node.attribute.extend(like.attribute)
        self.nodes.append(node)
        return output

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant; return its name."""
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

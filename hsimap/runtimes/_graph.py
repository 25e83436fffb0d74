"""Which ONNX graphs are let in: standard operators, nothing outside the file, no endless loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import TensorProto, numpy_helper

from hsimap.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOMAINS: Final = {"", "ai.onnx", "ai.onnx.ml"}
_ENDLESS: Final = {"Loop", "Scan", "SequenceMap"}
_FLOATS: Final = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16}


def load_graph(data: bytes, *, where: str) -> onnx.ModelProto:
    """Parse an ONNX file and refuse what a stranger's file must not hold.

    Parameters
    ----------
    data : bytes
        The file.
    where : str
        Its name, for messages.

    Returns
    -------
    ModelProto
        With local functions inlined.

    Raises
    ------
    BundleError
        If it is no ONNX, holds operators of other domains, loops, external data or NaN weights, or
        takes anything but float32.
    """
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise BundleError(f"{where} is no ONNX file; give a network saved as ONNX") from error
    if not model.graph.output:
        raise BundleError(f"{where} is no ONNX network: its graph has no output")
    _refuse_external(model, where=where)
    _refuse_inputs(model.graph, where=where)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _refuse_operators(model, where=where)
    for tensor in model.graph.initializer:
        if tensor.data_type in _FLOATS and np.isnan(numpy_helper.to_array(tensor)).any():
            raise BundleError(f"{where}: the weights {tensor.name!r} hold NaN")
    return model


def _refuse_inputs(graph: onnx.GraphProto, *, where: str) -> None:
    constants = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        kind = value.type.tensor_type.elem_type
        if value.name not in constants and kind != TensorProto.FLOAT:
            raise BundleError(
                f"{where}: input {value.name!r} is {TensorProto.DataType.Name(kind)}; export the"
                f" network with float32"
            )


def _refuse_operators(model: onnx.ModelProto, *, where: str) -> None:
    for node in nodes_of(model.graph):
        if node.domain not in _DOMAINS:
            raise BundleError(
                f"{where} uses the operator {node.domain}.{node.op_type}; only standard ONNX"
                f" operators are run, export the network without custom ones"
            )
        if node.op_type in _ENDLESS:
            raise BundleError(
                f"{where} holds the operator {node.op_type}, which may run without end; export the"
                f" network without loops"
            )


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes_of(inner)


def strip(model: onnx.ModelProto) -> None:
    """Remove everything that is not needed to run: notes, stack traces, shapes of inner tensors.

    An exporter leaves the paths of the machine that it ran on in the nodes' notes.
    """
    graph = model.graph
    del model.metadata_props[:], graph.metadata_props[:], graph.value_info[:]
    model.doc_string = graph.doc_string = ""
    for part in (*nodes_of(graph), *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _refuse_external(model: onnx.ModelProto, *, where: str) -> None:
    functions = [node for function in model.functions for node in function.node]
    for tensor in _tensors(model.graph, functions):
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise BundleError(
                f"{where} keeps the weights {tensor.name!r} in another file; save the network in"
                f" one file (onnx.save with save_as_external_data=False)"
            )


def _tensors(graph: onnx.GraphProto, functions: list[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in (*graph.node, *functions):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner, [])

"""Rewrite a graph so that it takes a scene's integers as they are stored.

The cast, the standardisation and the mask of the bands cost a light network as much as its
convolutions, and a float32 image is 512 bytes a pixel of 128 bands. All three are linear where the
image is 0 at invalid pixels: with the mask m as one more band, ``Conv(w, m * (s * x + t))`` is
``Conv([w * s, sum of w * t], [x, m])``, at the edges too. The convolution is done for some rows
at a time, so that the float copy of the image is never whole. Outputs move by 1e-6, as
sums are taken in another order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import TensorProto, helper

from hsimap.runtimes._interface import IMAGE, STORED, VALID
from hsimap.runtimes._slim import Graph, Parts, replace, sums_bands

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from onnx import NodeProto

    Affine = tuple[NDArray[np.float64], NDArray[np.float64]]

PREFIX: Final = "raw/"
_PIECES: Final = 32
"""Most pieces that the rows are cut into."""
_LEAST_ROWS: Final = 4
"""Rows of a piece, and times the reach of the convolution."""
_FAR: Final = 64.0
"""Mean over standard deviation above which float32 loses too much in the folded sum."""


def take_integers(model: onnx.ModelProto, dtype: np.dtype[Any], *, side: int) -> bool:
    """Make a graph take stored integers, in place.

    Parameters
    ----------
    model : ModelProto
        As for :func:`hsimap.runtimes._slim.slim`, before that; any other graph is left as it is.
    dtype : dtype
        Of the image, an integer; its values must be 0 where not valid.
    side : int
        Least number of rows of an image, in pixels.

    Returns
    -------
    bool
        Whether the graph was changed.
    """
    graph = Graph(model.graph)
    chain = graph.chain()
    if chain is None or dtype not in STORED:
        return False
    sums = [node for node in model.graph.node if sums_bands(node, graph)]
    users = [node for node in model.graph.node if IMAGE in node.input]
    alone = all(node in sums or node is chain[0] for node in users)
    scale = _affine(chain, graph)
    if not alone or scale is None or not _is_mask(chain[-2], graph, sums):
        return False
    reach = _reach(chain[-1], graph)
    pieces = min(_PIECES, side // (_LEAST_ROWS * max(reach or 0, 1)))
    if reach is None or pieces < 2:  # noqa: PLR2004  # one piece would be the first and the last
        return False
    for node in sums:  # integers are finite: the check has nothing to look at
        replace(model.graph, {node.output[0]}, _nothing(node))
    gone = {node.output[0] for node in chain}
    parts = _fold(
        chain[-1],
        graph,
        scale=scale,
        pieces=(pieces, reach),
        kind=helper.np_dtype_to_tensor_dtype(dtype),
    )
    replace(model.graph, gone, parts)
    for value in model.graph.input:
        if value.name == IMAGE:
            value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(dtype)
    return True


def _affine(chain: list[NodeProto], graph: Graph) -> Affine | None:
    """Return scale and offset, ``(band,)``, of the steps before the mask; None = not linear."""
    n = (graph.shape(chain[-1].input[1]) or (0, 0))[1]
    scale, offset, value = np.ones(n), np.zeros(n), IMAGE
    for node in chain[:-2]:
        step = _step(node, graph, value=value, n=n)
        if step is None:
            return None
        scale, offset, value = scale * step[0], offset * step[0] + step[1], node.output[0]
    far = not np.isfinite(scale).all() or float(np.abs(offset).max()) > _FAR
    return None if far or np.any(_spectrum(graph, chain[-2].input[2], n)) else (scale, offset)


def _step(node: NodeProto, graph: Graph, *, value: str, n: int) -> Affine | None:
    """Return scale and offset, ``(band,)``, of one step; None = not linear."""
    if node.op_type == "BatchNormalization":
        gain, shift, mean, var = (_spectrum(graph, name, n) for name in node.input[1:])
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        gain = gain / np.sqrt(var + epsilon)
        return gain, shift - mean * gain
    if node.op_type == "Where":
        return None
    place = list(node.input).index(value)
    other, one = _spectrum(graph, node.input[1 - place], n), np.ones(n)
    if place and node.op_type in {"Sub", "Div"}:
        return None
    return {
        "Add": (one, other),
        "Sub": (one, -other),
        "Mul": (other, 0 * one),
        "Div": (1 / np.where(other, other, np.nan), 0 * one),
    }[node.op_type]


def _spectrum(graph: Graph, name: str, n: int) -> NDArray[np.float64]:
    array = graph.array(name).astype(np.float64)
    return np.broadcast_to(array.ravel(), n)


def _is_mask(where: NodeProto, graph: Graph, sums: list[NodeProto]) -> bool:
    """Say whether the condition of a ``Where`` is that the pixel is valid, and nothing else."""
    return _is_valid(where.input[0], graph, {node.output[0] for node in sums})


def _is_valid(name: str, graph: Graph, finite: set[str]) -> bool:
    node = graph.maker(name)
    if node is None:
        return name == VALID
    if node.op_type == "And":
        one, two = node.input
        return any(
            _is_valid(a, graph, finite) and _is_finite(b, graph, finite)
            for a, b in ((one, two), (two, one))
        )
    limit = graph.array(node.input[1]) if _has_limit(node, graph) else np.zeros(1)
    known = node.op_type == "Cast" or _has_limit(node, graph)
    return known and 0 <= float(limit.item()) < 1 and _is_valid(node.input[0], graph, finite)


def _has_limit(node: NodeProto, graph: Graph) -> bool:
    shape = graph.shape(node.input[1]) if node.op_type == "Greater" else None
    return shape is not None and set(shape) <= {1}


def _is_finite(name: str, graph: Graph, finite: set[str]) -> bool:
    """Say whether a value tells where sums over the bands are finite: always, of integers."""
    node = graph.maker(name)
    if node is None:
        return False
    if node.op_type == "And":
        return all(_is_finite(part, graph, finite) for part in node.input)
    return node.op_type == "Not" and _is_broken(node.input[0], graph, finite)


def _is_broken(name: str, graph: Graph, finite: set[str]) -> bool:
    node = graph.maker(name)
    if node is None:
        return False
    if node.op_type == "Or":
        return all(_is_broken(part, graph, finite) for part in node.input)
    return node.op_type in {"IsInf", "IsNaN"} and node.input[0] in finite


def _reach(node: NodeProto, graph: Graph) -> int | None:
    """Return the rows that a convolution sees above and below; None where it changes the size."""
    given = {a.name: list(a.ints) for a in node.attribute}
    shape = graph.shape(node.input[1]) or ()
    pads, dilation = given.get("pads", [0, 0, 0, 0]), given.get("dilations", [1, 1])[0]
    reach = dilation * (shape[2] - 1) // 2
    auto = any(a.name == "auto_pad" and a.s not in {b"", b"NOTSET"} for a in node.attribute)
    plain = set(given.get("strides", [1])) == {1} and not auto and shape[2] % 2 == 1
    return reach if plain and pads[0] == pads[2] == reach else None


def _nothing(node: NodeProto) -> Parts:
    """Give zeros in the place of a sum over the bands."""
    parts, name = Parts(), f"{PREFIX}{node.output[0]}"
    zero = parts.constant(f"{name}/zero", np.zeros(1, dtype=np.float32))
    parts.add("Mul", [VALID, zero], node.output[0])
    return parts


def _fold(
    node: NodeProto, graph: Graph, *, scale: Affine, pieces: tuple[int, int], kind: int
) -> Parts:
    """Make the convolution of image and mask, a piece of the rows after the other.

    ``pieces`` are their number and the rows that the convolution sees beyond them.
    """
    n, reach = pieces
    weight = graph.array(node.input[1]).astype(np.float64)
    gain, offset = scale
    mask = np.einsum("obyx,b->oyx", weight, offset)[:, None]
    folded = np.concatenate([weight * gain[:, None, None], mask], axis=1).astype(np.float32)
    parts = Parts()
    kernel = parts.constant(f"{PREFIX}weight", folded)
    axis = parts.constant(f"{PREFIX}axis", np.array([2]))
    shown = parts.add("Cast", [VALID], f"{PREFIX}shown", to=kind)
    shape = parts.add("Shape", [VALID], f"{PREFIX}shape")
    shape = parts.add("Gather", [shape, axis], f"{PREFIX}rows", axis=0)
    bounds = [_bound(parts, shape, i, n) for i in range(n + 1)]
    margin = parts.constant(f"{PREFIX}reach", np.array([reach]))
    done = []
    for i in range(n):
        name, top, bottom = f"{PREFIX}{i}", bounds[i], bounds[i + 1]
        if reach and i:
            top = parts.add("Sub", [top, margin], f"{name}/top")
        if reach and i < n - 1:
            bottom = parts.add("Add", [bottom, margin], f"{name}/bottom")
        cut = [
            parts.add("Slice", [source, top, bottom, axis], f"{name}/{what}")
            for source, what in ((IMAGE, "image"), (shown, "mask"))
        ]
        both = parts.add("Concat", cut, f"{name}/both", axis=1)
        value = parts.add("Cast", [both], f"{name}/float", to=TensorProto.FLOAT)
        out = parts.add("Conv", [value, kernel, *node.input[2:]], f"{name}/out")
        parts.nodes[-1].attribute.extend(_attributes(node, top=not i, bottom=i == n - 1))
        done.append(out)
    parts.add("Concat", done, node.output[0], axis=2)
    return parts


def _bound(parts: Parts, shape: str, index: int, pieces: int) -> str:
    """Add the nodes that give the row where a piece starts."""
    name = f"{PREFIX}bound/{index}"
    times = parts.constant(f"{name}/times", np.array([index]))
    over = parts.constant(f"{name}/over", np.array([pieces]))
    return parts.add("Div", [parts.add("Mul", [shape, times], f"{name}/part"), over], name)


def _attributes(node: NodeProto, *, top: bool, bottom: bool) -> list[onnx.AttributeProto]:
    """Return a convolution's attributes, padded where the piece ends the image."""
    pads = next((list(a.ints) for a in node.attribute if a.name == "pads"), [0, 0, 0, 0])
    pads = [pads[0] * top, pads[1], pads[2] * bottom, pads[3]]
    rest = [a for a in node.attribute if a.name not in {"pads", "auto_pad"}]
    return [*rest, helper.make_attribute("pads", pads)]

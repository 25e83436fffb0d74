"""``hsimap import``: a user's ONNX network and a YAML file become a bundle."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import onnx

from hsimap.bundle import ONNX, Bundle, BundleFields, TileDefaults
from hsimap.config import load_yaml, validate
from hsimap.errors import BundleError, UsageError
from hsimap.runtimes._compose import Feed, Tap, compose
from hsimap.runtimes._form import (
    ImportInput,
    ImportManifest,
    bundle_fields,
    read_statistic,
    taps_of,
)
from hsimap.runtimes._graph import load_graph
from hsimap.runtimes._interface import Contract
from hsimap.runtimes._onnx import check_value
from hsimap.runtimes._sessions import open_session
from hsimap.runtimes._trial import Trial
from hsimap.streams import available_cpus

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime as ort

_OPSET: Final = 13
"""From this on Softmax works along one axis and Slice takes its bounds as inputs."""
_NOTHING: Final = 1e-5
"""Influence, in spans of an output, that is no more than rounding."""


def import_onnx(network: Path, manifest: Path, out: Path, *, overwrite: bool = False) -> Bundle:
    """Make an ONNX-only bundle of a user's network.

    Parameters
    ----------
    network : Path
        The network; float32, dynamic batch, height and width, standard operators, one file.
    manifest : Path
        YAML: see :class:`ImportManifest`.
    out : Path
        The model folder to make.
    overwrite : bool
        Replace a bundle that is there.

    Returns
    -------
    Bundle
        Its graph takes stored values and gives class probabilities and physical values; it was
        compared with the user's network and this module's own arithmetic on five shapes.

    Raises
    ------
    UsageError
        If a file is missing or the YAML is wrong.
    BundleError
        If the network is refused or is not what the YAML says.
    VerificationError
        If the composed graph does not give what the network gives.
    """
    stated = validate(ImportManifest, load_yaml(manifest), source=str(manifest))
    if not network.is_file():
        raise UsageError(f"no network at {network}")
    data = network.read_bytes()
    model = load_graph(data, where=str(network))
    session = open_session(data, device="cpu", threads=available_cpus(), where=str(network))
    feed, n_bands = _feed(stated.input, session, where=network.name, folder=manifest.parent)
    fields = bundle_fields(stated, n_bands, source=str(manifest))
    taps = taps_of(stated, fields, source=str(manifest))
    _check_model(model, session, taps, where=network.name)
    contract = Contract.of(fields)
    trial = Trial(contract, session, feed, taps)
    trial.probe(where=network.name)
    graph = compose(model, feed, taps, n_bands=n_bands)
    report = trial.compare(graph)
    far = trial.far_influence(graph, reach=fields.reach)
    made_of = {
        "file": network.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "parity": {"max_error": report.max_error, "shapes": [list(s) for s in report.shapes]},
        "far_influence": far,
    }
    provenance = {**fields.provenance, "imported": made_of}
    record = fields.model_copy(
        update={"provenance": provenance, "tile": _tile(stated, fields, far)}
    )
    return Bundle.save(out, record, {ONNX: graph}, overwrite=overwrite)


def _tile(stated: ImportManifest, fields: BundleFields, far: float | None) -> TileDefaults:
    """Return the tiles; without a ramp where the trim leaves no seam to fade."""
    exact = far is not None and far < _NOTHING and fields.tile.trim >= fields.reach
    if stated.tile.ramp is None and exact:
        return fields.tile.model_copy(update={"ramp": 0})
    return fields.tile


def _feed(
    stated: ImportInput, session: ort.InferenceSession, *, where: str, folder: Path
) -> tuple[Feed, int]:
    inputs = {value.name: value for value in session.get_inputs()}
    free = [name for name in inputs if name != stated.graph_valid]
    image = stated.graph_input or (free[0] if len(free) == 1 else "")
    wanted = {image} if stated.graph_valid is None else {image, stated.graph_valid}
    if set(inputs) != wanted:
        raise UsageError(
            f"{where} has the inputs {sorted(inputs)}; name them as input.graph_input and"
            f" input.graph_valid"
        )
    fixed = inputs[image].shape[1] if len(inputs[image].shape) > 1 else None
    waves = None if stated.wavelengths is None else len(stated.wavelengths)
    n_bands = stated.bands or waves or (fixed if isinstance(fixed, int) else None)
    if n_bands is None:
        raise UsageError(f"{where} does not fix its number of bands; give input.bands")
    for name in wanted:
        value, channels = inputs[name], n_bands if name == image else 1
        check_value(value.type, value.shape, channels=channels, what=f"{where}: input {name!r}")
        if any(isinstance(value.shape[axis], int) for axis in (0, 2, 3)):
            raise BundleError(
                f"{where}: input {name!r} has the fixed shape {value.shape}; export the network"
                f" with dynamic batch, height and width"
            )
    mean, std = (
        read_statistic(getattr(stated, key), key, n_bands=n_bands, folder=folder)
        for key in ("mean", "std")
    )
    return Feed(image=image, valid=stated.graph_valid, mean=mean, std=std), n_bands


def _check_model(
    model: onnx.ModelProto, session: ort.InferenceSession, taps: list[Tap], *, where: str
) -> None:
    opset = max((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), default=0)
    if opset < _OPSET:
        raise BundleError(f"{where} has opset {opset}; export it with opset {_OPSET} or later")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        text = " ".join(str(error).split())[:300]
        raise BundleError(f"{where} is no valid ONNX: {text}") from error
    outputs = {value.name: value for value in session.get_outputs()}
    for tap in taps:
        if tap.source not in outputs:
            raise UsageError(
                f"outputs.{tap.output.name}.from: {where} has no output {tap.source!r}; it has"
                f" {', '.join(outputs)}"
            )
        value = outputs[tap.source]
        what = f"{where}: output {tap.source!r}"
        check_value(value.type, [*value.shape[:1], None, *value.shape[2:]], channels=0, what=what)

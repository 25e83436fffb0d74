"""The model card: what a person should know before using a model, written from its manifest."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic import JsonValue

    from hsimap.bundle._input import InputSpec
    from hsimap.bundle._manifest import BundleFields
    from hsimap.tasks import Task

NOT_SHOWN: Final = {
    "activation_bytes_per_px", "stored_activation_bytes_per_px", "ncnn_activation_bytes_per_px",
    "acceptance",
}  # fmt: skip
"""Fields that the card says nothing of: it stays as it is when they change."""
_NO_USE = (
    "Scenes whose bands match those below, in the same kind of reflectance, over ground like that"
    " of the training data. Not stated by the maker; check the maps against ground truth first."
)


def model_card(fields: BundleFields) -> str:
    """Return the card as Markdown; it follows from the fields alone."""
    parts = [
        f"# {fields.name}",
        fields.description,
        "## Intended use",
        fields.intended_use or _NO_USE,
        f"Licence of the weights: {fields.license or 'not stated'}.",
        "## What it maps",
        _table(("task", "kind", "classes, or unit and range", "outputs"), _tasks(fields)),
        "## What it reads",
        _table(("property", "value"), _input(fields.input)),
        "## How it runs",
        _table(("property", "value"), _geometry(fields)),
        "## Metrics",
        _facts(("group", "metric", "value"), fields.metrics),
        *_calibration(fields),
        "## Provenance",
        _facts(("group", "fact", "value"), fields.provenance),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _calibration(fields: BundleFields) -> Iterator[str]:
    found = fields.calibration
    if found is None:
        return
    yield "## Calibration"
    yield (
        f"Measured on the {found.unit}s of the validation fold. An interval is the mapped value"
        f" plus or minus the half width; a {found.unit} like those of that fold is meant to lie in"
        f" it as often as the level says."
    )
    rows = [
        (name, f"{level} % interval", f"± {', '.join(f'{width:.4g}' for width in widths)}")
        for name, intervals in found.intervals.items()
        for level, widths in intervals.half_widths.items()
    ]
    rows += [(name, "temperature", f"{value:.4g}") for name, value in found.temperature.items()]
    yield _table(("task", "what", "value"), rows)


def _tasks(fields: BundleFields) -> Iterator[tuple[str, ...]]:
    for task in fields.tasks:
        outputs = [
            f"{output.name} ({output.channels} ch, stride {output.stride})"
            for output in fields.outputs
            if output.task == task.name
        ]
        yield task.label, task.kind.value, _content(task), "; ".join(outputs)


def _content(task: Task) -> str:
    if task.classes:
        return ", ".join(f"{label.code} {label.name}" for label in task.classes)
    span = f", {task.range[0]:g} to {task.range[1]:g}" if task.range else ""
    return f"{task.unit or 'no unit'}{span}"


def _input(spec: InputSpec) -> Iterator[tuple[str, str]]:
    yield "bands", str(spec.n_bands)
    waves = spec.wavelength_nm
    yield "wavelengths", f"{min(waves):g} to {max(waves):g} nm" if waves else "not known"
    widths = spec.fwhm_nm
    yield "band widths (FWHM)", f"{min(widths):g} to {max(widths):g} nm" if widths else "not known"
    yield "reflectance per stored unit", "not known" if spec.scale is None else f"{spec.scale:g}"
    yield "nodata", "none" if spec.nodata is None else f"{spec.nodata:g}"
    yield "storage type", spec.dtype
    if spec.spread is not None:
        n = len(spec.spread.components)
        yield "broader or coarser bands", f"estimated with {n} components of the training spectra"
    if spec.dispensable:
        yield "bands that a scene may lack", _runs(spec)


def _runs(spec: InputSpec) -> str:
    """Name runs of neighbouring dispensable bands, by wavelength where known, else by number."""
    names = spec.wavelength_nm or tuple(float(i) for i in range(spec.n_bands))
    order = sorted(range(spec.n_bands), key=lambda i: names[i])
    spare = set(spec.dispensable)
    found = []
    for is_spare, run in groupby(order, key=lambda i: i in spare):
        members = list(run)
        if is_spare:
            low, high = names[members[0]], names[members[-1]]
            found.append(f"{low:g}" if low == high else f"{low:g} to {high:g}")
    unit = "nm" if spec.wavelength_nm else "(numbers from 0)"
    return f"{', '.join(found)} {unit} ({len(spare)} of {spec.n_bands})"


def _geometry(fields: BundleFields) -> Iterator[tuple[str, str]]:
    tile = fields.tile
    yield "training patch", f"{fields.patch} px"
    yield "receptive field, one side", f"{fields.reach} px"
    yield "alignment", f"{fields.alignment} px"
    yield "tiles", f"trim {tile.trim} px, ramp {tile.ramp} px, at most {tile.max_tile} px kept"
    yield "runs on", "ONNX Runtime" if fields.network is None else "torch or ONNX Runtime"


def _facts(header: Sequence[str], facts: Mapping[str, JsonValue]) -> str:
    rows = [
        (group, name, text)
        for group, value in facts.items()
        for name, text in _flatten(value, prefix="")
    ]
    return _table(header, rows) if rows else "None stated."


def _flatten(value: JsonValue, *, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flatten(item, prefix=f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list):
        yield prefix, ", ".join(_scalar(item) for item in value)
    else:
        yield prefix, _scalar(value)


def _scalar(value: JsonValue) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")

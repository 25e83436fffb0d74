"""A bundle as a STAC item with the machine-learning-model extension."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hsimap.tasks import Kind

if TYPE_CHECKING:
    from hsimap.bundle._folder import Bundle
    from hsimap.tasks import Output, Task

MLM: Final = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
_FILE: Final = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
_CLASSIFICATION: Final = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
_EO: Final = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
_TASKS: Final = {
    Kind.CATEGORICAL: "semantic-segmentation",
    Kind.CONTINUOUS: "regression",
    Kind.SALIENCY: "segmentation",
    Kind.SCENE: "scene-classification",
}
_KINDS: Final = {
    ".onnx": ("application/octet-stream; application=onnx", "onnx"),
    ".safetensors": ("application/octet-stream; application=safetensors", "safetensors"),
}


def model_item(bundle: Bundle, *, href: str) -> dict[str, Any]:
    """Return a model folder as a STAC item (MLM extension 1.4.0).

    A model has no place and no flight time of its own: its geometry is null, and its time span is
    all of time, as the extension recommends.

    Parameters
    ----------
    bundle : Bundle
        The model.
    href : str
        Path or URL of its folder, as seen from the item.
    """
    manifest = bundle.manifest
    name = re.sub(r"[^a-z0-9_.]+", "-", bundle.name.lower()).strip("-.") or "model"
    tasks = {task.name: task for task in manifest.tasks}
    network = manifest.network or {}
    settings = network.get("settings")
    architecture = settings.get("architecture") if isinstance(settings, dict) else None
    properties: dict[str, Any] = {
        "title": bundle.name,
        "description": manifest.description or bundle.name,
        "datetime": None,
        "start_datetime": "1900-01-01T00:00:00Z",
        "end_datetime": "9999-12-31T23:59:59Z",
        "mlm:name": _mlm_name(bundle.name),
        "mlm:architecture": str(architecture or "ONNX graph"),
        "mlm:tasks": sorted({_TASKS[output.kind] for output in manifest.outputs}),
        "mlm:framework": "PyTorch" if manifest.network else "ONNX",
        "mlm:input": [_input(bundle)],
        "mlm:output": [_output(output, tasks[output.task]) for output in manifest.outputs],
        "hsimap:digest": bundle.digest,
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [MLM, _FILE, _CLASSIFICATION, _EO],
        "id": f"model-{name}",
        "geometry": None,
        "properties": properties,
        "assets": _assets(bundle, href.rstrip("/")),
        "links": [],
    }


def _mlm_name(name: str) -> str:
    """Return a name in the letters that the extension allows."""
    plain = re.sub(r"[^a-zA-Z0-9_.\-\s]", "_", name)
    return plain if re.fullmatch(r"[a-zA-Z].+[a-zA-Z0-9]", plain) else f"model_{plain}_x"


def _band_names(bundle: Bundle) -> list[str]:
    return [f"band_{i:03d}" for i in range(1, bundle.manifest.input.n_bands + 1)]


def _input(bundle: Bundle) -> dict[str, Any]:
    spec = bundle.manifest.input
    text = "Values in storage units; validity is a second input, 1 = valid."
    if spec.scale is not None:
        text = f"Reflectance is the stored value times {spec.scale:g}. {text}"
    return {
        "name": "image",
        "description": text,
        "bands": _band_names(bundle),
        "input": {
            "shape": [-1, spec.n_bands, -1, -1],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
    }


def _output(output: Output, task: Task) -> dict[str, Any]:
    """Return what one output of the graph is."""
    facts: dict[str, Any] = {
        "name": output.name,
        "tasks": [_TASKS[output.kind]],
        "description": f"{task.label} [{task.unit}]" if task.unit else task.label,
        "result": {
            "shape": [-1, output.channels, -1, -1],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
    }
    if task.classes:
        facts["classification:classes"] = [
            {
                "value": label.code,
                "name": re.sub(r"[^A-Za-z0-9_-]+", "_", label.name),
                "title": label.name,
                "color_hint": label.color[1:].upper(),
            }
            for label in task.classes
        ]
    return facts


def _assets(bundle: Bundle, href: str) -> dict[str, Any]:
    manifest = bundle.manifest
    wavelengths = manifest.input.wavelength_nm
    widths = manifest.input.fwhm_nm
    bands: list[dict[str, Any]] = [{"name": name} for name in _band_names(bundle)]
    for i, band in enumerate(bands):
        if wavelengths is not None:
            band["eo:center_wavelength"] = wavelengths[i] / 1000
        if widths is not None:
            band["eo:full_width_half_max"] = widths[i] / 1000
    assets: dict[str, Any] = {}
    for name, entry in sorted(manifest.files.items()):
        stem, dot, ending = name.rpartition(".")
        kind, artifact = _KINDS.get(f"{dot}{ending}", ("text/markdown", None))
        asset: dict[str, Any] = {
            "href": f"{href}/{name}",
            "type": kind,
            "title": stem,
            "roles": ["metadata"],
            "file:size": entry.size,
            "file:checksum": f"1220{entry.sha256}",
        }
        if artifact is not None:
            weights = {"roles": ["mlm:model", "mlm:weights"], "mlm:artifact_type": artifact}
            asset |= {**weights, "bands": bands}
        assets[name] = asset
    return assets

"""``hsimap inspect``: what a scene, a model, a folder of maps or a recipe's labels are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._options import Data, Json, Overrides, Overwrite
from hsimap.errors import UsageError

if TYPE_CHECKING:
    from hsimap.bundle import Bundle
    from hsimap.scenes import Scene

EXAMPLES: Final = """
hsimap inspect line1.img             bands, wavelengths, size, place
hsimap inspect models/boreal-demo    tasks, parameters, operations, receptive field
hsimap inspect maps/line1 --json     what was mapped, with what
hsimap inspect my.yaml --out labels  distributions, folds, leaks and separability of labels"""


def run(
    path: Annotated[
        Path,
        typer.Argument(
            help="A scene, a model folder, a folder of maps or a recipe (.yaml).", metavar="PATH"
        ),
    ],
    data: Data = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Of a recipe: folder for dataset.html and dataset.json.", metavar="DIR"),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Say what a scene, a model, maps or a recipe's labels are."""
    if path.suffix in {".yaml", ".yml"}:
        from hsimap.cli._dataset import inspect_recipe

        inspect_recipe(path, data=data, overrides=overrides, out=out, overwrite=overwrite,
                       as_json=as_json)  # fmt: skip
        return
    if out is not None or data is not None or overrides:
        raise UsageError(f"--out, --data and --set are for recipes; {path} is no .yaml file")
    facts = _facts(path)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        lines = value if isinstance(value, list) else [value]
        for i, line in enumerate(lines):
            typer.echo(f"{key.replace('_', ' ') if i == 0 else '':>20}  {line}")


def _facts(path: Path) -> dict[str, object]:
    from hsimap.products import is_map_folder, read_manifest

    if is_map_folder(path):
        manifest = read_manifest(path)
        return {
            "maps": sorted(name for name in manifest["files"] if name.endswith(".tif")),
            "scene": manifest["scene"]["name"],
            "model": manifest["model"]["name"],
            "finished": manifest["finished"],
            "seconds": manifest["seconds"],
            "notes": manifest["notes"],
        }
    from hsimap.scenes import is_scene_folder, open_scene

    if path.is_dir() and not is_scene_folder(path):
        from hsimap.bundle import Bundle

        return _model(Bundle.load(path))
    with open_scene(path) as scene:
        return _scene(scene)


def _scene(scene: Scene) -> dict[str, object]:
    from hsimap.scenes import measure_read

    storage, speed = scene.storage, measure_read(scene)
    advice = storage.advice(scene.grid.width)
    nm = scene.bands.wavelength_nm
    grid = scene.grid
    return {
        "scene": scene.name,
        "size": f"{grid.height} rows x {grid.width} columns x {scene.bands.n} bands",
        "type": str(scene.dtype),
        "wavelengths": f"{min(nm):g} to {max(nm):g} nm" if nm else "not stated",
        "bad_bands": scene.bands.n - sum(scene.bands.good),
        "reflectance_scale": "not stated" if scene.scale is None else f"{scene.scale:g}",
        "nodata": "not stated" if scene.nodata is None else f"{scene.nodata:g}",
        "crs": (grid.crs or "none").split('"')[1] if grid.crs else "none",
        "transform": " ".join(f"{value:.10g}" for value in tuple(grid.transform)[:6]),
        "rotated": bool(grid.transform.b or grid.transform.d),
        "driver": storage.driver,
        "interleave": storage.interleave,
        "block": f"{storage.block[0]} rows x {storage.block[1]} columns",
        "compression": storage.compression,
        "read_speed": f"{speed.mb_per_s:.0f} MB/s, {speed.mpx_per_s:.2f} million pixels/s"
        f" ({speed.megabytes:.0f} MB read)",
        "layout": advice or "good",
        "notes": list(scene.notes),
    }


def _model(bundle: Bundle) -> dict[str, object]:
    manifest = bundle.manifest
    facts: dict[str, object] = {
        "model": manifest.name,
        "description": manifest.description,
        "digest": bundle.digest,
        "bands": manifest.input.n_bands,
        "tasks": [
            f"{task.name}: {task.kind.value}"
            + (f", {len(task.classes)} classes" if task.classes else "")
            + (f", {task.unit}" if task.unit else "")
            for task in manifest.tasks
        ],
        "alignment_px": manifest.alignment,
        "receptive_field_px": manifest.reach,
        "training_patch_px": manifest.patch,
        "default_trim_px": manifest.tile.trim,
        "files": sorted(manifest.files),
    }
    if manifest.network is not None:
        from hsimap.networks import NetworkSpec, build_network, report

        found = report(build_network(NetworkSpec.model_validate(manifest.network)))
        facts |= {
            "parameters": found.parameters,
            "in_decoders": found.decoder_parameters,
            "macs_per_pixel": round(found.macs_per_pixel),
        }
    return facts

"""``hsimap inspect``: what a scene, a model, a folder of maps or a recipe's labels are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hsimap.cli._inspect_scene import SceneOptions, inspect_scene, lines_of
from hsimap.cli._options import Data, Json, Overrides, Overwrite
from hsimap.errors import UsageError

if TYPE_CHECKING:
    from hsimap.bundle import Bundle

EXAMPLES: Final = """
hsimap inspect line1.img             bands, wavelengths, size, place
hsimap inspect line1.img --model models/boreal-demo --quicklook line1.png
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
    model: Annotated[
        Path | None,
        typer.Option(help="Of a scene: how this model would take it.", metavar="DIR"),
    ] = None,
    quicklook: Annotated[
        Path | None,
        typer.Option(
            help="Of a scene: picture of true colour, false colour and mean spectrum.",
            metavar="FILE.png",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Reflectance of one stored unit, as 0.0001. Default: what is stated."),
    ] = None,
    nodata: Annotated[
        float | None, typer.Option(help="Stored value of a missing sample. Default: as stated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Of a recipe: folder for dataset.html and dataset.json.", metavar="DIR"),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Say what a scene, a model, maps or a recipe's labels are."""
    options = SceneOptions(
        model=model, quicklook=quicklook, scale=scale, nodata=nodata, overwrite=overwrite
    )
    if path.suffix in {".yaml", ".yml"}:
        if options != SceneOptions(overwrite=overwrite):
            raise UsageError(
                f"--model, --quicklook, --scale and --nodata are for scenes, not {path}"
            )
        from hsimap.cli._dataset import inspect_recipe

        inspect_recipe(path, data=data, overrides=overrides, out=out, overwrite=overwrite,
                       as_json=as_json)  # fmt: skip
        return
    if out is not None or data is not None or overrides:
        raise UsageError(f"--out, --data and --set are for recipes; {path} is no .yaml file")
    facts = _facts(path, options)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for key, value in lines_of(facts).items():
        lines = (value or ["none"]) if isinstance(value, list) else [value]
        for i, line in enumerate(lines):
            typer.echo(f"{key.replace('_', ' ') if i == 0 else '':>20}  {line}")


def _facts(path: Path, options: SceneOptions) -> dict[str, object]:
    from hsimap.products import is_map_folder, read_manifest
    from hsimap.scenes import is_scene_folder

    if path.is_dir() and not is_scene_folder(path) and options != SceneOptions():
        raise UsageError(
            f"--model, --quicklook, --scale, --nodata, --overwrite are for scenes; {path} is none"
        )
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
    if path.is_dir() and not is_scene_folder(path):
        from hsimap.bundle import Bundle

        return _model(Bundle.load(path))
    return inspect_scene(path, options)


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

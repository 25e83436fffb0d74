"""Which model maps a scene, and into which folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hsimap.bundle import Bundle
from hsimap.errors import MismatchError, UsageError
from hsimap.mapping.adapter import SceneAdapter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.scenes import Scene

MODEL_VARIABLE: Final = "HSIMAP_MODEL"
MODELS_FOLDER: Final = Path("models")


def choose_model(
    scene: Scene, model: Path | None = None, *, folder: Path = MODELS_FOLDER
) -> Bundle:
    """Return the model that was named, else ``$HSIMAP_MODEL``, else the one that fits the scene.

    Parameters
    ----------
    scene : Scene
        The raster to be mapped.
    model : Path, optional
        A model folder.
    folder : Path
        Where models are looked for if none is named.

    Raises
    ------
    UsageError
        If no model is named and not exactly one under ``folder`` fits; lists those that do.
    """
    named = model or os.environ.get(MODEL_VARIABLE)
    if named:
        return Bundle.load(Path(named))
    candidates = [path.parent for path in sorted(folder.glob("*/manifest.json"))]
    fitting = [bundle for bundle in map(Bundle.load, candidates) if _fits(scene, bundle)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(str(bundle.path) for bundle in fitting)
        raise UsageError(f"{len(fitting)} models fit {scene.name}: {names}; name one with --model")
    raise UsageError(
        f"none of the {len(candidates)} models under {folder} fits {scene.name}"
        f" ({scene.bands.n} bands); name one with --model or ${MODEL_VARIABLE}"
    )


def _fits(scene: Scene, bundle: Bundle) -> bool:
    try:
        SceneAdapter(scene, bundle.manifest.input)
    except MismatchError:
        return False
    return True


def output_folders(scenes: Sequence[Path], out: Path) -> list[Path]:
    """Return a folder per scene: its stem; where that is taken, its parent's name.

    Examples
    --------
    >>> folders = output_folders([Path("a/line.tif"), Path("b/line.tif")], Path("maps"))
    >>> [folder.as_posix() for folder in folders]
    ['maps/line', 'maps/b']
    """
    folders: list[Path] = []
    for scene in scenes:
        stem, parent = scene.stem, scene.absolute().parent.name
        names = [stem, parent, f"{parent}_{stem}"]
        names += [f"{parent}_{stem}_{i}" for i in range(2, len(scenes) + 2)]
        folders.append(next(out / n for n in names if n and out / n not in folders))
    return folders

"""Synthetic scenes, generated once and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from hsimap import synthetic
from hsimap.errors import StorageError

SCENE: Final = "scene.tif"
CLASSES: Final = "classes.tif"
"""Class codes; one band a categorical task, described with the task's name."""
VARIABLES: Final = "variables.tif"
"""Values in physical units; one band a continuous task, described with the task's name."""
STANDS: Final = "stand_id.tif"
_OTHER_LAYOUTS: Final = {"__init__.py", "_envi.py", "_taiga.py"}
"""Sources that shape no sample of the cache."""
SPLIT: Final = "split.tif"


def cache_folder() -> Path:
    """Return ``$HSIMAP_CACHE``, else ``$XDG_CACHE_HOME/hsimap``, else ``~/.cache/hsimap``."""
    own = os.environ.get("HSIMAP_CACHE")
    if own:
        return Path(own)
    general = os.environ.get("XDG_CACHE_HOME")
    return (Path(general) if general else Path.home() / ".cache") / "hsimap"


def sample_folder(*, size: int, seed: int, campaign: int | None = None) -> Path:
    """Return the folder of a synthetic scene, which is generated if it is not in the cache.

    It is written beside its place and renamed, so that a folder that is there is complete.

    Parameters
    ----------
    size : int
        Side in pixels.
    seed : int
        Which scene.
    campaign : int, optional
        Flight lines over one forest instead of one scene.

    Returns
    -------
    Path
        With scene.tif, classes.tif, variables.tif, stand_id.tif and split.tif; of a campaign, with
        a folder of these for each line.

    Raises
    ------
    StorageError
        If the cache cannot be written.
    """
    samples = cache_folder() / "samples"
    lines = "" if campaign is None else f"_lines{campaign}"
    folder = samples / f"size{size}_seed{seed}{lines}_{_generator()}"
    if folder.is_dir():
        return folder
    try:
        samples.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=samples, prefix=".writing_") as work:
            draft = Path(work) / folder.name
            if campaign is None:
                synthetic.write_sample(draft, size=size, seed=seed)
            else:
                synthetic.write_campaign(draft, size=size, seed=seed, lines=campaign)
            _move(draft, folder)
    except OSError as error:
        raise StorageError(
            f"the synthetic scene cannot be written to {samples}: {error.strerror or error}; free"
            f" space there or set HSIMAP_CACHE to another folder"
        ) from error
    return folder


def _generator() -> str:
    """Return what changes when the generator does: a hash of its source."""
    source = Path(synthetic.__file__).parent
    files = (path for path in sorted(source.glob("*.py")) if path.name not in _OTHER_LAYOUTS)
    texts = [path.name.encode() + path.read_bytes() for path in files]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:12]


def _move(draft: Path, folder: Path) -> None:
    """Rename; if another process was faster, its folder is the same and stays."""
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(draft)

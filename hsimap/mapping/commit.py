"""Turn finished strips into finished maps; the manifest is written last."""

from __future__ import annotations

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from hsimap.crashpoints import crash_point
from hsimap.products import (
    MANIFEST,
    PROJECT,
    VECTORS,
    MapFolder,
    Preview,
    describe_layers,
    file_entry,
    read_manifest,
    sync_path,
    write_layer,
    write_manifest,
    write_project,
)
from hsimap.streams import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from hsimap.mapping.encoding import Product
    from hsimap.mapping.journal import RunFolder
    from hsimap.mapping.stripfile import LayerStore
    from hsimap.products import Layer

PREVIEW: Final = "preview.png"
_FINISHED_AT_A_TIME: Final = 3
"""Maps that are finished side by side: while one waits for the disk, others are read back."""
_STALE_SUFFIXES: Final = (".aux.xml", ".ovr", ".msk")
_PACKAGES: Final = ("numpy", "rasterio", "onnxruntime-gpu", "onnxruntime", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is published beside the maps of a run."""

    files: tuple[Path, ...] = ()
    """Other files of the run folder."""
    lines: tuple[MapFolder, ...] = ()
    """Flight lines that the project shows in a group of their own."""


def read_finished(folder: Path) -> dict[str, Any]:
    """Return the manifest of a finished folder; empty where there is none."""
    if not (folder / MANIFEST).exists():
        return {}
    return dict(read_manifest(folder))


def load_for_finish() -> None:
    """Load what writes the project, which takes half a second: best done beside the network."""
    import_module(VECTORS)


def finalise(
    folder: Path,
    run: RunFolder,
    stores: list[tuple[Product, LayerStore]],
    *,
    record: dict[str, Any],
    started: float,
    beside: Beside = Beside(),
) -> None:
    """Write, read back and rename every map, then preview and project, then the manifest.

    Parameters
    ----------
    folder : Path
        Where the maps go.
    run : RunFolder
        Removed at the end.
    stores : list
        The maps and their strips.
    record : dict
        What the manifest says beside files and times.
    started : float
        ``time.monotonic()`` at the start of the run.
    beside : Beside
        What a mosaic has beside its maps.
    """
    run.withdraw(folder / MANIFEST)
    crash_point("manifest-withdrawn")
    staging = run.path / "products"
    staging.mkdir(exist_ok=True)
    layers = tuple(product.layer for product, _ in stores)
    name = record["scene"]["name"]
    maps = MapFolder(name=name, path=staging, layers=layers)
    with ThreadPoolExecutor(1, thread_name_prefix="preview") as pool:
        pool.submit(load_for_finish)  # where no network ran beside it
        preview = Preview(layers)
        known, drawn = _write_maps(staging, stores, lambda *map_: pool.submit(preview.add, *map_))
        drawn.append(pool.submit(preview.save, staging / PREVIEW))
        files = write_project(
            staging / PROJECT, [maps], title=name, lines=beside.lines, home=folder
        )
        for picture in drawn:
            picture.result()
    written = [*(staging / file for file in known), staging / PREVIEW, *files, *beside.files]
    crash_point("project-written")
    _publish(written, folder, run)
    content = {
        **record,
        **describe_layers(layers),
        "statistics": {p.layer.name: store.cog.statistics.summary() for p, store in stores},
        "versions": _versions(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": round(time.monotonic() - started, 3),
    }
    write_manifest(folder, content, files=[folder / path.name for path in written], known=known)
    crash_point("manifest-written")
    run.remove()


def _write_maps(
    staging: Path,
    stores: list[tuple[Product, LayerStore]],
    draw: Callable[[Layer, Path], Future[None]],
) -> tuple[dict[str, dict[str, object]], list[Future[None]]]:
    """Finish the maps, some at a time, and have each drawn.

    Returns
    -------
    entries : dict
        File name to its entry in the manifest, in the order of the maps.
    drawn : list of Future
        What ``draw`` gave.
    """

    def write(item: tuple[Product, LayerStore]) -> dict[Path, dict[str, object]]:
        product, store = item
        paths = write_layer(staging, product.layer, store.read, writer=store.cog)
        return {path: file_entry(path) for path in paths}

    entries: dict[str, dict[str, object]] = {}
    drawn: list[Future[None]] = []
    for found in side_by_side(write, stores, workers=_FINISHED_AT_A_TIME):
        product, _ = stores[len(drawn)]
        drawn.append(draw(product.layer, next(iter(found))))
        entries |= {path.name: entry for path, entry in found.items()}
    return entries, drawn


def _publish(written: list[Path], folder: Path, run: RunFolder) -> None:
    """Rename the finished files into place; what a replaced run has more than this one goes."""
    for path in written:
        sync_path(path)
    for name in run.leftovers({path.name for path in written}):
        (folder / name).unlink(missing_ok=True)
    for path in written:
        _move(path, folder)
    sync_path(folder)
    crash_point("renames-durable")


def _move(path: Path, folder: Path) -> None:
    """Rename a finished file into place; sidecars of an older map of that name go first."""
    target = folder / path.name
    if path.suffix == ".tif":
        for suffix in _STALE_SUFFIXES:
            target.with_name(target.name + suffix).unlink(missing_ok=True)
        crash_point("sidecars-removed")
    path.replace(target)
    crash_point("file-renamed")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions

"""Write a campaign: a folder a line, and the truth of the forest below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from hsimap.errors import UsageError
from hsimap.geometry import Window
from hsimap.synthetic._campaign import (
    BLOCK_ROWS,
    CampaignLine,
    make_campaign_block,
    plan_campaign,
    truth_block,
)
from hsimap.synthetic._envi import RawFile, georeference, spectral_fields
from hsimap.synthetic._files import FILES, MIN_SIZE, ground, write_layers
from hsimap.synthetic._optics import N_BANDS
from hsimap.synthetic._sensor import NODATA

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from hsimap.synthetic._scene import Block, FlightLine

TRUTH: Final = "truth"
LABELS: Final = tuple(name for name in FILES if name != "scene")
Form = Literal["geotiff", "envi"]


def line_folder(number: int) -> str:
    """Return the name of a line's folder, counted from 1."""
    return f"line_{number:02d}"


def write_campaign(
    folder: str | os.PathLike[str],
    *,
    size: int,
    seed: int,
    lines: int,
    form: Form = "geotiff",
    overlap: float | None = None,
) -> dict[str, dict[str, Path]]:
    """Write overlapping flight lines over one simulated forest, each turned its own way.

    The stands are in one fold in all lines. Every line has its own sun, haze, brightness across
    the flight and noise.

    Parameters
    ----------
    folder : path
        Where to; made if it is not there. Files of the same names are replaced.
    size : int
        Side of the forest in pixels of 0.7 m, at least 16.
    seed : int
        Which forest and flights, at least 0. The same arguments give the same bytes.
    lines : int
        How many, from 2 on; from 4 on, the last one crosses the others.
    form : str
        ``geotiff``, or ``envi`` for scenes as raw BIL files with a rotated ``map info``; labels
        are GeoTIFFs.
    overlap : float, optional
        Share of a line's width that the next one sees as well, from 0 to 0.9; by default 0.23.

    Returns
    -------
    dict
        Of dicts of paths: a folder ``line_01``... with the files of :func:`write_sample` on the
        line's own rotated grid, and ``truth`` with all but the scene for the whole forest, north
        up.

    Raises
    ------
    UsageError
        If a number is out of range.
    """
    if size < MIN_SIZE or seed < 0:
        raise UsageError(
            f"a campaign has a size of at least {MIN_SIZE} px and a seed from 0, got size {size},"
            f" seed {seed}"
        )
    planned = plan_campaign(size=size, seed=seed, lines=lines, overlap=overlap)
    written = {
        line_folder(line.number): _write_line(Path(folder) / line_folder(line.number), line, form)
        for line in planned
    }
    written[TRUTH] = _write_truth(Path(folder) / TRUTH, planned[0].forest)
    return written


def _write_line(place: Path, line: CampaignLine, form: Form) -> dict[str, Path]:
    place.mkdir(parents=True, exist_ok=True)
    paths = {name: place / f"{name}.tif" for name in (FILES if form == "geotiff" else LABELS)}
    transform = ground(line.forest.seed) @ line.to_forest
    grid = {"width": line.width, "height": line.height, "transform": transform}
    blocks: Iterator[Block] = (make_campaign_block(line, window) for window in line.blocks())
    if form == "geotiff":
        write_layers(paths, blocks, grid=grid)
        return paths
    raw = RawFile(
        path=place / "scene.bil",
        shape=(N_BANDS, line.height, line.width),
        dtype="int16",
        interleave="bil",
    )
    raw.create({**georeference(transform), **spectral_fields(nodata=NODATA)})
    write_layers(paths, _also_raw(blocks, raw), grid=grid)
    return {"scene": raw.path, **paths}


def _also_raw(blocks: Iterator[Block], raw: RawFile) -> Iterator[Block]:
    for block in blocks:
        raw.write(block.window, np.moveaxis(block.image, -1, 0))
        yield block


def _write_truth(place: Path, forest: FlightLine) -> dict[str, Path]:
    place.mkdir(parents=True, exist_ok=True)
    paths = {name: place / f"{name}.tif" for name in LABELS}
    grid = {"width": forest.size, "height": forest.size, "transform": ground(forest.seed)}
    windows = (
        Window(row=row, col=0, height=min(BLOCK_ROWS, forest.size - row), width=forest.size)
        for row in range(0, forest.size, BLOCK_ROWS)
    )
    write_layers(paths, (truth_block(forest, window) for window in windows), grid=grid)
    return paths

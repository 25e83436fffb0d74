"""Reading and writing against GDAL's own way, in one run on one machine.

    python benchmarks/io.py [--side 1024] [--bands 128] [--repeats 3]

Prints read speed a format (million pixels of all bands a second), as windows by GDAL and as hsimap
reads them, and write speed of a float map (10^6 bytes a second), by GDAL's COG driver and by ours.
Wall is the best of the repeats; the ratios that must hold are of CPU time, which a busy machine
moves less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

from hsimap.geometry import Grid, Window
from hsimap.products import CogWriter, Layer
from hsimap.scenes import open_scene
from hsimap.tasks import Kind, Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TILE = 256
AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}
BARS = {"ENVI bil": 3, "ENVI bsq": 3, "ENVI bip": 1.5, "GeoTIFF deflate 1024": 0.8, "COG": 1.4}
"""Least ratio of CPU time, GDAL's way over ours."""


def cube(bands: int, side: int) -> NDArray[np.int16]:
    """Return a scene that compresses as reflectance does: smooth, noisy in the last bits."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / 97
    shape = (np.sin(x) * np.cos(y) * 800 + 2000).astype(np.int16)
    level = np.linspace(0.5, 2, bands)[:, None, None]
    return (shape * level + rng.integers(-40, 40, (bands, side, side))).astype(np.int16)


def write_scenes(folder: Path, values: NDArray[np.int16]) -> dict[str, Path]:
    """Write the scene in every format that is timed."""
    bands, side, _ = values.shape
    paths = {}
    for interleave, axes in AXES.items():
        path = paths[f"ENVI {interleave}"] = folder / f"{interleave}.img"
        np.ascontiguousarray(values.transpose(axes)).tofile(path)
        path.with_suffix(".hdr").write_text(
            f"ENVI\nsamples = {side}\nlines = {side}\nbands = {bands}\ndata type = 2\n"
            f"interleave = {interleave}\nbyte order = 0\n"
        )
    for codec, block in (("none", 256), ("zstd", 256), ("deflate", 256), ("deflate", 1024)):
        path = paths[f"GeoTIFF {codec} {block}"] = folder / f"{codec}{block}.tif"
        with rasterio.open(
            path, "w", driver="GTiff", dtype="int16", count=bands, height=side, width=side,
            tiled=True, blockxsize=block, blockysize=block, interleave="pixel", num_threads=2,
            **({} if codec == "none" else {"compress": codec, "predictor": 2}),
        ) as file:  # fmt: skip
            file.write(values)
    return paths


def windows(side: int, width: int) -> list[Window]:
    """Return windows of TILE rows and the given columns over the whole scene."""
    corners = product(range(0, side, TILE), range(0, side, width))
    found = (Window(row=row, col=col, height=TILE, width=width) for row, col in corners)
    return [window.clip(height=side, width=side) for window in found]


def timed(work: Callable[[], None], repeats: int) -> tuple[float, float]:
    """Return the least wall and the least CPU seconds."""
    took = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        took.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(t[0] for t in took), min(t[1] for t in took)


def gdal_windows(path: Path, side: int) -> Callable[[], None]:
    """Read tile by tile, as a script does."""

    def work() -> None:
        with rasterio.open(path) as file:
            for w in windows(side, TILE):
                rows, cols = w.slices
                file.read(window=((rows.start, rows.stop), (cols.start, cols.stop)))

    return work


def hsimap_rows(path: Path, side: int, bands: int) -> Callable[[], None]:
    """Read whole tile rows into memory that is used again."""
    room = np.empty(bands * TILE * side, np.int16)

    def work() -> None:
        with open_scene(path) as scene:
            for w in windows(side, side):
                shape = (bands, w.height, w.width)
                scene.read(w, out=room[: np.prod(shape)].reshape(shape))

    return work


def cog_driver(folder: Path, values: NDArray[np.float32]) -> Callable[[], None]:
    """Write a tiled file, then a COG of it."""

    def work() -> None:
        plain = folder / "plain.tif"
        with rasterio.open(
            plain, "w", driver="GTiff", dtype="float32", count=1, nodata=float("nan"), tiled=True,
            height=values.shape[1], width=values.shape[2], blockxsize=512, blockysize=512,
        ) as file:  # fmt: skip
            file.write(values)
        rasterio.shutil.copy(
            plain, folder / "driver.tif", driver="COG", COMPRESS="ZSTD", LEVEL="1",
            PREDICTOR="FLOATING_POINT", BLOCKSIZE="512", OVERVIEW_RESAMPLING="AVERAGE",
            OVERVIEW_COMPRESS="ZSTD", STATISTICS="YES",
        )  # fmt: skip
        with rasterio.open(folder / "driver.tif") as file:
            assert np.array_equal(file.read(), values, equal_nan=True)  # noqa: S101  # as ours does

    return work


def our_cog(folder: Path, values: NDArray[np.float32]) -> Callable[[], None]:
    """Write a map as hsimap does, read-back included."""
    grid = Grid(
        height=values.shape[1], width=values.shape[2], transform=Affine.identity(), crs=None
    )
    layer = Layer(
        name="map", kind="values", grid=grid, task=Task(name="map", kind=Kind.CONTINUOUS),
        bands=("map",), dtype="float32", nodata=float("nan"),
    )  # fmt: skip

    def work() -> None:
        writer = CogWriter(folder, layer, lambda w: values[(..., *w.slices)])
        writer.finish(folder / "ours.tif")

    return work


def main() -> None:
    """Time everything, print the table, fail if a ratio is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--bands", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    missed = []
    print(f"{'':22}{'GDAL wall':>12}{'ours wall':>12}{'CPU ratio':>12}")
    with tempfile.TemporaryDirectory(prefix="hsimap-io-") as name:
        folder = Path(name)
        work = {}
        for label, path in write_scenes(folder, cube(args.bands, args.side)).items():
            ours = hsimap_rows(path, args.side, args.bands)
            work[label] = (gdal_windows(path, args.side), ours, args.side**2 / 1e6, "Mpx/s")
        values = cube(1, 4 * args.side).astype(np.float32) / 7
        values[0, : args.side] = np.nan
        megabytes = values.nbytes / 1e6
        work["COG"] = (cog_driver(folder, values), our_cog(folder, values), megabytes, "MB/s")
        for label, (theirs, ours, amount, unit) in work.items():
            slow, quick = timed(theirs, args.repeats), timed(ours, args.repeats)
            ratio = slow[1] / quick[1]
            cells = f"{amount / slow[0]:>12.2f}{amount / quick[0]:>12.2f}{ratio:>12.2f}"
            print(f"{label:22}{cells}  {unit}", flush=True)
            missed += [label] if ratio < BARS.get(label, 0) else []
    if missed:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()

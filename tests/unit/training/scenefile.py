"""A labelled scene on disk and a recipe for it."""

from __future__ import annotations

import numpy as np
import rasterio
from affine import Affine

from hsimap.recipes import parse_recipe

WAVELENGTHS = (450.0, 550.0, 650.0, 750.0, 850.0, 950.0)
DEAD = 3
NODATA = -9999


def write_labelled_scene(folder, *, height=48, width=56, seed=0, name="scene"):
    """Write image, classes, values, stands and folds; band 3 is dead, the left border nodata."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    spectra = np.random.default_rng(99).normal(0, 1, (3, len(WAVELENGTHS))) * 800 + 3000
    cover = np.kron(rng.integers(0, 3, (height // 4, width // 4)), np.ones((4, 4), dtype=int))
    image = spectra[cover].transpose(2, 0, 1) + rng.normal(0, 60, (6, height, width))
    image = image.astype(np.int16)
    image[DEAD] = NODATA
    image[:, :, :3] = NODATA
    depth = (cover * 3 + rng.normal(0, 0.2, cover.shape)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.3] = np.nan
    folds = np.kron(rng.choice([1, 1, 1, 2, 3], (height // 8, width // 8)), np.ones((8, 8)))
    folds[:8, :8], folds[:8, 8:16], folds[:8, 16:24] = 1, 2, 3
    stands = np.kron(np.arange(height * width // 64).reshape(height // 8, -1), np.ones((8, 8)))
    write(folder / f"{name}.tif", image, nodata=NODATA, waves=WAVELENGTHS)
    write(folder / f"{name}_cover.tif", (cover + 1).astype(np.uint8)[None])
    write(folder / f"{name}_depth.tif", depth[None], nodata=np.nan)
    write(folder / f"{name}_folds.tif", folds.astype(np.uint8)[None])
    write(folder / f"{name}_stands.tif", stands.astype(np.int32)[None] + 1)
    return {"image": image, "cover": cover, "depth": depth, "folds": folds}


def write(path, array, *, nodata=None, waves=()):
    bands, height, width = array.shape
    profile = {
        "driver": "GTiff", "dtype": array.dtype.name, "count": bands, "height": height,
        "width": width, "nodata": nodata, "crs": "EPSG:32633",
        "transform": Affine(2.0, 0, 3e5, 0, -2.0, 6.8e6),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(array)
        for band, wavelength in enumerate(waves, 1):
            file.update_tags(band, wavelength=wavelength, wavelength_units="nm")


def recipe_for(folder, *, names=("scene",), context="share", **training):
    """Return a small recipe over the written scenes."""
    scenes = [
        {
            "image": f"{name}.tif",
            "labels": {
                "cover": {"raster": f"{name}_cover.tif"},
                "depth": {"raster": f"{name}_depth.tif"},
            },
            "stands": {"raster": f"{name}_stands.tif"},
            "split": {"raster": f"{name}_folds.tif", "context": context, "block": 8},
        }
        for name in names
    ]
    settings = {
        "patch": 8, "batch": 4, "epochs": 4, "samples_per_epoch": 24, "warmup_epochs": 1,
        "learning_rate": 0.005, "average": 0.9,
    }  # fmt: skip
    return parse_recipe(
        {
            "name": "small",
            "scenes": scenes,
            "tasks": {
                "cover": {"kind": "categorical", "classes": {1: "a", 2: "b", 3: "c"}},
                "depth": {"kind": "continuous", "unit": "m", "range": [-1, 8]},
            },
            "network": {"architecture": "spectral_spatial", "width": 12, "dilations": [1]},
            "training": settings | training,
        },
        root=folder,
    )

"""Finished folders of maps whose numbers are functions of the ground, without a network."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from finished import write_finished

from hsimap.geometry import Grid
from hsimap.products import Layer
from hsimap.tasks import ClassLabel, Kind, Task

UTM = "EPSG:32635"
COVER = Task(
    name="cover",
    kind=Kind.CATEGORICAL,
    classes=tuple(
        ClassLabel(code=code, name=name, color=color)
        for code, name, color in (
            (1, "water", "#2166ac"),
            (4, "pine", "#1b7837"),
            (9, "sand", "#edc948"),
        )
    ),
)
HEIGHT = Task(name="height", kind=Kind.CONTINUOUS, unit="m", range=(0, 40))
DENSITY = Task(name="density", kind=Kind.CONTINUOUS, unit="ha-1")
LAYERS = {"cover": 1, "cover_probability": 1, "height": 1, "density": 2}


def crs_wkt(name=UTM):
    from rasterio.crs import CRS

    return CRS.from_user_input(name).to_wkt()


def grid_of(height, width, *, side=2.0, angle=0.0, origin=(4e5, 6.9e6), crs=UTM):
    place = Affine.translation(*origin) @ Affine.rotation(angle) @ Affine.scale(side, -side)
    return Grid(height=height, width=width, transform=place, crs=crs and crs_wkt(crs))


def ground(grid):
    """``(y, x)`` map coordinates of the pixel centres."""
    col, row = np.meshgrid(np.arange(grid.width) + 0.5, np.arange(grid.height) + 0.5)
    t = grid.transform
    return t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f


def flat(value):
    """A ground that is everywhere the same."""
    return lambda x, y: value + 0 * x


def write_line(
    folder,
    grid,
    *,
    shares=None,
    height=None,
    valid=None,
    model="m" * 64,
    probabilities=True,
    scene=None,
):
    """Write a folder as ``hsimap predict`` does.

    ``shares`` and ``height`` are functions of the ground's x and y.
    """
    shares = shares or (lambda x, y: np.stack([0.2 + 0 * x, 0.5 + 0 * x, 0.3 + 0 * x]))
    height = height or (lambda x, y: 10.0 + 0 * x)
    maps = []
    for name, stride in LAYERS.items():
        on = grid.coarsen(stride)
        x, y = ground(on)
        known = np.ones(x.shape, dtype=bool) if valid is None else valid[::stride, ::stride]
        common = {
            "name": name,
            "grid": on,
            "task": {"h": HEIGHT, "d": DENSITY, "c": COVER}[name[0]],
        }
        if name == "cover":
            values = COVER.codes[shares(x, y).argmax(axis=0)][None]
            layer = Layer(kind="classes", bands=(name,), dtype="uint8", nodata=255, **common)
        elif name == "cover_probability":
            values = np.rint(shares(x, y) * 65534).astype(np.uint16)
            bands = tuple(label.name for label in COVER.classes)
            layer = Layer(
                kind="probabilities",
                bands=bands,
                dtype="uint16",
                nodata=65535,
                scale=1 / 65534,
                **common,
            )
        else:
            values = height(x, y).astype(np.float32)[None]
            layer = Layer(
                kind="values", bands=(name,), dtype="float32", nodata=float("nan"), **common
            )
        if name == "cover_probability" and not probabilities:
            continue
        stored = np.where(known, values, values.dtype.type(layer.nodata))
        maps.append((layer, stored))
    return write_finished(folder, maps, model={"name": "toy", "digest": model}, scene=scene)


@pytest.fixture(scope="session")
def lines(tmp_path_factory):
    """Three overlapping lines, turned three ways, with holes; the ground is smooth."""
    root = tmp_path_factory.mktemp("lines")
    rng = np.random.default_rng(3)
    made = []
    for n, (angle, x, y) in enumerate(
        ((0.0, 4e5, 6.9e6), (25.0, 400030.0, 6899990.0), (-70.0, 400005.3, 6899950.7))
    ):
        grid = grid_of(60, 40, angle=angle, origin=(x, y))
        valid = rng.random((60, 40)) > 0.05

        def shares(x, y, n=n):
            raw = np.exp(np.stack([np.sin(x / 17 + n / 5), np.cos(y / 13), np.sin((x + y) / 23)]))
            return raw / raw.sum(axis=0)

        def height(x, y, n=n):
            return 15 + 5 * np.sin(x / 20) + 5 * np.cos(y / 20) + n

        made.append(write_line(root / f"line{n}", grid, shares=shares, height=height, valid=valid))
    return made

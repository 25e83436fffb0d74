"""Tiles and overviews that are made as rows come in, against GDAL and against counting."""

import os
import struct
from itertools import pairwise

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.io import MemoryFile

from hsimap.errors import VerificationError
from hsimap.geometry import Grid
from hsimap.products import CogWriter, Layer, _cog, _overviews, _tiff
from hsimap.tasks import ClassLabel, Kind, Task

COVER = Task(
    name="cover",
    kind=Kind.CATEGORICAL,
    classes=tuple(ClassLabel(code=c, name=f"c{c}", color="#102030") for c in (0, 3, 7)),
)
HEIGHT = Task(name="height", kind=Kind.CONTINUOUS, unit="m")
SMALL = 16
KINDS = st.sampled_from(["classes", "values", "probabilities"])
SIDES = st.integers(1, 90)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    """Blocks of 16 pixels: a map of 90 has four levels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_cog, "BLOCK", SMALL)
        patch.setattr(_overviews, "BLOCK", SMALL)
        yield


def make(kind, height, width, seed=0):
    """A layer and values in blobs and speckles, a third of them nodata."""
    rng = np.random.default_rng(seed)
    bands = 3 if kind == "probabilities" else 1
    dtype, nodata = {
        "classes": ("uint8", 255), "values": ("float32", float("nan")),
        "probabilities": ("uint16", 65535),
    }[kind]  # fmt: skip
    shape = (bands, height, width)
    values = {
        "classes": lambda: rng.choice(np.uint8([0, 3, 7]), shape),
        "values": lambda: rng.normal(1e4, 3, shape).astype(np.float32),
        "probabilities": lambda: rng.integers(0, 65535, shape).astype(np.uint16),
    }[kind]()
    empty = rng.random((height, width)) < 0.2
    empty[: height // 3, width // 4 :] = True
    values[:, empty] = nodata
    grid = Grid(height=height, width=width, transform=Affine(2, 0, 5, 0, -2, 9), crs=None)
    made = Layer(
        name="map", kind=kind, grid=grid, task=COVER if kind == "classes" else HEIGHT,
        bands=tuple(f"b{i}" for i in range(bands)), dtype=dtype, nodata=nodata,
    )  # fmt: skip
    return made, values


def write(folder, layer, values, steps=()):
    path = folder / "map.tif"
    writer = CogWriter(folder, layer, lambda window: values[(..., *window.slices)])
    for rows in steps:
        writer.advance(rows)
    writer.finish(path)
    assert [p.name for p in folder.iterdir()] == ["map.tif"]
    return path


def levels(path):
    """Every level of a map, the map first."""
    with rasterio.open(path) as file:
        found, n = [file.read()], len(file.overviews(1))
    for level in range(n):
        with rasterio.open(path, overview_level=level) as file:
            found.append(file.read())
    return found


def gdal_half(layer, values, resampling):
    """GDAL's overview of values, filled with nodata to even sides so that it takes 2 x 2 pixels."""
    pad = ((0, 0), (0, values.shape[1] % 2), (0, values.shape[2] % 2))
    values = np.pad(values, pad, constant_values=layer.nodata)
    count, height, width = values.shape
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", dtype=layer.dtype, count=count, height=height, width=width,
            nodata=layer.nodata, transform=layer.grid.transform,
        ) as file:  # fmt: skip
            file.write(values)
            file.build_overviews([2], resampling)
        with memory.open(overview_level=0) as file:
            return file.read()


@settings(max_examples=40, deadline=None)
@given(kind=KINDS, height=SIDES, width=SIDES, steps=st.lists(st.integers(0, 100), max_size=6))
def test_the_bytes_do_not_depend_on_the_height_of_the_strips(
    tmp_path_factory, kind, height, width, steps
):
    layer, values = make(kind, height, width)
    whole = write(tmp_path_factory.mktemp("whole"), layer, values)
    pieces = write(tmp_path_factory.mktemp("pieces"), layer, values, sorted(steps))
    assert whole.read_bytes() == pieces.read_bytes()
    np.testing.assert_array_equal(levels(whole)[0], values)


def test_rows_that_are_not_final_are_not_asked_for(tmp_path):
    layer, values = make("values", 50, 20)
    asked = []

    def read(window):
        asked.append(window.row + window.height)
        return values[(..., *window.slices)]

    writer = CogWriter(tmp_path, layer, read)
    for rows in (15, 16, 47, 49):
        writer.advance(rows)
        assert all(bottom <= rows for bottom in asked)
    assert len(asked) == 3
    writer.close()
    assert not list(tmp_path.iterdir())


@settings(max_examples=40, deadline=None)
@given(kind=st.sampled_from(["values", "probabilities"]), height=SIDES, width=SIDES)
def test_every_overview_is_gdals_average_of_the_level_before(tmp_path_factory, kind, height, width):
    layer, values = make(kind, height, width)
    found = levels(write(tmp_path_factory.mktemp("maps"), layer, values))
    assert max(found[-1].shape[1:]) <= SMALL
    for finer, coarser in pairwise(found):
        expected = gdal_half(layer, finer, Resampling.average)
        assert coarser.shape == expected.shape
        if kind == "values":
            np.testing.assert_allclose(coarser, expected, rtol=2e-7)
        else:
            np.testing.assert_array_equal(coarser, expected)


@settings(max_examples=40, deadline=None)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 9))
def test_an_overview_of_classes_holds_a_most_frequent_code(tmp_path_factory, height, width, seed):
    layer, values = make("classes", height, width, seed)
    found = levels(write(tmp_path_factory.mktemp("maps"), layer, values))
    for (finer,), (coarser,) in pairwise(found):
        expected = gdal_half(layer, finer[None], Resampling.mode)[0]
        for (y, x), code in np.ndenumerate(coarser):
            codes = finer[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel()
            counts = np.bincount(codes[codes != 255], minlength=256)
            ties = np.flatnonzero(counts == counts.max()) if counts.any() else [255]
            first = next(c for c in codes if c in ties)
            assert code == first
            if len(ties) == 1:
                assert code == expected[y, x]


@pytest.mark.parametrize("limit", [_tiff.CLASSIC_LIMIT, 0])
@pytest.mark.parametrize("kind", ["classes", "values", "probabilities"])
def test_directories_come_first_and_tiles_stand_as_promised(tmp_path, monkeypatch, kind, limit):
    monkeypatch.setattr(_tiff, "CLASSIC_LIMIT", limit)
    layer, values = make(kind, 90, 70)
    path = write(tmp_path, layer, values)
    np.testing.assert_array_equal(levels(path)[0], values)
    data = path.read_bytes()
    assert data[:4] == (b"II*\0" if limit else b"II+\0")
    places, directories = [], []
    for level in (3, 2, 1, 0):
        with rasterio.open(path, **({"overview_level": level - 1} if level else {})) as file:
            rows, cols = -(-file.height // SMALL), -(-file.width // SMALL)
            directories.insert(0, int(file.get_tag_item("IFD_OFFSET", "TIFF", bidx=1)))
            for y, x in np.ndindex(rows, cols):
                place = [
                    int(file.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=1))
                    for what in ("OFFSET", "SIZE")
                ]
                places.append(place)
    assert directories == sorted(directories)
    assert directories[0] < 300
    assert directories[-1] < places[0][0]
    end = places[0][0] - 4
    for offset, size in places:
        assert offset == end + 4
        assert struct.unpack_from("<I", data, offset - 4) == (size,)
        end = offset + size + 4
        assert data[end - 8 : end - 4] == data[end - 4 : end]
    assert end == len(data)


def test_the_file_is_known_as_a_cog_and_states_its_statistics(tmp_path):
    layer, values = make("values", 60, 50)
    with rasterio.open(write(tmp_path, layer, values)) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        stated = {
            key: float(value) for key, value in file.tags(1).items() if key.startswith("STATISTICS")
        }
    known = values[np.isfinite(values)].astype(np.float64)
    expected = {
        "MINIMUM": known.min(), "MAXIMUM": known.max(), "MEAN": known.mean(),
        "STDDEV": known.std(), "VALID_PERCENT": 100 * known.size / values.size,
    }  # fmt: skip
    for name, value in expected.items():
        assert stated[f"STATISTICS_{name}"] == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.99])
def test_a_byte_that_changed_on_the_disk_is_found(tmp_path, monkeypatch, at):
    layer, values = make("values", 64, 64)
    fsync = os.fsync

    def damage(handle):
        with (tmp_path / "map.tif").open("r+b") as file:
            place = int(os.fstat(handle).st_size * at)
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1]))
        fsync(handle)

    write(tmp_path, layer, values)
    monkeypatch.setattr(os, "fsync", damage)
    with pytest.raises(VerificationError, match="does not read back as it was written in the"):
        write(tmp_path, layer, values)

"""Blocks that are decoded without GDAL hold what GDAL reads, and what is odd is left to GDAL."""

from concurrent.futures import Future, ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio.env import get_gdal_config, set_gdal_config

from hsimap.errors import InputError
from hsimap.geometry import Window
from hsimap.scenes import _tiff_blocks
from hsimap.scenes._geotiff import GdalReader

TRANSFORM = Affine(2, 0, 5e5, 0, -2, 6e6)
TILED = {"tiled": True, "blockxsize": 32, "blockysize": 16, "interleave": "pixel"}


@pytest.fixture(autouse=True)
def cache():
    before = get_gdal_config("GDAL_CACHEMAX")
    yield
    set_gdal_config("GDAL_CACHEMAX", before)


def write(path, values, **options):
    count, height, width = values.shape
    profile = {"driver": "GTiff", "dtype": values.dtype, "count": count, "height": height,
               "width": width, "transform": TRANSFORM, "crs": "EPSG:32635"}  # fmt: skip
    with rasterio.open(path, "w", **profile | TILED | {"compress": "deflate"} | options) as file:
        file.write(values)
    return path


def samples(shape, dtype, seed=0):
    values = np.random.default_rng(seed).integers(0, 250, shape).astype(dtype)
    return values - 100 if np.dtype(dtype).kind == "i" else values


def read(reader, window, bands=None):
    return reader.read(window, range(reader.shape[0]) if bands is None else bands)[0]


@st.composite
def windows(draw, height, width):
    row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Window(
        row=row, col=col,
        height=draw(st.integers(1, height - row)), width=draw(st.integers(1, width - col)),
    )  # fmt: skip


@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]),
    compress=st.sampled_from(["deflate", "lzw", "zstd"]),
    predictor=st.sampled_from([1, 2]),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    cache=st.sampled_from([0, 30_000, 1 << 20]),
    data=st.data(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_window_of_every_kind_is_what_was_written(
    tmp_path_factory, dtype, compress, predictor, size, cache, data
):
    predictor = 1 if np.dtype(dtype).kind == "f" else predictor
    values = samples((3, *size), dtype)
    path = write(
        tmp_path_factory.mktemp("blocks") / "a.tif", values,
        compress=compress, predictor=predictor,
    )  # fmt: skip
    set_gdal_config("GDAL_CACHEMAX", cache)
    reader = GdalReader(path)
    for _ in range(4):
        reader.expect(data.draw(windows(*size)))  # what comes next, or something else
        window = data.draw(windows(*size))
        bands = data.draw(st.lists(st.integers(0, 2), min_size=1, max_size=4))
        expected = values[bands][(..., *window.slices)]
        np.testing.assert_array_equal(read(reader, window, bands), expected)
    assert reader.storage.keeps
    assert reader._blocks._is_trusted
    reader.close()


@pytest.mark.parametrize(
    "options",
    [
        {"interleave": "band"},
        {"ENDIANNESS": "BIG"},
        {"tiled": False},
        {"nbits": 7},
        {"compress": "none"},
        {"compress": "lzma"},
        {"dtype": "float32", "predictor": 3},
    ],
    ids=str,
)
def test_what_is_stored_in_another_way_is_left_to_gdal(tmp_path, options):
    values = np.abs(samples((3, 40, 50), options.get("dtype", "uint8"))) % 100
    reader = GdalReader(write(tmp_path / "a.tif", values, **options))
    assert reader._blocks is None
    assert not reader.storage.keeps
    whole = Window(row=0, col=0, height=40, width=50)
    np.testing.assert_array_equal(read(reader, whole), values)
    reader.close()


def test_blocks_that_the_file_has_not_are_left_to_gdal(tmp_path):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "dtype": "int16", "count": 3, "height": 64, "width": 64,
               "nodata": -9, "compress": "deflate", "SPARSE_OK": True}  # fmt: skip
    part = samples((3, 16, 32), "int16")
    with rasterio.open(path, "w", transform=TRANSFORM, **profile | TILED) as file:
        file.write(part, window=((16, 32), (0, 32)))
    reader = GdalReader(path)
    values = read(reader, Window(row=0, col=0, height=64, width=64))
    np.testing.assert_array_equal(values[:, 16:32, :32], part)
    assert (np.delete(values.reshape(3, -1), 0, 0) == -9).mean() > 0.8
    reader.close()


def test_a_damaged_block_is_an_error_that_names_the_file(tmp_path):
    path = write(tmp_path / "a.tif", samples((3, 64, 64), "int16"))
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_1_2", "TIFF", bidx=1))
    data = bytearray(path.read_bytes())
    data[start : start + 40] = bytes(40)
    path.write_bytes(data)
    reader = GdalReader(path)
    read(reader, Window(row=0, col=0, height=16, width=64))
    reader.expect(Window(row=32, col=32, height=16, width=32))  # keeps it to itself
    with pytest.raises(InputError, match=r"a\.tif cannot be read at Window\(row=32"):
        read(reader, Window(row=32, col=32, height=16, width=32))
    reader.close()


def test_a_decoder_that_disagrees_with_gdal_is_not_used(tmp_path, monkeypatch):
    values = samples((3, 64, 64), "int16")
    reader = GdalReader(write(tmp_path / "a.tif", values, predictor=2))
    monkeypatch.setattr(imagecodecs, "delta_decode", lambda data, axis, out: out)
    whole = Window(row=0, col=0, height=64, width=64)
    np.testing.assert_array_equal(read(reader, whole), values)
    assert reader._blocks._is_trusted is False
    reader.close()


def test_windows_side_by_side_decode_each_block_once(tmp_path, monkeypatch):
    values = samples((3, 64, 128), "int16")
    reader, decoded = GdalReader(write(tmp_path / "a.tif", values)), []
    decode = _tiff_blocks.BlockLayout.decode
    monkeypatch.setattr(
        _tiff_blocks.BlockLayout,
        "decode",
        lambda layout, data, out: decoded.append(1) or decode(layout, data, out),
    )
    set_gdal_config("GDAL_CACHEMAX", 7 * 3 * 16 * 32 * 2)
    for col in range(0, 128, 20):
        window = Window(row=0, col=col, height=64, width=min(20, 128 - col))
        reader.expect(window)
        np.testing.assert_array_equal(read(reader, window), values[(..., *window.slices)])
        assert len(reader._blocks._kept._kept) <= 7
    assert not reader._blocks._kept._kept  # each pixel was asked for
    assert len(decoded) == 1 + 16  # one was held against GDAL
    reader.close()


def test_threads_that_read_at_the_same_time_do_not_meet(tmp_path):
    values = samples((3, 200, 200), "int16")
    reader = GdalReader(write(tmp_path / "a.tif", values))
    set_gdal_config("GDAL_CACHEMAX", 3 * 3 * 16 * 32 * 2)

    def check(seed):
        rng = np.random.default_rng(seed)
        for _ in range(40):
            row, col, ahead = rng.integers(0, 150, 3)
            reader.expect(Window(row=int(ahead), col=int(col), height=50, width=50))
            window = Window(row=int(row), col=int(col), height=50, width=50)
            np.testing.assert_array_equal(read(reader, window), values[(..., *window.slices)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, range(8)))
    reader.close()


def test_blocks_that_are_expected_are_there_when_they_are_asked_for(tmp_path, monkeypatch):
    values = samples((3, 64, 128), "int16")
    reader = GdalReader(write(tmp_path / "a.tif", values))
    blocks = reader._blocks
    monkeypatch.setattr(type(blocks), "_workers", lambda self: 2)
    near, next_one = (Window(row=0, col=col, height=32, width=32) for col in (0, 64))
    set_gdal_config("GDAL_CACHEMAX", 3 * 3 * 16 * 32 * 2)
    reader.expect(next_one)
    read(reader, near)
    reader.expect(next_one)
    assert not blocks._ahead  # not before the file is trusted, nor where they might not be kept
    set_gdal_config("GDAL_CACHEMAX", 4 * 3 * 16 * 32 * 2)
    reader.expect(next_one)
    before = dict(blocks._ahead)
    reader.expect(next_one)
    assert blocks._ahead == before  # nothing is decoded twice
    assert list(before) == [(0, 2), (1, 2)]
    for work in blocks._ahead.values():
        work.result()
    assert blocks._kept.has((0, 2))
    monkeypatch.setattr(blocks, "_decode", None)  # decodes nothing any more
    np.testing.assert_array_equal(read(reader, next_one), values[(..., *next_one.slices)])
    assert not blocks._ahead
    reader.close()


def test_a_block_whose_turn_has_not_come_is_decoded_by_who_asks_for_it(tmp_path, monkeypatch):
    values = samples((3, 64, 64), "int16")
    reader = GdalReader(write(tmp_path / "a.tif", values))
    whole = Window(row=0, col=0, height=64, width=64)
    read(reader, whole)
    waiting = Future()
    monkeypatch.setattr(waiting, "result", None)  # its thread may be the one that asks
    reader._blocks._ahead[0, 0] = waiting
    np.testing.assert_array_equal(read(reader, whole), values)
    assert waiting.cancelled()
    reader.close()


def test_a_reader_may_be_closed_twice(tmp_path):
    values = samples((3, 64, 64), "int16")
    reader = GdalReader(write(tmp_path / "a.tif", values))
    whole = Window(row=0, col=0, height=64, width=64)
    read(reader, whole)
    reader.close()
    reader.close()
    np.testing.assert_array_equal(read(reader, whole), values)  # GDAL opens it again
    reader.close()

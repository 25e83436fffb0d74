import os
from zlib import crc32

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import StorageError
from hsimap.geometry import Grid, Window
from hsimap.mapping.stripfile import LayerStore, Squares, StripFile
from hsimap.mapping.tiling import TilePlan
from hsimap.products import Layer
from hsimap.tasks import Kind, Task


def layer(height=20, width=7, bands=2):
    grid = Grid(height=height, width=width, transform=Affine.identity(), crs=None)
    task = Task(name="lai", kind=Kind.CONTINUOUS, unit="1")
    names = tuple(f"b{i}" for i in range(bands))
    return Layer(
        name="lai", kind="values", grid=grid, task=task, bands=names, dtype="float32",
        nodata=float("nan"), tags={},
    )  # fmt: skip


@given(cut=st.integers(1, 19), order=st.booleans(), seed=st.integers(0, 9))
def test_strips_written_in_any_order_read_back_as_the_whole(tmp_path_factory, cut, order, seed):
    path = tmp_path_factory.mktemp("store") / "lai.squares"
    whole = np.random.default_rng(seed).normal(size=(2, 20, 7)).astype(np.float32)
    store = LayerStore(path, layer())
    pieces = [(0, whole[:, :cut]), (cut, whole[:, cut:])]
    for row, piece in pieces[:: -1 if order else 1]:
        for columns in (slice(0, 3), slice(3, 7)):
            store.write(row, columns.start, piece[:, :, columns])
        assert store.checksum(row, piece.shape[1]) == crc32(piece.tobytes())
    window = Window(row=3, col=2, height=11, width=4)
    np.testing.assert_array_equal(store.read(window), whole[(..., *window.slices)])
    store.close()


def test_a_store_that_cannot_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    def full(handle, offset, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"no room for the 0\.0 MiB of lai"):
        LayerStore(tmp_path / "lai.squares", layer())


@st.composite
def cut_maps(draw):
    stride = draw(st.sampled_from([1, 2]))
    tiles = TilePlan(
        height=draw(st.integers(1, 50)), width=draw(st.integers(1, 50)),
        kept=stride * draw(st.integers(1, 9)), trim=0, ramp=0, alignment=stride,
    )  # fmt: skip
    row, col = (draw(st.integers(0, n // stride)) * stride for n in (tiles.height, tiles.width))
    inner = Window(row=row, col=col, height=tiles.height - row, width=tiles.width - col)
    tiles = tiles if inner.is_empty or not draw(st.booleans()) else tiles.part(inner)
    return tiles, stride


@given(cut=cut_maps(), seed=st.integers(0, 9), data=st.data())
def test_squares_of_any_plan_read_back_as_the_whole(tmp_path_factory, cut, seed, data):
    tiles, stride = cut
    height, width = (-(-size // stride) for size in tiles.map_shape)
    whole = np.random.default_rng(seed).normal(size=(2, height, width)).astype(np.float32)
    path = tmp_path_factory.mktemp("store") / "lai.squares"
    file = StripFile(path, layer(height, width), Squares.of(tiles, stride))
    for row in range(tiles.n_rows):
        for tile in tiles.row_tiles(row):
            place = tiles.in_maps(tile.footprint)
            window = Window(
                row=place.row // stride, col=place.col // stride,
                height=-(-place.height // stride), width=-(-place.width // stride),
            )  # fmt: skip
            file.write(window.row, window.col, whole[(..., *window.slices)])
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    part = Window(row=row, col=col, height=height - row, width=width - col)
    np.testing.assert_array_equal(file.read(part), whole[(..., *part.slices)])
    file.give_back(0, height)
    file.close()
    assert sorted(path.read_bytes()) == sorted(whole.tobytes())


@given(row=st.integers(0, 19), col=st.integers(0, 6), seed=st.integers(0, 9), data=st.data())
def test_a_window_across_squares_is_stored_as_it_is_read(tmp_path_factory, row, col, seed, data):
    shape = (2, data.draw(st.integers(1, 20 - row)), data.draw(st.integers(1, 7 - col)))
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    path = tmp_path_factory.mktemp("store") / "lai.squares"
    file = StripFile(path, layer(), Squares((0, 6, 12, 20), (0, 3, 7)))
    file.write(row, col, values)
    whole = np.zeros((2, 20, 7), np.float32)
    window = Window(row=row, col=col, height=shape[1], width=shape[2])
    whole[(..., *window.slices)] = values
    everything = Window(row=0, col=0, height=20, width=7)
    np.testing.assert_array_equal(file.read(everything), whole)
    file.close()


def test_a_square_is_written_in_one_piece(tmp_path, monkeypatch):
    sizes, pwrite = [], os.pwrite
    file = StripFile(tmp_path / "lai.squares", layer(), Squares((0, 6, 12, 20), (0, 3, 7)))
    monkeypatch.setattr(
        os, "pwrite", lambda handle, data, at: sizes.append(len(data)) or pwrite(handle, data, at)
    )
    file.write(6, 3, np.ones((2, 6, 4), np.float32))
    file.close()
    assert sizes == [6 * 4 * 4] * 2

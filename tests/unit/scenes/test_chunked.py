"""Each chunk under a window is decoded once, and no chunk of bands that were not asked for."""

from collections import Counter
from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsimap.geometry import Window
from hsimap.scenes import _chunked
from hsimap.scenes._chunked import ChunkReader


class Recorded:
    """An array in chunks that counts which of them are decoded."""

    def __init__(self, values, chunks):
        self.values, self.chunks = values, chunks
        self.shape, self.dtype = values.shape, values.dtype
        self.decoded = Counter()

    def __getitem__(self, key):
        touched = [
            range(part.start // size, -(-part.stop // size))
            for part, size in zip(key, self.chunks, strict=True)
        ]
        self.decoded.update(product(*touched))
        return self.values[key]


@given(data=st.data())
def test_no_chunk_is_decoded_twice_or_in_vain(data):
    axes = data.draw(st.permutations([0, 1, 2]))
    shape = tuple(data.draw(st.integers(1, 12)) for _ in range(3))
    chunks = tuple(data.draw(st.integers(1, size)) for size in shape)
    array = Recorded(np.arange(np.prod(shape), dtype="i4").reshape(shape), chunks)
    reader = ChunkReader(lambda: array, tuple(axes), driver="x", compression=lambda _: "none")
    n, height, width = reader.shape
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(
        row=row,
        col=col,
        height=data.draw(st.integers(1, height - row)),
        width=data.draw(st.integers(1, width - col)),
    )
    bands = data.draw(st.lists(st.integers(0, n - 1), min_size=1, unique=True))
    piece = data.draw(st.sampled_from([1, 100, 1 << 20]))
    before, _chunked._PIECE = _chunked._PIECE, piece
    try:
        found, _ = reader.read(window, bands)
    finally:
        _chunked._PIECE = before
    rows, cols = window.slices
    np.testing.assert_array_equal(found, array.values.transpose(axes)[bands][:, rows, cols])
    needed = [
        {band // chunks[axes[0]] for band in bands},
        {y // chunks[axes[1]] for y in range(row, row + window.height)},
        {x // chunks[axes[2]] for x in range(col, col + window.width)},
    ]
    needed = [needed[axes.index(axis)] for axis in range(3)]
    assert array.decoded == Counter(product(*needed))


def test_an_array_without_chunks_is_read_line_by_line_of_its_last_axis():
    array = Recorded(np.arange(60, dtype="i4").reshape(3, 4, 5), (1, 1, 5))
    array.chunks = None
    reader = ChunkReader(lambda: array, (0, 1, 2), driver="x", compression=lambda _: "none")
    assert reader.storage.block == (1, 5)
    assert reader.storage.bands == 1

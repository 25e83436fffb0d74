import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsimap.mapping.encoding import coarsen_valid


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    stride=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_a_coarse_pixel_is_valid_only_where_all_its_pixels_are(height, width, stride, seed):
    valid = np.random.default_rng(seed).random((height, width)) < 0.8
    coarse = coarsen_valid(valid, stride)
    assert coarse.shape == (-(-height // stride), -(-width // stride))
    for (row, col), value in np.ndenumerate(coarse):
        rows = slice(row * stride, (row + 1) * stride)
        assert value == valid[rows, col * stride : (col + 1) * stride].all()

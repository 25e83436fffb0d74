import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsimap.synthetic._random import normal, smooth_noise, uniform

INT = st.integers(-(2**40), 2**40)


@given(INT, INT, INT)
def test_a_number_depends_on_its_keys_only(seed, row, col):
    grid = uniform(seed, np.arange(row, row + 3)[:, None], np.arange(col, col + 2))
    assert grid.shape == (3, 2)
    assert grid[2, 1] == uniform(seed, row + 2, col + 1)
    assert ((grid > 0) & (grid < 1)).all()
    assert np.unique(grid).size == 6
    assert uniform(seed, row, col) != uniform(seed + 1, row, col)
    assert uniform(seed, row, col) != uniform(seed, row, col, 0)


def test_numbers_are_uniform_normal_and_without_pattern():
    rows, cols = np.ogrid[:400, :400]
    u, z = uniform(3, rows, cols), normal(3, rows, cols)
    assert abs(np.histogram(u, 20, (0, 1))[0] / u.size - 0.05).max() < 0.003
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    for dy, dx in ((0, 1), (1, 0), (1, 1)):
        assert abs((z * np.roll(z, (dy, dx), (0, 1))).mean()) < 0.01


@given(st.integers(-300, 300), st.integers(-300, 300), st.sampled_from([2.0, 7.5, 60.0]))
def test_smooth_noise_is_the_same_through_any_window(row, col, step):
    rows, cols = np.mgrid[row : row + 12, col : col + 9].astype(float)
    whole = smooth_noise(rows, cols, step=step, keys=(1, 2))
    part = smooth_noise(rows[4:9, 2:5], cols[4:9, 2:5], step=step, keys=(1, 2))
    np.testing.assert_array_equal(whole[4:9, 2:5], part)


def test_smooth_noise_has_unit_spread_and_is_smooth():
    rows, cols = np.mgrid[:400, :400] + 0.3
    noise = smooth_noise(rows, cols, step=10.0, keys=(4,))
    assert abs(noise.std() - 1) < 0.1
    assert abs(np.diff(noise, axis=0)).max() < 1.3
    assert smooth_noise(rows[:0], cols[:0], step=10.0, keys=(4,)).size == 0

"""Images read beside their place: against GDAL, against polynomials, by laws."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.warp import reproject
from toys import Pixels

from hsimap.geometry import Window
from hsimap.mapping.displaced import DisplacedSource


class Source(Pixels):
    """Pixels with a mask in place of flags."""

    def read(self, window):
        values, flags = self.read_flagged(window)
        return values, flags == 0


PARTS = st.floats(-3, 3).map(lambda part: round(part, 3))
OFFSETS = st.tuples(PARTS, PARTS)


def read(image, offset, window=None, valid=None):
    """Return what a displaced source gives of an array, by default all of it."""
    shown = np.ones(image.shape[1:], bool) if valid is None else valid
    whole = Window(row=0, col=0, height=image.shape[1], width=image.shape[2])
    return DisplacedSource(Source(image, shown), offset).read(window or whole)


@given(OFFSETS, st.integers(0, 99))
def test_it_is_cubic_convolution_as_gdal_does_it(offset, seed):
    image = np.random.default_rng(seed).normal(100, 30, (2, 17, 19)).astype(np.float32)
    expected, there = np.zeros_like(image), Affine(10, 0, 4e5, 0, -10, 58e5)
    reproject(
        image,
        expected,
        src_transform=there,
        # The upper left corner of pixel (0, 0) lies at (-rows, -cols) of the image.
        dst_transform=there @ Affine.translation(-offset[1], -offset[0]),
        src_crs="EPSG:32633",
        dst_crs="EPSG:32633",
        resampling=Resampling.cubic,
    )
    found, valid = read(image, offset)
    inner = (slice(None), slice(6, -6), slice(6, -6))
    assert valid[inner[1:]].all()
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.01)


@given(OFFSETS)
def test_parabolas_are_reproduced(offset):
    rows, cols = np.mgrid[0:20, 0:24].astype(np.float64)

    def surface(y, x):
        return 2 * y**2 - 3 * x**2 + x * y - 5 * y + 7

    found, _ = read(surface(rows, cols)[None], offset)
    inner = (slice(6, -6), slice(6, -6))
    expected = surface(rows - offset[0], cols - offset[1])
    np.testing.assert_allclose(found[0][inner], expected[inner], rtol=1e-9, atol=1e-7)


@given(st.integers(-4, 4), st.integers(-4, 4))
def test_whole_pixels_are_moved_as_they_are(rows, cols):
    image = np.random.default_rng(0).integers(0, 9999, (3, 9, 11)).astype(np.uint16)
    found, valid = read(image, (float(rows), float(cols)))
    expected, inside = np.zeros_like(image), np.zeros((9, 11), bool)
    for r in range(9):
        for c in range(11):
            if 0 <= r - rows < 9 and 0 <= c - cols < 11:
                expected[:, r, c], inside[r, c] = image[:, r - rows, c - cols], True
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(valid, inside)


@given(OFFSETS, st.integers(-3, 12), st.integers(-3, 12), st.integers(1, 9), st.integers(1, 9))
def test_a_window_is_that_part_of_the_whole(offset, row, col, height, width):
    rng = np.random.default_rng(1)
    image, valid = (
        rng.integers(-500, 9999, (2, 16, 15)).astype(np.int16),
        rng.random((16, 15)) > 0.2,
    )
    whole = Window(row=-4, col=-4, height=28, width=28)
    values, known = read(image, offset, whole, valid)
    window = Window(row=row, col=col, height=height, width=width)
    part, shown = read(image, offset, window, valid)
    inside = window.shift(rows=4, cols=4).slices
    np.testing.assert_array_equal(part, values[(slice(None), *inside)])
    np.testing.assert_array_equal(shown, known[inside])


@given(OFFSETS, st.floats(0, 0.6), st.integers(0, 99))
def test_a_constant_stays_one_whatever_is_missing(offset, share, seed):
    valid = np.random.default_rng(seed).random((14, 13)) >= share
    image = np.where(valid, 700, -9999)[None].astype(np.int16)
    found, known = read(image, offset, valid=valid)
    assert set(np.unique(found[0][known])) <= {700}
    assert set(np.unique(found[0][~known])) <= {0}


def test_what_is_not_a_number_stays_where_it_is():
    image = np.ones((1, 9, 9), np.float32)
    image[0, 4, 4] = np.nan
    found, known = read(image, (0.25, 0.0), valid=np.isfinite(image[0]))
    assert np.isfinite(found).all()
    assert np.argwhere(~known[1:]).tolist() == [[3, 4]]  # row 4; the first row lies half outside


@pytest.mark.parametrize(("offset", "nearest"), [((0.4, 0.0), 4), ((0.6, 0.0), 5)])
def test_a_pixel_is_missing_where_most_of_it_is(offset, nearest):
    valid = np.ones((9, 9), bool)
    valid[4] = False
    _, known = read(np.ones((1, 9, 9), np.uint8), offset, valid=valid)
    assert np.flatnonzero(~known[1:8].any(axis=1)).tolist() == [nearest - 1]


def test_integers_stop_at_their_limits():
    image = np.zeros((1, 8, 12), np.uint8)
    image[..., 6:] = 255  # cubic convolution overshoots at an edge
    found, _ = read(image, (0.0, 0.5))
    assert found.dtype == np.uint8
    assert (found[0, 4, 2:6].max(), found[0, 4, 8:11].min()) == (0, 255)

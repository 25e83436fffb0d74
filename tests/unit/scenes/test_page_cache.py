"""Pages of a large file are given back behind the reader, and nothing else is."""

import os

import numpy as np
import pytest
import rasterio
from affine import Affine

from hsimap.geometry import Window
from hsimap.scenes import _page_cache, open_scene
from hsimap.scenes._page_cache import PassingPages, cached_share

CODE = 2
AXES = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}
BANDS, HEIGHT, WIDTH, OFFSET = 3, 40, 16, 32

pytestmark = pytest.mark.skipif(
    not hasattr(os, "RWF_NOWAIT"), reason="this system does not tell what is in its page cache"
)


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(0, 900, (BANDS, HEIGHT, WIDTH)).astype(np.int16)


@pytest.fixture
def advice(monkeypatch):
    """What the system is told, ``(start, size)``; every file passes for a large, absent one."""
    told = []
    monkeypatch.setattr(_page_cache, "cached_share", lambda handle: 0.0)
    monkeypatch.setattr(PassingPages.__init__, "__kwdefaults__", {"least": 0})
    monkeypatch.setattr(
        os, "posix_fadvise", lambda handle, start, size, what: told.append((start, size))
    )
    return told


def raw(path, values, interleave):
    path.write_bytes(b"x" * OFFSET + values.transpose(AXES[interleave]).tobytes())
    path.with_suffix(".hdr").write_text(
        f"ENVI\nsamples = {WIDTH}\nlines = {HEIGHT}\nbands = {BANDS}\ninterleave = {interleave}\n"
        f"data type = {CODE}\nbyte order = 0\nheader offset = {OFFSET}\n"
    )
    return path


def rows_of(told, interleave):
    """Return the rows whose bytes, of all bands, were given back, and check that they are whole."""
    found = np.zeros((BANDS, HEIGHT, WIDTH), np.int16).transpose(AXES[interleave]).copy()
    flat = found.reshape(-1)
    for start, size in told:
        first, count = (start - OFFSET) // 2, size // 2
        assert start >= OFFSET
        assert size > 0
        flat[first : first + count] += 1
    back = found.transpose(np.argsort(AXES[interleave]))
    assert (back == back[:1, :, :1]).all()
    assert back.max(initial=0) <= 1
    return np.flatnonzero(back[0, :, 0]).tolist()


@pytest.mark.parametrize("interleave", AXES)
def test_rows_above_a_tile_row_are_given_back_once_and_no_others(
    tmp_path, values, advice, interleave
):
    with open_scene(raw(tmp_path / "x.img", values, interleave)) as scene:
        for top in (-2, 8, 18, 28):
            for left in (-2, 6):
                window = Window(row=top, col=left, height=14, width=12)
                found, valid = scene.read(window)
                inside = window.clip(height=HEIGHT, width=WIDTH)
                part = inside.shift(rows=-top, cols=-left).slices
                np.testing.assert_array_equal(found[:, *part], values[:, *inside.slices])
                # The right one of two reads is the last of its rows; 4 of them are read again.
                stop = min(top + 14, HEIGHT)
                done = stop - 4 if top > 0 and left > 0 else max(top, 0)
                assert rows_of(advice, interleave) == list(range(done))
                assert valid.sum() == inside.height * inside.width


def test_a_geotiff_is_given_back_when_its_rows_are_read(tmp_path, values, advice):
    path = tmp_path / "x.tif"
    profile = {"count": BANDS, "height": HEIGHT, "width": WIDTH, "dtype": "int16"}
    with rasterio.open(path, "w", transform=Affine.scale(2, -2), **profile) as file:
        file.write(values)
    with open_scene(path) as scene:
        calls = 0
        for top, left in ((0, 0), (10, 0), (10, 8), (20, 0), (20, 8)):
            window = Window(row=top, col=left, height=10, width=8)
            found = scene.read(window)[0]
            np.testing.assert_array_equal(found, values[:, top : top + 10, left : left + 8])
            calls += top > 0 and left > 0
            assert advice == [(0, 0)] * calls


@pytest.mark.parametrize(("share", "least"), [(0.5, 0), (1.0, 0), (0.0, 1 << 30)])
def test_a_small_file_or_one_in_memory_is_left_there(tmp_path, monkeypatch, share, least):
    path = tmp_path / "x"
    path.write_bytes(b"x" * 5000)
    monkeypatch.setattr(_page_cache, "cached_share", lambda handle: share)
    pages = PassingPages(path, least=least)
    assert not pages.active
    assert not pages.passed(10)
    pages.close()


def test_what_is_in_memory_is_told(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x" * (1 << 20))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        assert cached_share(file.fileno()) == pytest.approx(1, abs=0.1)

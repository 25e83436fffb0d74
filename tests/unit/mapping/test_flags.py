"""Every flag against plain numpy on the whole scene, however the scene is cut into tiles."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from toys import Mask

from hsimap.bundle import InputSpec
from hsimap.mapping import SceneAdapter
from hsimap.mapping.engine import Engine
from hsimap.mapping.flags import UNWANTED, with_confidence
from hsimap.mapping.recycling import RecyclingSource
from hsimap.mapping.tiling import READ_AHEAD, TilePlan
from hsimap.scenes import Quality, scene_from_array
from hsimap.tasks import Kind, Output

NODATA = -9999
CLASSES = Output(task="cover", kind=Kind.CATEGORICAL, channels=3)


class Shares:
    """Class probabilities of a pixel from its own samples."""

    def forward(self, image, valid):
        return {"cover": shares(image[0])[None]}


def shares(image):
    weights = np.abs(np.float32(1e-4) * image[:3]) + np.float32(0.01)
    return (weights / weights.sum(axis=0)).astype(np.float32)


@st.composite
def scenes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    shape = (3, draw(st.integers(1, 24)), draw(st.integers(1, 24)))
    dtype = np.dtype(draw(st.sampled_from(["int16", "uint16", "int32", "float32", "float64"])))
    values = rng.integers(0, 12000, shape).astype(dtype)
    odd = {"i": [-1, 0, 15000, 15001, np.iinfo("i2").max], "u": [0, 15000, 15001, 65535]}
    picks = odd.get(dtype.kind, [-0.5, -0.0, 0, 15000, 15000.5, 1e9])
    some = rng.random(shape) < draw(st.sampled_from([0.0, 0.02, 0.3]))
    values[some] = rng.choice(np.array(picks).astype(dtype), some.sum())
    nodata = draw(st.sampled_from([None, NODATA if dtype.kind != "u" else 0]))
    holes = rng.random(shape) < draw(st.sampled_from([0.0, 0.05]))
    blank = rng.random(shape[1:]) < draw(st.sampled_from([0.0, 0.1, 0.9]))
    lost = [nodata] if nodata is not None else []
    lost += [np.nan, np.inf, -np.inf] if dtype.kind == "f" else []
    if lost:
        values[holes] = rng.choice(np.array(lost).astype(dtype), holes.sum())
        values[:, blank] = rng.choice(np.array(lost).astype(dtype), blank.sum())
    else:
        values[:, blank] = 0
    mask = rng.random(shape[1:]) < 0.9 if draw(st.booleans()) else None
    scale = draw(st.sampled_from([None, 1e-4]))
    return values, mask, nodata, scale


def opened(values, mask, nodata, scale):
    array = xr.DataArray(values, dims=("band", "y", "x"), attrs={})
    array.attrs |= {"scale": scale} if scale else {}
    array.attrs |= {"nodata": nodata} if nodata is not None else {}
    if mask is not None:
        array = array.assign_coords(mask=(("y", "x"), mask))
    return scene_from_array(array)


def truth(values, mask, nodata, scale, *, trim):
    """Return the flags by what they are said to be, without a tile."""
    wide = values.astype(np.float64)
    missing = ~np.isfinite(wide)
    if nodata is not None:
        missing |= wide == nodata
    shown = np.ones(values.shape[1:], dtype=bool) if mask is None else mask
    gone = missing.all(axis=0) | ~shown
    if nodata is None and mask is None:
        gone |= (wide == 0).all(axis=0)
    part = missing.any(axis=0) & ~gone
    flags = np.where(gone, 1, np.where(part, 2, 0))
    valid = flags == 0
    odd = np.zeros(valid.shape, dtype=bool)
    if scale is not None:
        odd |= (wide < 0).any(axis=0) | (wide > 15000).any(axis=0)
    if values.dtype.kind in "iu":
        odd |= (values == np.iinfo(values.dtype).max).any(axis=0)
    flags[valid & odd] |= 4
    padded = np.pad(~valid, trim, constant_values=True)
    for row, col in zip(*np.nonzero(valid), strict=True):
        if trim and padded[row : row + 2 * trim + 1, col : col + 2 * trim + 1].any():
            flags[row, col] |= 8
    known = np.where(np.isfinite(wide), wide, 0).astype(np.float32)
    flags[valid & (shares(known).max(axis=0) < 0.5)] |= 32
    return flags


@given(
    scene=scenes(),
    kept=st.integers(1, 9),
    trim=st.integers(0, 3),
    at_once=st.integers(1, 4),
    data=st.data(),
)
def test_every_flag_is_that_of_plain_numpy_on_the_whole_scene(scene, kept, trim, at_once, data):
    values, mask, nodata, scale = scene
    _, height, width = values.shape
    ramp = data.draw(st.integers(0, kept))
    plan = TilePlan(height=height, width=width, kept=kept, trim=trim, ramp=ramp, alignment=1)
    adapter = SceneAdapter(opened(*scene), InputSpec(n_bands=3, scale=scale))
    expected = truth(values, mask, nodata, scale, trim=trim)
    area = None
    if data.draw(st.booleans()):
        seed = data.draw(st.integers(0, 99))
        wanted = np.random.default_rng(seed).random((height, width)) < 0.2
        area, expected = Mask(wanted), np.where(wanted, expected, UNWANTED)
    source = RecyclingSource(adapter, READ_AHEAD)
    engine = Engine(plan, source, runtime=Shares(), outputs=[CLASSES], at_once=at_once, area=area)
    found = np.zeros((height, width), np.uint8)
    for square in engine.squares(range(plan.n_rows)):
        flags = with_confidence(square.flags, square.values, [CLASSES])
        row, col = square.tile.footprint.row, square.tile.footprint.col
        found[row : row + flags.shape[0], col : col + flags.shape[1]] = flags
    np.testing.assert_array_equal(found, expected)


def test_a_resampled_spectrum_is_flagged_wherever_a_pixel_is_valid():
    values = np.full((4, 2, 3), 500, np.int16)
    values[:, 0, 0] = NODATA
    array = xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={"wavelength": ("band", [500.0, 520.0, 540.0, 560.0])},
        attrs={"nodata": NODATA, "scale": 1e-4},
    )
    wanted = InputSpec(n_bands=2, wavelength_nm=(510.0, 550.0), scale=1e-4)
    adapter = SceneAdapter(scene_from_array(array), wanted, resample="auto")
    _, flags = adapter.read_flagged(scene_from_array(array).grid.window)
    assert flags[0, 0] == Quality.NO_DATA
    assert (flags.ravel()[1:] == Quality.RESAMPLED_SPECTRUM).all()


@pytest.mark.parametrize(("nodata", "missing"), [(None, True), (float("nan"), False), (7, False)])
def test_pixels_of_zeros_are_missing_only_where_nothing_is_declared(nodata, missing):
    values = np.full((2, 1, 2), 300, np.int16)
    values[:, 0, 0] = 0
    scene = opened(values, None, nodata, 1e-4)
    adapter = SceneAdapter(scene, InputSpec(n_bands=2, scale=1e-4))
    assert adapter.read(scene.grid.window)[1].tolist() == [[not missing, True]]
    assert any("0 in every band" in note for note in adapter.notes) == missing


@given(
    stride=st.integers(2, 3), height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0)
)
def test_an_output_of_a_stride_speaks_for_the_pixels_under_it(stride, height, width, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.random((2, -(-height // stride), -(-width // stride))).astype(np.float32)
    output = Output(task="cover", kind=Kind.CATEGORICAL, channels=2, stride=stride)
    flags = with_confidence(np.zeros((height, width), np.uint8), {"cover": coarse}, [output])
    for row in range(height):
        for col in range(width):
            unsure = coarse[:, row // stride, col // stride].max() < 0.5
            assert flags[row, col] == (Quality.LOW_CONFIDENCE if unsure else 0)

"""Flags of pixels against their definition, however the samples are stored."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hsimap.scenes import Quality
from hsimap.scenes._quality import flag_samples, stored_value


def by_definition(values, mask, missing, limits):
    wide = values.astype(np.float64)
    known = np.isfinite(wide) if missing is None else np.isfinite(wide) & (wide != missing)
    if mask is not None:
        known &= mask
    low, high = (-np.inf if limits[0] is None else limits[0], limits[1])
    odd = (wide < low) | (wide > (np.inf if high is None else high))
    flags = np.where(odd.any(axis=0), Quality.OUT_OF_RANGE, 0)
    flags = np.where(known.all(axis=0), flags, Quality.PARTLY_MISSING)
    return np.where(known.any(axis=0), flags, Quality.NO_DATA)


@given(
    seed=st.integers(0, 9999),
    dtype=st.sampled_from(["int16", "uint16", "int32", "uint8", "float32"]),
    missing=st.sampled_from([None, -9999, 0, 255, 32767]),
    low=st.sampled_from([None, 0]),
    high=st.sampled_from([None, 200, 254]),
    share=st.sampled_from([0.0, 0.02, 0.5]),
    masked=st.booleans(),
)
def test_flags_are_those_of_their_definition(seed, dtype, missing, low, high, share, masked):
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 200, (3, 40, 70)).astype(dtype)
    odd = [250, 255, *([] if dtype.startswith("u") else [-1, -5])]
    stored = stored_value(missing, values.dtype)
    for sample in [*odd, *([] if stored is None else [stored])]:
        values[rng.random(values.shape) < share / 3] = sample
        values[:, rng.random(values.shape[1:]) < share / 5] = sample
    if dtype == "float32":
        values[rng.random(values.shape) < share / 3] = np.nan
    mask = rng.random(values.shape[1:]) < 1 - share if masked else None
    expected = by_definition(values, mask, stored, (low, high))
    found = flag_samples(values, mask, stored, (low, high))
    np.testing.assert_array_equal(found, expected)

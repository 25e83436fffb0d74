"""What is known of the quality of a pixel: a byte of flags, written beside every map."""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.geometry import boxes_around

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Limits = tuple[float | None, float | None]
"""Least and greatest stored sample that is in order; None = any."""
HIGHEST_REFLECTANCE: Final = 1.5
"""More than a white panel in the sun: glint, or saturated before the conversion."""
_ROWS: Final = 32
"""Rows that are looked at at a time, so that what is found stays in the processor's cache."""


class Quality(IntFlag):
    """The flags of a pixel; bit 4 is kept for the area of applicability."""

    NO_DATA = 1
    """Nodata in every band that is used, masked by the file, or outside the raster."""
    PARTLY_MISSING = 2
    """Nodata, NaN or infinite in some bands that are used, and not in all."""
    OUT_OF_RANGE = 4
    """Reflectance below 0 or above 1.5, or the largest integer of the type, in any band."""
    INCOMPLETE_CONTEXT = 8
    """Nearer to a missing pixel, or to the edge, than the network looks."""
    LOW_CONFIDENCE = 32
    """A class whose probability is below one half."""
    RESAMPLED_SPECTRUM = 64
    """Bands were mixed of the scene's to stand for the model's."""


MISSING: Final = int(Quality.NO_DATA | Quality.PARTLY_MISSING)
"""A pixel with either flag is not mapped."""


def valid_of(flags: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return True where a pixel can be mapped."""
    valid: NDArray[np.bool_] = (flags & MISSING) == 0
    return valid


def flag_missing(
    values: NDArray[np.generic],
    mask: NDArray[np.bool_] | None,
    missing: np.generic | None,
) -> NDArray[np.uint8]:
    """Find what is missing; samples that are not finite become 0 in place.

    Parameters
    ----------
    values : ndarray
        ``(band, y, x)`` as stored.
    mask : ndarray or None
        ``(y, x)`` True = valid, as the file says.
    missing : numpy scalar or None
        The sample that stands for none.

    Returns
    -------
    ndarray
        ``(y, x) uint8``: 0, ``NO_DATA`` or ``PARTLY_MISSING``.
    """
    real = values.dtype.kind == "f"
    valid = np.ones(values.shape[1:], dtype=bool) if mask is None else mask.copy()
    for plane in values if real or missing is not None else ():
        if missing is not None:
            valid &= plane != missing
        if real:
            valid &= np.isfinite(plane)
    flags = np.zeros(valid.shape, np.uint8)
    rows = np.flatnonzero(~valid.all(axis=1))
    if not rows.size:
        return flags
    part = slice(rows[0], rows[-1] + 1)
    some = np.zeros(valid[part].shape, dtype=bool)
    for plane in values[:, part]:
        known = np.ones(some.shape, dtype=bool) if missing is None else plane != missing
        if real:
            finite = np.isfinite(plane)
            known &= finite
            plane[~finite] = 0
        some |= known
    if mask is not None:
        some &= mask[part]
    kind = np.where(some, Quality.PARTLY_MISSING, Quality.NO_DATA).astype(np.uint8)
    flags[part] = np.where(valid[part], np.uint8(0), kind)
    return flags


def flag_samples(
    values: NDArray[np.generic],
    mask: NDArray[np.bool_] | None,
    missing: np.generic | None,
    limits: Limits,
) -> NDArray[np.uint8]:
    """Find what is missing, as :func:`flag_missing` does, and ``OUT_OF_RANGE`` on the rest.

    Parameters
    ----------
    values, missing
        See :func:`flag_missing`.
    mask : ndarray or None
        ``(y, x)`` or ``(band, y, x)`` True = valid, as the file says. A sample that is masked in
        some bands only is missing there.
    limits : tuple
        See :func:`beyond`.
    """
    if mask is not None and mask.ndim == values.ndim:
        return _flag_band_masks(values, mask, missing, limits)
    low, high = limits
    signed = values.dtype.kind == "i"
    if high is not None and (values.dtype.kind == "u" or (signed and low in {None, 0})):
        plain = values.view(values.dtype.str.replace("i", "u"))
        gone = None if missing is None else int(np.asarray(missing).view(plain.dtype))
        if gone is None or gone > high:
            seen = plain.dtype if low == 0 else values.dtype  # negative samples are below 0
            return _flag_integers(plain, mask, gone, int(high), seen=seen)
    flags = flag_missing(values, mask, missing)
    flags[(flags == 0) & beyond(values, limits)] = Quality.OUT_OF_RANGE
    return flags


def _flag_band_masks(
    values: NDArray[np.generic],
    mask: NDArray[np.bool_],
    missing: np.generic | None,
    limits: Limits,
) -> NDArray[np.uint8]:
    """Flag samples of which the file masks some bands and not others."""
    shown: NDArray[np.bool_] = np.logical_or.reduce(mask, axis=0)
    odd = shown & ~mask.all(axis=0)
    known = mask[:, odd]
    if missing is not None:
        known &= values[:, odd] != missing
    if values.dtype.kind == "f":
        known &= np.isfinite(values[:, odd])
    flags = flag_samples(values, shown, missing, limits)
    flags[odd] = np.where(known.any(axis=0), Quality.PARTLY_MISSING, Quality.NO_DATA)
    return flags


def _flag_integers(
    values: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    gone: int | None,
    high: int,
    *,
    seen: np.dtype[np.generic],
) -> NDArray[np.uint8]:
    """Flag integers seen without a sign, where missing ones are large: one pass finds what is odd.

    Odd pixels are looked at again as samples of the type ``seen``, with their sign if negative ones
    are in order.
    """
    flags = np.zeros(values.shape[1:], np.uint8)
    for row in range(0, values.shape[1], _ROWS):
        part, here = values[:, row : row + _ROWS], flags[row : row + _ROWS]
        top = np.maximum.reduce(part, axis=0)
        odd = top > high
        if not odd.any():
            continue
        if gone is not None:
            for box in boxes_around(odd, rows=_ROWS):
                whole = top[box] == gone
                whole &= np.minimum.reduce(part[(..., *box)], axis=0) == gone
                here[box][whole] = Quality.NO_DATA
                odd[box] &= ~whole
        _flag_odd(part.view(seen), here, odd, gone, high)
    if mask is not None:
        flags[~mask] = Quality.NO_DATA
    return flags


def _flag_odd(
    values: NDArray[Any],
    flags: NDArray[np.uint8],
    odd: NDArray[np.bool_],
    gone: int | None,
    high: int,
) -> None:
    """Flag pixels that have a large sample without its sign; a negative one may be in order."""
    missing = None if gone is None else np.asarray(gone, f"u{values.itemsize}").view(values.dtype)
    for box in boxes_around(odd, rows=_ROWS):
        part = values[(..., *box)]
        found = np.where(np.maximum.reduce(part, axis=0) > high, Quality.OUT_OF_RANGE, 0)
        if missing is not None:
            some = np.logical_or.reduce(part == missing, axis=0)
            found = np.where(some, Quality.PARTLY_MISSING, found)
        flags[box][odd[box]] = found[odd[box]]


def stored_value(value: float | None, dtype: np.dtype[np.generic]) -> np.generic | None:
    """Return a number in a storage type; None where no sample can be equal to it.

    A float would turn every comparison into one of 64-bit floats, at four times the cost.
    """
    if value is None or not np.isfinite(value):
        return None
    if dtype.kind == "f":
        return dtype.type(value)
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    inside = value == int(value) and limits.min <= value <= limits.max
    return dtype.type(int(value)) if inside else None


def all_zero(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return ``(y, x)`` True = 0 in every band of ``(band, y, x)``."""
    zero: NDArray[np.bool_] = np.equal(values[0], 0)
    if not zero.any():
        return zero
    rows = np.flatnonzero(zero.any(axis=1))
    part = slice(rows[0], rows[-1] + 1)
    for plane in values[1:, part]:
        zero[part] &= np.equal(plane, 0)
    return zero


def beyond(values: NDArray[np.generic], limits: Limits) -> NDArray[np.bool_]:
    """Return ``(y, x)`` True = a sample of any band lies outside the limits.

    Parameters
    ----------
    values : ndarray
        ``(band, y, x)`` as stored, none of them NaN.
    limits : tuple
        Least and greatest sample that is in order; None = any.
    """
    low, high = limits
    found = np.zeros(values.shape[1:], dtype=bool)
    if values.dtype.kind == "i" and low == 0 and high is not None:
        # A negative integer is a large one without its sign: one pass finds both.
        values, low = values.view(values.dtype.str.replace("i", "u")), None
    for row in range(0, values.shape[1], _ROWS):
        part = values[:, row : row + _ROWS]
        here = found[row : row + _ROWS]
        if high is not None:
            here |= np.maximum.reduce(part, axis=0) > values.dtype.type(high)
        if low is not None:
            here |= np.minimum.reduce(part, axis=0) < values.dtype.type(low)
    return found


def near_missing(valid: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return which pixels have one that is not valid in the square of this radius round them.

    Parameters
    ----------
    valid : ndarray
        ``(y, x)``.
    radius : int
        In pixels.

    Returns
    -------
    ndarray
        ``(y - 2 * radius, x - 2 * radius)``: of those whose square is whole.
    """
    count = np.logical_not(valid).astype(np.int32)
    side = 2 * radius + 1
    for axis in (0, 1):
        total = np.cumsum(count, axis=axis, dtype=np.int32)
        upper = np.moveaxis(total, axis, 0)[side - 1 :].copy()
        upper[1:] -= np.moveaxis(total, axis, 0)[:-side]
        count = np.moveaxis(upper, 0, axis)
    near: NDArray[np.bool_] = count > 0
    return near


def limits_of(dtype: np.dtype[np.generic], scale: float | None) -> Limits:
    """Return the least and the greatest stored sample that is in order; None = any.

    Parameters
    ----------
    dtype : dtype
        As stored.
    scale : float or None
        Reflectance of one stored unit; without it nothing but saturation can be told.

    Examples
    --------
    >>> limits_of(np.dtype("int16"), 1e-4), limits_of(np.dtype("uint8"), None)
    ((0, 15000), (None, 254))
    """
    if dtype.kind == "f":
        return (None, None) if scale is None else (0.0, HIGHEST_REFLECTANCE / scale)
    top = int(np.iinfo(dtype).max) - 1  # type: ignore[type-var]
    if scale is None:
        return None, top
    return 0 if dtype.kind == "i" else None, min(top, int(HIGHEST_REFLECTANCE / scale * (1 + 1e-9)))


def meanings(flags: Sequence[Quality] = tuple(Quality)) -> tuple[str, ...]:
    """Return the name of each bit from bit 0 on; empty where a bit is kept free.

    Examples
    --------
    >>> meanings()[2:5]
    ('out of range', 'incomplete context', '')
    """
    names = {int(flag): (flag.name or "").lower().replace("_", " ") for flag in flags}
    return tuple(names.get(1 << bit, "") for bit in range(max(names).bit_length()))

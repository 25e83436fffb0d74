"""Say how the bands of a model were got from a scene."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.spectra._bands import Bands
    from hsimap.spectra._match import BandMatch, Way


def match_table(model: Bands, match: BandMatch) -> tuple[str, ...]:
    """Say in a few lines which model bands were selected, resampled or missing.

    Parameters
    ----------
    model : Bands
        With wavelengths; without, one line says that bands were matched by order.
    match : BandMatch
        Of these bands.

    Returns
    -------
    tuple of str
        A line for each run of neighbouring bands that were got the same way.

    Examples
    --------
    >>> from hsimap.spectra import Bands, fit_bands
    >>> def bands(*nm):
    ...     return Bands(wavelength_nm=nm, fwhm_nm=None, good=(True,) * len(nm))
    >>> model = bands(500.0, 504.0, 508.0, 512.0)
    >>> scene = bands(500.5, 507.0, 513.0)
    >>> for line in match_table(model, fit_bands(model, scene)):
    ...     print(line)
    500 nm: 1 band, selected, at most 0.5 nm off
    504 nm: 1 band, interpolated between the scene's neighbouring bands, coarser than the model's
    508-512 nm: 2 bands, selected, at most 1 nm off
    """
    if model.wavelength_nm is None:
        return (f"{model.n} bands matched by order",)
    order = np.argsort(model.wavelength_nm, kind="stable").tolist()
    lines = []
    for way, run in groupby(order, key=lambda i: match.ways[i]):
        members = list(run)
        low, high = model.wavelength_nm[members[0]], model.wavelength_nm[members[-1]]
        where = f"{low:g}" if len(members) == 1 else f"{low:g}-{high:g}"
        count = "1 band" if len(members) == 1 else f"{len(members)} bands"
        lines.append(f"{where} nm: {count}, {_said(way, match, members)}")
    return tuple(lines)


def _said(way: Way, match: BandMatch, members: Sequence[int]) -> str:
    furthest = max(abs(match.offset_nm[i]) for i in members)
    stands = "the model's mean stands for them"
    return {
        "selected": f"selected, at most {furthest:.2g} nm off",
        "gaussian": "resampled with Gaussian weights of the model's band width",
        "linear": "interpolated between the scene's neighbouring bands, coarser than the model's",
        "estimated": "estimated from the training spectra",
        "missing": "not in the scene; "
        + (stands if match.offset is None else "estimated from the training spectra"),
    }[way]

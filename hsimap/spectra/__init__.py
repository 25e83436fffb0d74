"""Spectral bands: wavelengths, good bands, matching and resampling."""

from hsimap.spectra._bands import Bands, wavelengths_in_nm
from hsimap.spectra._match import MAX_TOLERANCE_NM, BandMatch, match_bands
from hsimap.spectra._resample import RESAMPLE_MODES, Resample, fit_bands
from hsimap.spectra._spread import Spread, spread_of
from hsimap.spectra._table import match_table

__all__ = [
    "MAX_TOLERANCE_NM",
    "RESAMPLE_MODES",
    "BandMatch",
    "Bands",
    "Resample",
    "Spread",
    "fit_bands",
    "match_bands",
    "match_table",
    "spread_of",
    "wavelengths_in_nm",
]

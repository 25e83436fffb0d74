"""EMIT L2A reflectance, netCDF, orthorectified on read.

Product: Green et al. (2023), EMITL2ARFL V001, doi:10.5067/EMIT/EMITL2ARFL.001 (user guide:
groups ``location`` and ``sensor_band_parameters``, attributes ``geotransform``, ``spatial_ref``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from affine import Affine

from hsimap.errors import InputError
from hsimap.geometry import Grid
from hsimap.scenes._hdf5 import PlanesReader, chunk_reader, dataset, find, numbers, text
from hsimap.scenes._ortho import OrthoReader
from hsimap.scenes._reference import wkt_of
from hsimap.scenes._scene import Scene
from hsimap.spectra import Bands, wavelengths_in_nm

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

_CUBES: Final = ("reflectance", "radiance")
_TERMS: Final = 6


def is_emit(file: h5py.File) -> bool:
    """Whether a file holds a cube in sensor geometry with its lookup table."""
    return find(file, "location/glt_x") is not None and any(name in file for name in _CUBES)


def open_emit(path: Path, file: h5py.File) -> Scene:
    """Open a granule on the grid of its lookup table.

    Raises
    ------
    InputError
        If a piece of the product is missing.
    """
    name = next(name for name in _CUBES if name in file)
    found = dataset(file, name)
    planes = [dataset(file, f"location/{plane}") for plane in ("glt_x", "glt_y")]
    reader = OrthoReader(chunk_reader(found, (2, 0, 1)), PlanesReader.of(planes))
    terms = numbers(file.attrs.get("geotransform"))
    if len(terms) != _TERMS:
        raise InputError(f"{path} has no attribute 'geotransform' of six numbers")
    _, height, width = reader.shape
    crs = wkt_of(text(file.attrs.get("spatial_ref")))
    nodata = numbers(found.attrs.get("_FillValue"))
    notes = [f"orthorectified on read by its lookup table, {height} x {width} pixels"]
    bands = _bands(file, reader.shape[0], notes)
    return Scene(
        reader,
        name=path.stem,
        grid=Grid(height=height, width=width, transform=Affine.from_gdal(*terms), crs=crs),
        bands=bands,
        scale=1.0 if name == "reflectance" else None,
        nodata=nodata[0] if nodata else None,
        files=(path,),
        notes=notes if crs else [*notes, f"{path.name} has no CRS"],
    )


def _bands(file: h5py.File, n: int, notes: list[str]) -> Bands:
    place = "sensor_band_parameters"
    spectral = dataset(file, f"{place}/wavelengths")
    values = numbers(spectral)
    if len(values) != n:
        raise InputError(f"{file.filename}: wavelengths has {len(values)} numbers for {n} bands")
    nm, note = wavelengths_in_nm(values, text(spectral.attrs.get("units")) or None)
    notes += [note] if note else []
    fwhm = numbers(find(file, f"{place}/fwhm"))
    good = numbers(find(file, f"{place}/good_wavelengths"))
    return Bands(
        wavelength_nm=nm,
        fwhm_nm=tuple(v * nm[-1] / values[-1] for v in fwhm) if len(fwhm) == n else None,
        good=tuple(flag != 0 for flag in good) if len(good) == n else (True,) * n,
    )

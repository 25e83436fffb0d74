"""NEON's airborne reflectance, HDF5: products DP1.30006, DP3.30006 and their .002 successors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np

from hsimap.errors import InputError
from hsimap.geometry import Grid
from hsimap.scenes._hdf5 import PlaneLayer, chunk_reader, dataset, find, numbers, text
from hsimap.scenes._layers import ConstantLayer
from hsimap.scenes._map_info import grid_of
from hsimap.scenes._reference import wkt_of
from hsimap.scenes._scene import Scene
from hsimap.spectra import Bands, wavelengths_in_nm

if TYPE_CHECKING:
    from pathlib import Path

    from hsimap.scenes._reader import Layer

_PLANES: Final = {
    "view_zenith": "Metadata/to-sensor_Zenith_Angle",
    "view_azimuth": "Metadata/to-sensor_Azimuth_Angle",
}
_NUMBERS: Final = {
    "sun_zenith": "Metadata/Logs/Solar_Zenith_Angle",
    "sun_azimuth": "Metadata/Logs/Solar_Azimuth_Angle",
}
_WINDOWS: Final = ("Band_Window_1_Nanometers", "Band_Window_2_Nanometers")


def reflectance_group(file: h5py.File) -> Any:  # noqa: ANN401  # a group or None
    """Return the group ``SITE/Reflectance`` of a NEON file, None of any other file."""
    for site in file.values():
        group = find(site, "Reflectance") if isinstance(site, h5py.Group) else None
        if isinstance(group, h5py.Group) and "Reflectance_Data" in group:
            return group
    return None


def open_neon(path: Path, file: h5py.File) -> Scene:
    """Open a flight line or a tile.

    Wavelengths, FWHM, scale, missing value and place are those of the file; bands inside its two
    absorption windows are bad. Layers: the angles to the sensor, and of a flight line those of
    the sun; a tile is of several lines and states none for itself.

    Raises
    ------
    InputError
        If a piece of the product is missing or inconsistent.
    """
    group = reflectance_group(file)
    found = dataset(group, "Reflectance_Data")
    reader = chunk_reader(found, (2, 0, 1))
    notes: list[str] = []
    grid = _grid(group, *reader.shape[1:])
    if grid.crs is None:
        notes.append(f"{path.name} has no CRS")
    bands = _bands(group, reader.shape[0], notes)
    factor = numbers(found.attrs.get("Scale_Factor"))
    nodata = numbers(found.attrs.get("Data_Ignore_Value"))
    if factor and not factor[0] > 0:
        raise InputError(f"{path}: Scale_Factor must be positive, is {factor[0]:g}")
    return Scene(
        reader,
        name=path.stem,
        grid=grid,
        bands=bands,
        scale=1 / factor[0] if factor else None,
        nodata=nodata[0] if nodata else None,
        files=(path,),
        notes=notes,
        layers=_layers(group, reader.shape[1:]),
    )


def _grid(group: h5py.Group, height: int, width: int) -> Grid:
    """Place the pixels by ``Map_Info``, whose last item may be a rotation without its name."""
    items = [item.strip() for item in text(find(group, f"{_PLACE}/Map_Info")).split(",")]
    last = items[-1]
    if _is_number(last) and len(items) > _MAP_ITEMS:
        items[-1] = f"rotation={last}"
    fields = {"map info": ", ".join(items)} if len(items) > 1 else {}
    grid = grid_of(fields, height, width)
    code = text(find(group, f"{_PLACE}/EPSG Code"))
    string = text(find(group, f"{_PLACE}/Coordinate_System_String"))
    crs = wkt_of(code.strip()) or wkt_of(string) or grid.crs
    return Grid(height=height, width=width, transform=grid.transform, crs=crs)


_PLACE: Final = "Metadata/Coordinate_System"
_MAP_ITEMS: Final = 10
"""Of a UTM ``map info``: name, 2 reference pixels, 2 corners, 2 sizes, zone, side, datum."""


def _is_number(item: str) -> bool:
    try:
        float(item)
    except ValueError:
        return False
    return True


def _bands(group: h5py.Group, n: int, notes: list[str]) -> Bands:
    spectral = find(group, "Metadata/Spectral_Data/Wavelength")
    values = numbers(spectral)
    if len(values) != n:
        raise InputError(
            f"{group.file.filename}: Wavelength has {len(values)} numbers for {n} bands"
        )
    unit = text(spectral.attrs.get("Units")) or None
    wavelength, note = wavelengths_in_nm(values, unit)
    notes += [note] if note else []
    widths = numbers(find(group, "Metadata/Spectral_Data/FWHM"))
    factor = wavelength[-1] / values[-1]
    nm = np.asarray(wavelength)
    good = np.ones(n, dtype=bool)
    for name in _WINDOWS:
        window = numbers(group.attrs.get(name))
        if len(window) == 2:  # noqa: PLR2004  # from, to
            good &= (nm < window[0]) | (nm > window[1])
    return Bands(
        wavelength_nm=wavelength,
        fwhm_nm=tuple(width * factor for width in widths) if len(widths) == n else None,
        good=tuple(good.tolist()),
    )


def _layers(group: h5py.Group, shape: tuple[int, ...]) -> dict[str, Layer]:
    layers: dict[str, Layer] = {}
    for name, place in _PLANES.items():
        plane = find(group, place)
        if isinstance(plane, h5py.Dataset) and plane.shape == shape:
            dataset(group, place)
            nodata = numbers(plane.attrs.get("Data_Ignore_Value"))
            layers[name] = PlaneLayer(
                path=group.file.filename,
                name=plane.name,
                nodata=nodata[0] if nodata else None,
            )
    for name, place in _NUMBERS.items():
        value = find(group, place)
        if isinstance(value, h5py.Dataset) and value.size == 1:
            layers[name] = ConstantLayer(value=numbers(value)[0])
    return layers

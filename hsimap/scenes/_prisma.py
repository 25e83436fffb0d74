"""PRISMA L2D reflectance, HDF-EOS5: the cubes of two spectrometers on one map grid.

Product: Italian Space Agency, PRISMA Products Specification Document, issue 2.3 (2020): cubes
``(y, band, x)`` of uint16, reflectance = min + DN (max - min) / 65535, bands from long to short
waves, absent bands of wavelength 0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
from affine import Affine

from hsimap.errors import InputError
from hsimap.geometry import Grid, Window
from hsimap.scenes._hdf5 import PlaneLayer, chunk_reader, dataset, find, numbers
from hsimap.scenes._layers import ConstantLayer
from hsimap.scenes._reference import wkt_of
from hsimap.scenes._scene import Scene
from hsimap.spectra import Bands

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.scenes._reader import Layer, PixelReader

_SWATH: Final = "HDFEOS/SWATHS/PRS_L2D_HCO"
_STEPS: Final = 65535


class ReflectanceReader:
    """Windows of several cubes of counts as the bands of one, in reflectance.

    Parameters
    ----------
    parts : sequence of tuple
        Reader, its bands that count, and least and greatest reflectance, of each cube.
    """

    def __init__(
        self, parts: Sequence[tuple[PixelReader, tuple[int, ...], tuple[float, float]]]
    ) -> None:
        self._parts = tuple(parts)
        first = self._parts[0][0]
        self.shape = (sum(len(bands) for _, bands, _ in self._parts), *first.shape[1:])
        self.dtype: np.dtype[np.generic] = np.dtype(np.float32)
        self.storage = replace(first.storage, bands=None)

    def __reduce__(self) -> tuple[Any, ...]:
        return ReflectanceReader, (self._parts,)

    def read(
        self, window: Window, bands: Sequence[int], out: NDArray[np.generic] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` reflectance; invalid is a pixel whose counts are all 0."""
        if out is None:
            out = np.empty((len(bands), window.height, window.width), self.dtype)
        mask = np.zeros((window.height, window.width), dtype=bool)
        wanted, start = np.asarray(bands), 0
        for reader, own, (low, high) in self._parts:
            here = np.flatnonzero((wanted >= start) & (wanted < start + len(own)))
            counts, _ = reader.read(window, [own[band - start] for band in wanted[here]])
            for place, plane in zip(here, counts, strict=True):
                mask |= plane != 0
                np.multiply(plane, np.float32((high - low) / _STEPS), out=out[place])
                out[place] += np.float32(low)
            start += len(own)
        return out, mask

    def close(self) -> None:
        """Close the files."""
        for reader, _, _ in self._parts:
            reader.close()


def is_prisma(file: h5py.File) -> bool:
    """Whether a file is an L2D product."""
    return find(file, f"{_SWATH}/Data Fields/VNIR_Cube") is not None


def open_prisma(path: Path, file: h5py.File) -> Scene:
    """Open both cubes as one scene: VNIR, then SWIR, each in the order of the file.

    Raises
    ------
    InputError
        If a piece of the product is missing.
    """
    parts, nm, fwhm = [], [], []
    for region in ("Vnir", "Swir"):
        reader = chunk_reader(
            dataset(file, f"{_SWATH}/Data Fields/{region.upper()}_Cube"), (1, 0, 2)
        )
        n = reader.shape[0]
        centres, widths = (_list(file, f"List_{what}_{region}", n) for what in ("Cw", "Fwhm"))
        own = tuple(band for band in range(n) if centres[band] > 0)
        low, high = (_number(file, f"L2Scale{region}{end}") for end in ("Min", "Max"))
        parts.append((reader, own, (low, high)))
        nm += [centres[band] for band in own]
        fwhm += [widths[band] for band in own]
    if parts[0][0].shape[1:] != parts[1][0].shape[1:]:
        raise InputError(f"{path}: VNIR_Cube and SWIR_Cube differ in size")
    grid = _grid(file, *parts[0][0].shape[1:])
    return Scene(
        ReflectanceReader(parts),
        name=path.stem,
        grid=grid,
        bands=Bands(
            wavelength_nm=tuple(round(value, 6) for value in nm),
            fwhm_nm=tuple(round(value, 6) for value in fwhm),
            good=(True,) * len(nm),
        ),
        scale=1.0,
        nodata=None,
        files=(path,),
        notes=() if grid.crs else (f"{path.name} has no CRS",),
        layers=_layers(file, (grid.height, grid.width)),
    )


def _grid(file: h5py.File, height: int, width: int) -> Grid:
    """Place the pixels between the outer corners of the product."""
    left, top = (_number(file, f"Product_ULcorner_{axis}") for axis in ("easting", "northing"))
    right, bottom = (_number(file, f"Product_LRcorner_{axis}") for axis in ("easting", "northing"))
    transform = Affine((right - left) / width, 0, left, 0, (bottom - top) / height, top)
    code = numbers(file.attrs.get("Epsg_Code"))
    crs = wkt_of(int(code[0])) if code else None
    return Grid(height=height, width=width, transform=transform, crs=crs)


def _layers(file: h5py.File, shape: tuple[int, int]) -> dict[str, Layer]:
    layers: dict[str, Layer] = {}
    angle = find(file, f"{_SWATH}/Geometric Fields/Observing_Angle")
    if isinstance(angle, h5py.Dataset) and angle.shape == shape:
        layers["view_zenith"] = PlaneLayer(path=file.filename, name=angle.name)
    for name in ("zenith", "azimuth"):
        value = numbers(file.attrs.get(f"Sun_{name}_angle"))
        if value:
            layers[f"sun_{name}"] = ConstantLayer(value=value[0])
    return layers


def _number(file: h5py.File, name: str) -> float:
    values = numbers(file.attrs.get(name))
    if not values:
        raise InputError(f"{file.filename} has no attribute {name!r}")
    return values[0]


def _list(file: h5py.File, name: str, n: int) -> tuple[float, ...]:
    values = numbers(file.attrs.get(name))
    if len(values) != n:
        raise InputError(f"{file.filename}: {name} has {len(values)} numbers for {n} bands")
    return values

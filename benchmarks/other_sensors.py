"""Bring the sample to the bands of other sensors, and compare the demo's maps of either.

    python benchmarks/other_sensors.py

Prints, for each sensor, the share of the pixels that keep their class and the largest rise of an
RMSE in standard deviations of the truth: with the training's spread, and without it. The last
line is the sample's own sensor with its noise drawn anew.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from hsimap.bundle import Bundle
from hsimap.errors import MismatchError
from hsimap.mapping.lazy import predict
from hsimap.synthetic import _scene as generator
from hsimap.synthetic import flight_line

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
BAD = (7, 23, 41)
"""Bad bands of 60; of other numbers those at the same share of the range."""
Values = NDArray[np.float32]
Bands = dict[str, Any]


def sample() -> tuple[Values, NDArray[np.bool_], dict[str, Values]]:
    """Return stored values ``(band, y, x)``, which pixels are valid, and the truth by variable."""
    with rasterio.open(ROOT / "sample_data" / "scene.tif") as file:
        values = file.read().astype(np.float32)
    truth = {}
    for name in ("classes", "variables"):
        with rasterio.open(ROOT / "sample_data" / f"{name}.tif") as file:
            truth |= dict(zip(file.descriptions, file.read().astype(np.float32), strict=True))
    return values, values.max(axis=0) > 0, truth


def with_other_noise() -> Values:
    """Return the sample's scene as its sensor would have seen it at another moment."""
    line, values = flight_line(size=208, seed=0), np.zeros((128, 208, 208), np.float32)
    own = generator.digitise
    generator.digitise = lambda part, *, seed, window: own(part, seed=seed + 1, window=window)
    try:
        for window in line.blocks():
            image = generator.make_block(line, window).image
            values[(slice(None), *window.slices)] = np.moveaxis(image, -1, 0)
    finally:
        generator.digitise = own
    return values


def sensors(
    values: Values, nm: NDArray[np.float64], dispensable: tuple[int, ...]
) -> Iterator[tuple[str, Values, Bands]]:
    """Yield a name, ``(band, y, x)`` and the coordinates of the bands."""
    for n, fwhm in ((60, 11.0), (40, 15.0), (30, 20.0), (20, 30.0)):
        centres = np.linspace(nm[0] + 1, nm[-1] - 1, n)
        weights = np.exp(-4 * np.log(2) * ((nm[None] - centres[:, None]) / fwhm) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        good = np.ones(n, dtype=bool)
        good[[n - 1 - n * band // 60 for band in BAD]] = False
        seen = np.tensordot(weights, values, 1).astype(np.float32)
        yield f"{n} bands of {fwhm:g} nm, 3 bad", seen, {"wavelength": centres, "good": good}
    widths = np.full(nm.size, 4.7)
    for step in (0.25, 1.0, 2.3):
        seen = CubicSpline(nm, values)(np.minimum(nm + step, nm[-1])).astype(np.float32)
        yield (
            f"its own bands, {step:g} nm off",
            seen,
            {"wavelength": nm + step, "fwhm": widths},
        )
    kept = np.setdiff1d(np.arange(nm.size), dispensable)
    yield f"its own without {len(dispensable)} of {nm.size}", values[kept], {"wavelength": nm[kept]}
    yield "its own bands, noise anew", with_other_noise(), {"wavelength": nm, "fwhm": widths}


def maps_of(values: Values, valid: NDArray[np.bool_], bands: Bands, model: Bundle) -> xr.Dataset:
    """Map stored values."""
    array = xr.DataArray(values, dims=("band", "y", "x"), attrs={"scale": 1e-4})
    array = array.assign_coords({name: ("band", value) for name, value in bands.items()})
    return predict(array.assign_coords(mask=(("y", "x"), valid)), model).load()


def compare(own: xr.Dataset, other: xr.Dataset, truth: dict[str, Values], model: Bundle) -> str:
    """Return the agreement of each class map and the largest rise of an RMSE."""
    shares, rises = [], []
    for task in model.manifest.tasks:
        a, b, target = (part[task.name] for part in (own, other, truth))
        a, b = np.asarray(a), np.asarray(b)
        if task.classes:
            known = (a != 255) & (b != 255)  # nodata of class maps
            shares.append(100 * float((a == b)[known].mean()))
            continue
        known = np.isfinite(a) & np.isfinite(b) & np.isfinite(target)
        before, after = (np.sqrt(np.square(m - target)[known].mean()) for m in (a, b))
        rises.append(100 * float((after - before) / target[known].std()))
    return f"{' '.join(f'{share:6.2f}' for share in shares)} % {max(rises):7.2f} %"


def main() -> None:
    """Map, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "boreal-demo")
    model = Bundle.load(parser.parse_args().model)
    spectra = model.manifest.input.model_copy(update={"spread": None})
    plain = replace(model, manifest=model.manifest.model_copy(update={"input": spectra}))
    values, valid, truth = sample()
    nm = np.array(model.manifest.input.wavelength_nm)
    own = maps_of(values, valid, {"wavelength": nm}, model)
    for name, seen, bands in sensors(values, nm, spectra.dispensable):
        for way, bundle in (("", model), ("without spread", plain)):
            try:
                told = compare(own, maps_of(seen, valid, bands, bundle), truth, model)
            except MismatchError as error:
                told = str(error)
            print(f"{name:28s} {way:15s} {told}", flush=True)


if __name__ == "__main__":
    main()

"""A picture of a scene: true colour, false colour, and its mean spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.scenes import Scene
    from hsimap.spectra import Bands

TRUE_NM: Final = (650.0, 550.0, 460.0)
"""Red, green and blue light."""
FALSE_NM: Final = (860.0, 650.0, 550.0)
"""Near infrared, red and green as red, green and blue: vegetation is red."""
_SIDE: Final = 700
"""Most pixels along a side of a picture."""
_FURTHEST_NM: Final = 60.0
"""A band further away does not stand for a colour."""
_STRETCH: Final = (2.0, 98.0)
"""Percentiles that become black and full colour."""
_BAD: Final = "#d9d9d9"
_EMPTY: Final = 0.93


def write_quicklook(
    path: Path,
    scene: Scene,
    mean: Sequence[float | None],
    *,
    model: tuple[Bands, Sequence[float]] | None = None,
) -> list[str]:
    """Draw a scene on one page; what is missing is grey.

    Parameters
    ----------
    path : Path
        A PNG, or any other format of matplotlib's; equal scenes give equal bytes.
    scene : Scene
        Every few rows and columns of it are read.
    mean : sequence of float or None
        Its mean spectrum as stored; None = a band without a sample.
    model : tuple, optional
        Bands and mean spectrum of a model, in the scene's stored units.

    Returns
    -------
    list of str
        What the colours are, a sentence each.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 2))
    told = []
    for place, (title, wanted) in enumerate((("true colour", TRUE_NM), ("false colour", FALSE_NM))):
        bands, how = colour_bands(scene.bands, wanted)
        axes: Any = figure.add_subplot(grid[0, place])
        axes.imshow(_picture(scene, bands), interpolation="none")
        axes.set_axis_off()
        axes.set_title(f"{title}: {how}", fontsize=9)
        told.append(f"{title}: {how}")
    _spectrum(figure.add_subplot(grid[1, :]), scene, mean, model)
    figure.suptitle(scene.name)
    figure.savefig(path, dpi=110, metadata={"Software": None} if path.suffix == ".png" else None)
    return told


def colour_bands(bands: Bands, wanted_nm: Sequence[float]) -> tuple[list[int], str]:
    """Choose a good band for each colour, and say which.

    Without bands near enough, the first, middle and last good ones stand for blue, green and red.
    """
    good = np.flatnonzero(bands.good)
    if not good.size:
        good = np.arange(bands.n)
    if bands.wavelength_nm is not None:
        nm = np.asarray(bands.wavelength_nm)
        found = [int(good[np.abs(nm[good] - wish).argmin()]) for wish in wanted_nm]
        if all(abs(nm[k] - wish) <= _FURTHEST_NM for k, wish in zip(found, wanted_nm, strict=True)):
            return found, ", ".join(f"{nm[k]:.0f}" for k in found) + " nm"
    found = [int(good[k]) for k in (-1, len(good) // 2, 0)]
    numbers = ", ".join(str(k + 1) for k in found)
    asked = ", ".join(f"{w:g}" for w in wanted_nm)
    return found, f"bands {numbers}, for want of bands near {asked} nm"


def thinned(scene: Scene, bands: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read every k-th pixel, so that no side has more than 700.

    Returns
    -------
    values : ndarray
        ``(band, y, x) float32`` as stored.
    valid : ndarray
        ``(y, x)`` True = valid in these bands.
    """
    step = max(1, -(-max(scene.grid.height, scene.grid.width) // _SIDE))
    values, valid = [], []
    for window in _windows(scene, step):
        read, known = scene.read(window, bands)
        start = -window.row % step
        values.append(read[:, start::step, ::step].astype(np.float32))
        valid.append(known[start::step, ::step])
    return np.concatenate(values, axis=1), np.concatenate(valid)


def _windows(scene: Scene, step: int) -> Iterator[Window]:
    """Yield the rows to read: rows of blocks of a file that has such, else every k-th row."""
    height, width = scene.grid.height, scene.grid.width
    rows = scene.storage.block[0]
    for row in range(0, height, rows if rows > 1 else step):
        yield Window(row=row, col=0, height=min(rows, height - row), width=width)


def _picture(scene: Scene, bands: Sequence[int]) -> NDArray[np.float32]:
    """Return ``(y, x, 3)`` from 0 to 1, every colour stretched by itself."""
    values, valid = thinned(scene, bands)
    image = np.full((*valid.shape, 3), _EMPTY, np.float32)
    for k, plane in enumerate(values):
        if valid.any():
            low, high = np.percentile(plane[valid], _STRETCH)
            image[valid, k] = np.clip((plane[valid] - low) / max(high - low, 1e-12), 0, 1)
    return image


def _spectrum(
    axes: Any,  # noqa: ANN401  # matplotlib has no types
    scene: Scene,
    mean: Sequence[float | None],
    model: tuple[Bands, Sequence[float]] | None,
) -> None:
    """Draw the mean spectrum; bands that are bad or hold nothing are shaded."""
    nm = scene.bands.wavelength_nm
    places = np.arange(1.0, scene.bands.n + 1) if nm is None else np.asarray(nm)
    order = np.argsort(places, kind="stable")
    unit = 1.0 if scene.scale is None else scene.scale
    values = np.array([np.nan if v is None else v * unit for v in mean])
    bad = ~np.asarray(scene.bands.good) | np.isnan(values)
    half = np.gradient(places[order]) / 2 if places.size > 1 else np.ones(1)
    for place, width in zip(places[order][bad[order]], half[bad[order]], strict=True):
        axes.axvspan(place - width, place + width, color=_BAD, lw=0)
    shown = np.where(bad, np.nan, values)
    axes.plot(places[order], shown[order], "-", color="#1b7837", lw=1.2, label="scene")
    axes.plot(places[bad], values[bad], ".", color="#999999", ms=2)
    if model is not None and model[0].wavelength_nm is not None:
        wanted = np.asarray(model[0].wavelength_nm)
        turn = np.argsort(wanted, kind="stable")
        level = np.asarray(model[1]) * unit
        axes.plot(wanted[turn], level[turn], "--", color="#762a83", lw=1, label="model's training")
        axes.legend(frameon=False)
    axes.set_xlabel("band" if nm is None else "wavelength, nm")
    axes.set_ylabel("as stored" if scene.scale is None else "reflectance")
    axes.set_title("mean of valid samples; bands that are bad or empty are shaded", fontsize=9)

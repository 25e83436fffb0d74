"""One raster: metadata, and ``read(window) -> (values, valid)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

import numpy as np

from hsimap.errors import InputError
from hsimap.geometry import Grid, Window, clear_outside
from hsimap.scenes._fingerprint import fingerprint_of
from hsimap.scenes._quality import Limits, Quality, flag_samples, stored_value
from hsimap.scenes._reader import Layer, PixelReader, ReadsAhead
from hsimap.scenes._reference import place_coordinates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from hsimap.scenes._storage import Storage
    from hsimap.spectra import Bands

_CHUNK: Final = 512
_PROBES: Final = 5


class Scene:
    """One raster with its spectral metadata.

    Parameters
    ----------
    reader : PixelReader
        Where the pixels come from.
    name : str
        Stem of the file.
    grid : Grid
        Where the pixels lie.
    bands : Bands
        Wavelengths and good bands.
    scale : float or None
        Reflectance (0-1) per stored unit; None = not stated.
    nodata : float or None
        Stored value of a missing sample; NaN and infinite samples are missing in any case.
    files : sequence of Path
        Everything that was read to open the scene; the first is the data file.
    notes : sequence of str
        What was guessed, a sentence each.
    layers : mapping of str to Layer, optional
        Angles in degrees that come with the pixels: ``view_zenith``, ``view_azimuth``,
        ``sun_zenith``, ``sun_azimuth``.
    """

    def __init__(  # noqa: PLR0913  # the record that every reader fills
        self,
        reader: PixelReader,
        *,
        name: str,
        grid: Grid,
        bands: Bands,
        scale: float | None,
        nodata: float | None,
        files: Sequence[Path] = (),
        notes: Sequence[str] = (),
        layers: Mapping[str, Layer] | None = None,
    ) -> None:
        self._reader = reader
        self.name = name
        self.grid = grid
        self.bands = bands
        self.scale = scale
        self.nodata = nodata
        self.files = tuple(files)
        self.notes = tuple(notes)
        self.layers = dict(layers or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self._reader.shape))
        return f"<Scene {self.name!r} (band, y, x) = {shape} {self.dtype}>"

    @property
    def path(self) -> Path | None:
        """The data file; None for a scene in memory."""
        return self.files[0] if self.files else None

    @property
    def reader(self) -> PixelReader:
        """Where the pixels come from."""
        return self._reader

    def expect(self, window: Window) -> None:
        """Let the reader begin with a window inside the raster, if it can: it is read next."""
        if isinstance(self._reader, ReadsAhead):
            self._reader.expect(window)

    @property
    def storage(self) -> Storage:
        """How the pixels lie in the file."""
        return self._reader.storage

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Storage type, in native byte order."""
        return self._reader.dtype

    def read(
        self,
        window: Window,
        bands: Sequence[int] | None = None,
        *,
        out: NDArray[np.generic] | None = None,
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Read a window, which may pass the raster's edge.

        Parameters
        ----------
        window : Window
            Which pixels.
        bands : sequence of int, optional
            0-based bands in the wanted order; all by default.
        out : ndarray, optional
            ``(band, y, x)`` of the scene's dtype; takes the values in place of fresh memory.

        Returns
        -------
        values : ndarray
            ``(band, y, x)`` stored values; 0 outside the raster and where not finite.
        valid : ndarray
            ``(y, x) bool``: inside the raster, every requested band finite and not nodata, and
            not masked by the file.
        """
        values, flags = self.read_flagged(window, bands, out=out)
        return values, flags == 0

    def read_flagged(
        self,
        window: Window,
        bands: Sequence[int] | None = None,
        *,
        out: NDArray[np.generic] | None = None,
        nodata: float | None = None,
        limits: Limits = (None, None),
    ) -> tuple[NDArray[np.generic], NDArray[np.uint8]]:
        """Read a window as :meth:`read` does, and say how pixels are missing.

        Parameters
        ----------
        window, bands, out
            See :meth:`read`.
        nodata : float, optional
            Stored value of a missing sample where the scene declares none.
        limits : tuple
            Least and greatest stored sample that is in order; None = any.

        Returns
        -------
        values : ndarray
            ``(band, y, x)``.
        flags : ndarray
            ``(y, x) uint8``: ``Quality.NO_DATA`` or ``PARTLY_MISSING`` where not valid, else
            ``OUT_OF_RANGE`` or 0.
        """
        chosen = list(range(self.bands.n)) if bands is None else list(bands)
        inside = window.clip(height=self.grid.height, width=self.grid.width)
        if out is None:
            out = np.empty((len(chosen), window.height, window.width), self.dtype)
        flags = np.full(out.shape[1:], Quality.NO_DATA, np.uint8)
        declared = nodata if self.nodata is None else self.nodata
        target = inside.shift(rows=-window.row, cols=-window.col).slices
        clear_outside(out, target)
        if not inside.is_empty:
            values, mask = self._reader.read(inside, chosen, out[(..., *target)])
            missing = stored_value(declared, values.dtype)
            flags[target] = flag_samples(values, mask, missing, limits)
        return out, flags

    def raw(
        self, window: Window, bands: Sequence[int] | None = None
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Return ``(band, y, x)`` values as stored and the file's own mask, for a window inside.

        The mask is ``(y, x)``: True = no requested band is masked.
        """
        chosen = list(range(self.bands.n)) if bands is None else bands
        values, mask = self._reader.read(window, chosen)
        if mask is not None and mask.shape == values.shape:
            return values, np.logical_and.reduce(mask, axis=0)
        return values, mask

    def read_layer(self, name: str, window: Window) -> NDArray[np.float32]:
        """Read a window of a layer that comes with the scene.

        Parameters
        ----------
        name : str
            One of ``layers``.
        window : Window
            Which pixels; may pass the raster's edge.

        Returns
        -------
        ndarray
            ``(y, x)``, NaN where there is no value and outside the raster.

        Raises
        ------
        InputError
            If the scene comes without that layer.
        """
        if name not in self.layers:
            known = ", ".join(self.layers) or "none"
            raise InputError(f"{self.name} comes without a layer {name!r}; it has: {known}")
        values = np.full((window.height, window.width), np.nan, np.float32)
        inside = window.clip(height=self.grid.height, width=self.grid.width)
        if not inside.is_empty:
            target = inside.shift(rows=-window.row, cols=-window.col).slices
            values[target] = self.layers[name].read(inside)
        return values

    @property
    def array(self) -> xr.DataArray:
        """The stored values as a lazy ``(band, y, x)`` DataArray on dask, a view of the file.

        Coordinates ``wavelength`` (nm), ``fwhm`` (nm) and ``good`` on the band axis, the file's
        own ``mask`` (True = valid, lazy), pixel centres ``x`` and ``y`` where the raster is
        north-up, else the pixels' own numbers ``col`` and ``row``, so that a slice keeps its
        place; attributes ``nodata``, ``scale``, ``crs`` (WKT) and ``transform`` (six numbers of
        the affine of the whole raster, rotation kept).
        """
        import dask.array as da
        import xarray as xr

        height, width = self.grid.height, self.grid.width
        shape = (self.bands.n, height, width)
        data = da.map_blocks(
            _read_block,
            self,
            chunks=da.core.normalize_chunks((-1, _CHUNK, _CHUNK), shape, dtype=self.dtype),
            dtype=self.dtype,
            meta=np.empty((0, 0, 0), self.dtype),
        )
        mask = da.map_blocks(
            _read_mask,
            self,
            chunks=data.chunks[1:],
            dtype=bool,
            meta=np.empty((0, 0), dtype=bool),
        )
        coords: dict[str, object] = {"mask": (("y", "x"), mask)}
        coords |= {"good": ("band", np.array(self.bands.good))}
        if self.bands.wavelength_nm is not None:
            coords["wavelength"] = ("band", np.array(self.bands.wavelength_nm), {"units": "nm"})
        if self.bands.fwhm_nm is not None:
            coords["fwhm"] = ("band", np.array(self.bands.fwhm_nm), {"units": "nm"})
        coords |= place_coordinates(self.grid)
        attrs = {
            "nodata": self.nodata,
            "scale": self.scale,
            "crs": self.grid.crs,
            "transform": tuple(self.grid.transform)[:6],
        }
        return xr.DataArray(
            data, dims=("band", "y", "x"), coords=coords, attrs=attrs, name=self.name
        )

    def dead_bands(self) -> frozenset[int]:
        """Return the 0-based bands without a single usable sample where other bands have some.

        Looked at are up to 25 windows of 64 x 64 pixels, spread over the scene.
        """
        alive = np.zeros(self.bands.n, dtype=bool)
        side = 64
        for row in np.linspace(0, max(self.grid.height - side, 0), _PROBES).astype(int):
            for col in np.linspace(0, max(self.grid.width - side, 0), _PROBES).astype(int):
                window = Window(row=int(row), col=int(col), height=side, width=side)
                inside = window.clip(height=self.grid.height, width=self.grid.width)
                values, _ = self._reader.read(inside, list(range(self.bands.n)))
                usable = np.isfinite(values)
                if self.nodata is not None:
                    usable &= values != self.nodata
                alive |= usable.any(axis=(1, 2))
        return frozenset() if not alive.any() else frozenset(np.flatnonzero(~alive).tolist())

    def fingerprint(self) -> dict[str, object]:
        """Return size, modification time and a hash of head and tail of each file.

        Of a folder: the same of its files together, and a hash of their names, sizes and times.
        """
        return {path.name: fingerprint_of(path) for path in self.files}

    def close(self) -> None:
        """Give the files back."""
        self._reader.close()


def _read_block(scene: Scene, block_info: dict[None, dict[str, list[tuple[int, int]]]]) -> object:
    """Read the block of a dask array that lies at ``block_info``'s location."""
    _, (top, bottom), (left, right) = block_info[None]["array-location"]
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    return scene.raw(window)[0]


def _read_mask(scene: Scene, block_info: dict[None, dict[str, list[tuple[int, int]]]]) -> object:
    """Read the file's own mask for the block of a dask array: True = no band is masked."""
    (top, bottom), (left, right) = block_info[None]["array-location"]
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    mask = scene.reader.read(window, [0])[1]
    if mask is not None and mask.shape != (window.height, window.width):
        mask = scene.raw(window)[1]
    return np.ones((window.height, window.width), dtype=bool) if mask is None else mask

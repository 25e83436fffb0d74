"""A backend of xarray: ``xarray.open_dataset("line.hdr", engine="hsimap")``, lazily."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, BackendEntrypoint
from xarray.core import indexing

from hsimap.geometry import Window
from hsimap.scenes._open import open_scene
from hsimap.scenes._reference import place_coordinates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hsimap.scenes._scene import Scene

_CHUNK = 512


class SceneArray(BackendArray):
    """The stored samples of a scene, ``(band, y, x)``, read when they are asked for."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.shape = (scene.bands.n, scene.grid.height, scene.grid.width)
        self.dtype = scene.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> NDArray[np.generic]:
        found: NDArray[np.generic] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return found

    def _read(self, key: tuple[slice | int, ...]) -> NDArray[np.generic]:
        bands, rows, cols = (
            range(n)[part] if isinstance(part, slice) else range(int(part), int(part) + 1)
            for part, n in zip(key, self.shape, strict=True)
        )
        values = np.empty((len(bands), len(rows), len(cols)), self.dtype)
        if values.size:
            top, left = min(rows), min(cols)
            window = Window(
                row=top, col=left, height=max(rows) - top + 1, width=max(cols) - left + 1
            )
            stored = self._scene.raw(window, list(bands))[0]
            values = stored[:, np.asarray(rows) - top][:, :, np.asarray(cols) - left]
        drop = tuple(axis for axis, part in enumerate(key) if not isinstance(part, slice))
        return values.squeeze(drop) if drop else values


class SceneBackend(BackendEntrypoint):
    """Opens whatever :func:`hsimap.open_scene` opens."""

    description: ClassVar[str] = "Hyperspectral scenes: ENVI, GeoTIFF, NEON HDF5, Zarr and others"
    url: ClassVar[str] = ""
    open_dataset_parameters: ClassVar[tuple[str, ...]] = (
        "filename_or_obj", "drop_variables", "mask_and_scale", "nodata", "scale",
    )  # fmt: skip

    def open_dataset(  # type: ignore[override]  # xarray gives decoders as further keywords
        self,
        filename_or_obj: str | Path,
        *,
        drop_variables: str | Iterable[str] | None = None,
        mask_and_scale: bool = True,
        nodata: float | None = None,
        scale: float | None = None,
    ) -> xr.Dataset:
        """Open a scene as a dataset with one variable, ``reflectance``.

        Parameters
        ----------
        filename_or_obj : str or Path
            The scene.
        drop_variables : str or iterable of str, optional
            Left out.
        mask_and_scale : bool
            Give reflectance with NaN where a sample is missing; else the stored values.
        nodata, scale : float, optional
            As of :func:`hsimap.open_scene`.

        Returns
        -------
        Dataset
            Coordinates ``wavelength`` and ``fwhm`` in nm and ``good`` on the band axis; ``x`` and
            ``y`` of a raster that is north-up, else ``col`` and ``row``; ``spatial_ref`` with the
            CRS and the affine, rotation kept.
        """
        scene = open_scene(Path(filename_or_obj), nodata=nodata, scale=scale)
        variable = _decoded(_stored(scene), scene) if mask_and_scale else _stored(scene)
        found = xr.Dataset({"reflectance": variable}, coords=_coords(scene))
        found.attrs["notes"] = list(scene.notes)
        found.set_close(scene.close)
        return found.drop_vars(drop_variables or [], errors="ignore")

    def guess_can_open(self, filename_or_obj: Any) -> bool:  # noqa: ANN401  # as xarray has it
        """Whether to open a file without being named: the headers of ENVI only."""
        return (
            isinstance(filename_or_obj, str | Path)
            and Path(filename_or_obj).suffix.lower() == ".hdr"
        )


def _stored(scene: Scene) -> xr.Variable:
    attrs = {
        "nodata": scene.nodata,
        "scale": scene.scale,
        "crs": scene.grid.crs,
        "transform": tuple(scene.grid.transform)[:6],
        "grid_mapping": "spatial_ref",
    }
    rows, cols = (-(-_CHUNK // side) * side for side in scene.storage.block)
    chunks = {"band": scene.bands.n, "y": rows, "x": min(cols, scene.grid.width)}
    return xr.Variable(
        ("band", "y", "x"),
        indexing.LazilyIndexedArray(SceneArray(scene)),
        {key: value for key, value in attrs.items() if value is not None},
        {"preferred_chunks": chunks},
    )


def _decoded(variable: xr.Variable, scene: Scene) -> xr.Variable:
    """Return reflectance with NaN for missing samples, still lazy."""
    raw = variable.copy(deep=False)
    if scene.nodata is not None and np.isfinite(scene.nodata):
        raw.attrs["_FillValue"] = raw.attrs.pop("nodata")
    if scene.scale is not None:
        raw.attrs["scale_factor"] = np.float32(raw.attrs.pop("scale"))
    found = xr.conventions.decode_cf_variable("reflectance", raw, decode_times=False)
    if scene.scale is not None:
        found.attrs["scale"] = 1.0
    return found


def _coords(scene: Scene) -> dict[str, Any]:
    reference = {"GeoTransform": " ".join(repr(v) for v in scene.grid.transform.to_gdal())}
    if scene.grid.crs:
        reference |= {"crs_wkt": scene.grid.crs, "spatial_ref": scene.grid.crs}
    coords: dict[str, Any] = {"spatial_ref": ((), 0, reference)}
    coords |= {"good": ("band", np.array(scene.bands.good))}
    if scene.bands.wavelength_nm is not None:
        coords["wavelength"] = ("band", np.array(scene.bands.wavelength_nm), {"units": "nm"})
    if scene.bands.fwhm_nm is not None:
        coords["fwhm"] = ("band", np.array(scene.bands.fwhm_nm), {"units": "nm"})
    return coords | place_coordinates(scene.grid)

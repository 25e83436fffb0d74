"""Write raw ENVI rasters, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rasterio.crs import CRS

from hsimap.synthetic._optics import FWHM_NM, WAVELENGTH_NM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray

    from hsimap.geometry import Window

_TYPES: Final = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4}
_AXES: Final = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}
"""Order of (band, y, x) in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFile:
    """A raw raster that is being written; little-endian."""

    path: Path
    """The data file; its header is the same name with ``.hdr`` added."""
    shape: tuple[int, int, int]
    """``(band, y, x)``."""
    dtype: str
    interleave: str

    def create(self, fields: Mapping[str, Any]) -> None:
        """Write the header and an empty data file, all 0, of the right size."""
        bands, height, width = self.shape
        layout = {
            "samples": width,
            "lines": height,
            "bands": bands,
            "header offset": 0,
            "file type": "ENVI Standard",
            "data type": _TYPES[self.dtype],
            "interleave": self.interleave,
            "byte order": 0,
        }
        lines = [f"{key} = {value}" for key, value in {**layout, **fields}.items()]
        header = self.path.with_name(self.path.name + ".hdr")
        header.write_text("\n".join(["ENVI", *lines, ""]), encoding="utf-8")
        size = bands * height * width * np.dtype(self.dtype).itemsize
        with self.path.open("wb") as file:
            file.truncate(size)

    def write(self, window: Window, values: NDArray[np.generic]) -> None:
        """Put ``(band, y, x)`` values into their place."""
        axes = _AXES[self.interleave]
        order = tuple(self.shape[axis] for axis in axes)
        room = np.memmap(self.path, dtype=np.dtype(self.dtype).newbyteorder("<"), shape=order)
        place = (slice(None), *window.slices)
        room[tuple(place[axis] for axis in axes)] = values.transpose(axes)
        room.flush()


def listed(values: object) -> str:
    """Return a list as a header writes it."""
    return "{ " + " , ".join(str(value) for value in values) + " }"  # type: ignore[attr-defined]


def georeference(transform: Affine) -> dict[str, str]:
    """Return the header's keys of a grid in EPSG:3067; it may be rotated but not sheared."""
    pixel = float(np.hypot(transform.a, transform.d))
    turn = float(np.degrees(np.arctan2(-transform.d, transform.a)))
    info = ["ETRS-TM35FIN", 1, 1, transform.c, transform.f, pixel, pixel, "ETRS89", "units=Meters"]
    if abs(turn) > 0:
        info.append(f"rotation={-turn!r}")
    crs = CRS.from_epsg(3067).to_wkt(version="WKT1_ESRI")
    return {"map info": listed(info), "coordinate system string": "{" + crs + "}"}


def spectral_fields(*, nodata: int) -> dict[str, str]:
    """Return the header's keys of a reflectance image with the bands of the simulated sensor."""
    return {
        "data ignore value": str(nodata),
        "reflectance scale factor": "10000",
        "wavelength units": "Nanometers",
        "default bands": listed((97, 65, 33)),
        "wavelength": listed(f"{nm:.3f}" for nm in WAVELENGTH_NM),
        "fwhm": listed(f"{FWHM_NM:.2f}" for _ in WAVELENGTH_NM),
    }

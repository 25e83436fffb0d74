"""What lies beside an ENVI image of AVIRIS-NG or AVIRIS-3: lookup table, places, angles.

Data: Jet Propulsion Laboratory, AVIRIS-NG Data Product Readme (2018): a GLT has sample and line of
the raw pixel, counted from 1, negative where the nearest was filled in; of the 11 bands of an
observation file the second to fifth are the angles to the sensor and to the sun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hsimap.geometry import Grid
from hsimap.scenes._envi import open_envi
from hsimap.scenes._envi_bands import names_of
from hsimap.scenes._envi_header import headers_of, parse_header
from hsimap.scenes._layers import BandLayer
from hsimap.scenes._ortho import OrthoReader
from hsimap.scenes._scene import Scene

if TYPE_CHECKING:
    from pathlib import Path

    from hsimap.scenes._reader import Layer, PixelReader

_ANGLES: Final = {
    "to-sensor azimuth": "view_azimuth",
    "to-sensor zenith": "view_zenith",
    "to-sun azimuth": "sun_azimuth",
    "to-sun zenith": "sun_zenith",
}
_KINDS: Final = ("glt", "igm", "loc", "obs")
_TABLE_BANDS: Final = 2


def open_line(path: Path) -> Scene:
    """Open an ENVI raster, with what belongs to the same flight line beside it.

    An image without a place is orthorectified on read where its lookup table is there. Angles of
    an observation file of the same shape come as layers.
    """
    scene = open_envi(path)
    data = scene.files[0]
    if _kind(data) is not None:
        return scene
    beside = {kind: _nearest(data, kind) for kind in _KINDS}
    raw_shape = (scene.grid.height, scene.grid.width)
    placed = not scene.grid.transform.is_identity
    table = None if placed or beside["glt"] is None else _table(beside["glt"])
    layers: dict[str, Layer] = {}
    if beside["obs"] is not None:
        layers = _layers(beside["obs"], raw_shape, table)
    if table is not None:
        return _through(scene, table, layers)
    scene.layers.update(layers)
    geometry = beside["igm"] or beside["loc"]
    if not placed and geometry is not None:
        note = (
            f"{geometry.name} tells where each pixel lies, but there is no lookup table (_glt):"
            f" the scene is read in sensor geometry"
        )
        scene.notes += (note,)
    return scene


def _kind(data: Path) -> str | None:
    """Return which of the companions a file is, None of an image."""
    words = data.stem.lower().split("_")
    return next((kind for kind in _KINDS if kind in words[1:]), None)


def _nearest(data: Path, kind: str) -> Path | None:
    """Return the companion that shares the longest start of its name, the flight at least."""
    flight = data.name.split("_")[0]
    found = [
        path
        for path in sorted(data.parent.iterdir())
        if path.name.startswith(f"{flight}_")
        and path.suffix.lower() != ".hdr"
        and _kind(path) == kind
        and headers_of(path)
    ]
    return max(found, key=lambda path: _shared(path.name, data.name), default=None)


def _shared(first: str, second: str) -> int:
    """Return how many characters two names have in common at their start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))


def _table(path: Path) -> Scene | None:
    table = open_envi(path)
    return table if table.bands.n == _TABLE_BANDS and table.dtype.kind == "i" else None


def _through(scene: Scene, table: Scene, layers: dict[str, Layer]) -> Scene:
    """Return the scene on the grid of its lookup table."""
    grid = Grid(
        height=table.grid.height,
        width=table.grid.width,
        transform=table.grid.transform,
        crs=table.grid.crs,
    )
    path = table.files[0]
    notes = [note for note in scene.notes if not note.endswith("has no CRS")]
    notes.append(f"orthorectified on read by {path.name}, {grid.height} x {grid.width} pixels")
    return Scene(
        OrthoReader(scene.reader, table.reader, missing=table.nodata),
        name=scene.name,
        grid=grid,
        bands=scene.bands,
        scale=scene.scale,
        nodata=scene.nodata,
        files=(*scene.files, *table.files),
        notes=notes if grid.crs else [*notes, f"{path.name} has no CRS"],
        layers=layers,
    )


def _layers(path: Path, shape: tuple[int, int], table: Scene | None) -> dict[str, Layer]:
    """Return the angles of an observation file."""
    angles = open_envi(path)
    if (angles.grid.height, angles.grid.width) != shape:
        return {}
    reader: PixelReader = angles.reader
    if table is not None:
        reader = OrthoReader(reader, table.reader, missing=table.nodata)
    layers: dict[str, Layer] = {}
    for band, name in enumerate(names_of(parse_header(angles.files[1]), angles.bands.n)):
        known = next(
            (key for words, key in _ANGLES.items() if name.lower().startswith(words)), None
        )
        if known is not None:
            layers[known] = BandLayer(reader=reader, band=band, nodata=angles.nodata)
    return layers

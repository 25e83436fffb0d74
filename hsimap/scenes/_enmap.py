"""EnMAP L2A: a folder of rasters with ``METADATA.XML``.

Product: EnMAP HSI Level 1B/1C/2A Product Specification, EN-PCV-ICD-2009-2 (DLR):
``specific/bandCharacterisation/bandID``, ``expectedChannelsList``, ``backgroundValue``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

from hsimap.errors import InputError
from hsimap.scenes._geotiff import open_geotiff
from hsimap.scenes._layers import ConstantLayer
from hsimap.spectra import Bands

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from hsimap.scenes._scene import Scene

_IMAGE: Final = "SPECTRAL_IMAGE"
_METADATA: Final = "METADATA.XML"
_LIMIT: Final = 64 << 20


def find_enmap(path: Path) -> tuple[Path, Path] | None:
    """Return image and metadata of a product, given its folder or either file; else None."""
    if path.is_dir():
        found = [p for p in sorted(path.iterdir()) if p.name.upper().endswith(_METADATA)]
        return find_enmap(found[0]) if len(found) == 1 else None
    name = path.name.upper()
    is_image = f"{_IMAGE}." in name and name.endswith((".TIF", ".TIFF"))
    if not is_image and not name.endswith(_METADATA):
        return None
    stem = name.split(_IMAGE if is_image else _METADATA)[0]
    beside = {p.name.upper(): p for p in path.parent.iterdir()}
    metadata = beside.get(stem + _METADATA)
    image = next(
        (beside[n] for n in (f"{stem}{_IMAGE}.TIF", f"{stem}{_IMAGE}.TIFF") if n in beside), None
    )
    return (image, metadata) if image and metadata else None


def open_enmap(image: Path, metadata: Path) -> Scene:
    """Open the spectral image with the bands, scale and missing value of the metadata.

    Raises
    ------
    InputError
        If the metadata are malformed, or bands differ in gain or have offsets.
    """
    root = _parse(metadata)
    scene = open_geotiff(image)
    scene.bands = _bands(root, scene.bands.n, metadata)
    scene.scale = _scale(root, metadata)
    background = root.findtext(".//specific/backgroundValue")
    scene.nodata = float(background) if background else scene.nodata
    scene.files = (image, metadata)
    elevation = root.findtext(".//sunElevationAngle/center")
    azimuth = root.findtext(".//sunAzimuthAngle/center")
    if elevation and azimuth:
        scene.layers["sun_zenith"] = ConstantLayer(value=90 - float(elevation))
        scene.layers["sun_azimuth"] = ConstantLayer(value=float(azimuth))
    return scene


def _parse(path: Path) -> Element:
    if path.stat().st_size > _LIMIT:
        raise InputError(f"{path} has {path.stat().st_size} bytes, more than any metadata of EnMAP")
    raw = path.read_bytes()
    if b"<!ENTITY" in raw or b"<!DOCTYPE" in raw:
        raise InputError(f"{path} declares entities, which no metadata of EnMAP do")
    try:
        return ET.fromstring(raw)  # noqa: S314  # without entities
    except ET.ParseError as error:
        raise InputError(f"{path} is no sound XML: {error}") from error


def _column(root: Element, name: str, path: Path) -> list[float]:
    bands = [
        band for band in root.iter("bandID") if band.find("wavelengthCenterOfBand") is not None
    ]
    try:
        return [float(band.findtext(name) or "") for band in bands]
    except ValueError:
        raise InputError(f"{path}: a band has no number {name!r}") from None


def _bands(root: Element, n: int, path: Path) -> Bands:
    wavelength, fwhm = (
        _column(root, name, path) for name in ("wavelengthCenterOfBand", "FWHMOfBand")
    )
    if len(wavelength) != n:
        raise InputError(f"{path} describes {len(wavelength)} bands and the image has {n}")
    lists = [element.text or "" for element in root.iter("expectedChannelsList")]
    expected = {int(item) for text in lists for item in text.split(",") if item.strip()}
    return Bands(
        wavelength_nm=tuple(wavelength),
        fwhm_nm=tuple(fwhm),
        good=tuple(not expected or band in expected for band in range(1, n + 1)),
    )


def _scale(root: Element, path: Path) -> float:
    gains, offsets = (set(_column(root, name, path)) for name in ("GainOfBand", "OffsetOfBand"))
    if len(gains) != 1 or offsets != {0.0}:
        raise InputError(
            f"{path}: gains are {min(gains):g} to {max(gains):g} and offsets {min(offsets):g} to"
            f" {max(offsets):g}; reflectance has one gain and no offset: name an L2A product"
        )
    return gains.pop()

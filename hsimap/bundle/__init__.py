"""The model folder: manifest, weights, graph and card, every byte of them under a hash."""

from hsimap.bundle._calibration import Calibration, Intervals, Sharpness
from hsimap.bundle._folder import CARD, INT8, MANIFEST, ONNX, WEIGHTS, Bundle
from hsimap.bundle._input import InputSpec, SpectralSpread
from hsimap.bundle._manifest import (
    SCHEMA_VERSION,
    Acceptance,
    BundleFields,
    BundleManifest,
    FileEntry,
    TileDefaults,
)
from hsimap.bundle._stac import model_item

__all__ = [
    "CARD",
    "INT8",
    "MANIFEST",
    "ONNX",
    "SCHEMA_VERSION",
    "WEIGHTS",
    "Acceptance",
    "Bundle",
    "BundleFields",
    "BundleManifest",
    "Calibration",
    "FileEntry",
    "InputSpec",
    "Intervals",
    "Sharpness",
    "SpectralSpread",
    "TileDefaults",
    "model_item",
]

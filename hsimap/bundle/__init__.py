"""The model folder: manifest, weights, graph and card, every byte of them under a hash."""

from hsimap.bundle._folder import CARD, MANIFEST, ONNX, WEIGHTS, Bundle
from hsimap.bundle._manifest import (
    SCHEMA_VERSION,
    BundleFields,
    BundleManifest,
    FileEntry,
    InputSpec,
    TileDefaults,
)

__all__ = [
    "CARD",
    "MANIFEST",
    "ONNX",
    "SCHEMA_VERSION",
    "WEIGHTS",
    "Bundle",
    "BundleFields",
    "BundleManifest",
    "FileEntry",
    "InputSpec",
    "TileDefaults",
]

"""Networks: ``torch.nn.Module`` only, no files."""

from __future__ import annotations

from hsimap.networks._mapping import MappingNetwork, build_network
from hsimap.networks._report import ComparisonRow, NetworkReport, compare, report
from hsimap.networks._settings import NetworkSettings, architectures, read_settings
from hsimap.networks._spec import NetworkSpec, NormalisationSpec
from hsimap.networks._taiga_settings import dilation_rates, pooling_blocks

__all__ = [
    "ComparisonRow",
    "MappingNetwork",
    "NetworkReport",
    "NetworkSettings",
    "NetworkSpec",
    "NormalisationSpec",
    "architectures",
    "build_network",
    "compare",
    "dilation_rates",
    "pooling_blocks",
    "read_settings",
    "report",
]

"""Networks: ``torch.nn.Module`` only, no files."""

from __future__ import annotations

from hsimap.networks._mapping import MappingNetwork, build_network
from hsimap.networks._report import NetworkReport, report
from hsimap.networks._spec import (
    NetworkSettings,
    NetworkSpec,
    NormalisationSpec,
    dilation_rates,
    pooling_blocks,
)

__all__ = [
    "MappingNetwork",
    "NetworkReport",
    "NetworkSettings",
    "NetworkSpec",
    "NormalisationSpec",
    "build_network",
    "dilation_rates",
    "pooling_blocks",
    "report",
]

"""Networks: ``torch.nn.Module`` only, no files."""

from __future__ import annotations

from hsimap.networks._mapping import MappingNetwork, NetworkReport, build_network, report
from hsimap.networks._spec import NetworkSettings, NetworkSpec, NormalisationSpec, dilation_rates

__all__ = [
    "MappingNetwork",
    "NetworkReport",
    "NetworkSettings",
    "NetworkSpec",
    "NormalisationSpec",
    "build_network",
    "dilation_rates",
    "report",
]

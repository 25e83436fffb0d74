"""How large and how costly a network is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from hsimap.geometry import round_up
from hsimap.networks._mapping import MappingNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

_DECODING: Final = ("decoders", "heads")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport:
    """Size and cost of a network."""

    parameters: int
    """Trainable numbers."""
    encoder_parameters: int
    """Of them in what all tasks share."""
    decoder_parameters: int
    """Of them in decoders and heads."""
    parts: Mapping[str, int]
    """Parameters of each part of the network."""
    macs_per_pixel: float
    """Multiply-accumulates of a forward over the training patch, per pixel (1 MAC = 2 FLOP)."""
    reach: int
    """One-sided receptive field in pixels, attention window included; an upper bound."""
    alignment: int
    """Input sides are multiples of this, in pixels."""


def report(network: MappingNetwork) -> NetworkReport:
    """Count parameters and multiply-accumulates; the forward runs on shapes only."""
    side = round_up(network.spec.patch, network.alignment)
    with torch.device("meta"):
        twin = MappingNetwork(network.spec).eval()
        image = torch.zeros(1, network.spec.n_bands, side, side)
        valid = torch.ones(1, 1, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(image, valid)
    parts = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in network.backbone.named_children()
    }
    decoding = sum(n for name, n in parts.items() if name in _DECODING)
    total = sum(parts.values())
    return NetworkReport(
        parameters=total,
        encoder_parameters=total - decoding,
        decoder_parameters=decoding,
        parts={name: n for name, n in parts.items() if n},
        macs_per_pixel=counter.get_total_flops() / 2 / side**2,
        reach=network.reach,
        alignment=network.alignment,
    )

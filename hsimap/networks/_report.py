"""How large and how costly a network is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from hsimap.geometry import round_up
from hsimap.networks._mapping import MappingNetwork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsimap.networks._settings import NetworkSettings
    from hsimap.networks._spec import NetworkSpec

PAPER_SIDE: Final = 256
"""Side in pixels of the input that the paper's count of operations fits best."""
_DECODING: Final = frozenset({"decoders", "decoder", "up", "heads"})
"""Parts of a network that make maps of features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport:
    """Size and cost of a network."""

    parameters: int
    """Trainable numbers."""
    encoder_parameters: int
    """Of them in what is not decoder: stem, levels, pyramid, attention."""
    decoder_parameters: int
    """Of them in decoders and heads."""
    parts: Mapping[str, int]
    """Parameters of each part of the network."""
    macs_per_pixel: float
    """Multiply-accumulates of a forward over the training patch, per pixel (1 MAC = 2 FLOP): of
    convolutions and matrix products; normalisation, pooling and up-sampling are not counted."""
    paper_macs: float
    """Of a forward over the paper's input, 256 x 256 pixels."""
    reach: int
    """One-sided receptive field in pixels, attention window included; an upper bound."""
    alignment: int
    """Input sides are multiples of this, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """One network of a comparison."""

    name: str
    """What the settings are called."""
    architecture: str
    size: NetworkReport


def report(network: MappingNetwork) -> NetworkReport:
    """Count parameters and multiply-accumulates; the forward runs on shapes only."""
    return _report(network.spec)


def compare(settings: Mapping[str, NetworkSettings], *, like: NetworkSpec) -> list[ComparisonRow]:
    """Count the size and cost of networks that would do the same work.

    Parameters
    ----------
    settings : mapping of str to NetworkSettings
        Name to the settings of each network.
    like : NetworkSpec
        Bands, tasks and training patch that all of them are built for.

    Returns
    -------
    list of ComparisonRow
        In the order of ``settings``.

    Raises
    ------
    UsageError
        If settings do not fit the training patch.
    """
    return [
        ComparisonRow(
            name=name,
            architecture=one.architecture,
            size=_report(like.model_copy(update={"settings": one})),
        )
        for name, one in settings.items()
    ]


def _report(spec: NetworkSpec) -> NetworkReport:
    with torch.device("meta"):
        twin = MappingNetwork(spec).eval()
    parts = Counter[str]()
    for member in twin.backbone.members:
        for name, part in member.named_children():
            parts[name] += sum(p.numel() for p in part.parameters())
    decoding = sum(n for name, n in parts.items() if name in _DECODING)
    total = sum(parts.values())
    return NetworkReport(
        parameters=total,
        encoder_parameters=total - decoding,
        decoder_parameters=decoding,
        parts={name: n for name, n in parts.items() if n},
        macs_per_pixel=_macs(twin, spec.patch),
        paper_macs=_macs(twin, max(PAPER_SIDE, spec.patch)) * PAPER_SIDE**2,
        reach=twin.reach,
        alignment=twin.alignment,
    )


def _macs(twin: MappingNetwork, least: int) -> float:
    """Return the multiply-accumulates per pixel of a square input of at least this side."""
    side = round_up(least, twin.alignment)
    with torch.device("meta"):
        image = torch.zeros(1, twin.spec.n_bands, side, side)
        valid = torch.ones(1, 1, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(image, valid)
    flops: int = counter.get_total_flops()
    return flops / 2 / side**2

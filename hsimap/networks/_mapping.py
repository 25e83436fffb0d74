"""The deployable network: stored values in, class probabilities and physical values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from hsimap.geometry import alignment_of, round_up
from hsimap.networks._spectral_spatial import SpectralSpatial
from hsimap.networks._taiga import Taiga
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from hsimap.networks._spec import NetworkSpec
    from hsimap.tasks import Task

_TINY: Final = 1e-12


class MappingNetwork(nn.Module):
    """Normalise, mask, run an architecture, and turn its numbers into what is mapped.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.outputs = spec.outputs
        self.backbone = _backbone(spec)
        self.alignment = alignment_of(self.backbone.alignment, *(o.stride for o in spec.outputs))
        """Input sides are multiples of this, in pixels."""
        self.reach = self.backbone.reach
        """One-sided receptive field in pixels, attention window included."""
        mean, std = spec.normalisation.mean, spec.normalisation.std
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(mean or (0.0,) * spec.n_bands).view(shape))
        self.register_buffer("std", torch.tensor(std or (1.0,) * spec.n_bands).view(shape))

    def normalise(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return network values; an invalid pixel is 0 whatever it held, NaN included."""
        shown = valid > 0
        image = torch.where(shown, image, torch.zeros_like(image))
        mode = self.spec.normalisation.mode
        if mode == "l2":
            image = image / (image.square().sum(dim=1, keepdim=True) + _TINY).sqrt()
        elif mode != "none":
            image = (image - self.mean) / self.std
        return torch.where(shown, image, torch.zeros_like(image))

    def logits(self, image: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Return what the losses are taken of.

        Parameters
        ----------
        image : Tensor
            ``(batch, band, y, x) float32`` in storage units; sides are multiples of
            ``alignment`` and not below the training patch.
        valid : Tensor
            ``(batch, 1, y, x) float32``: 1 = valid.

        Returns
        -------
        dict
            Task name to ``(batch, class, y, x)`` class logits, or ``(batch, 1, y, x)`` numbers
            that ``offset + gain * number`` turns into physical units.
        """
        mask = (valid > 0).to(image.dtype)
        result: dict[str, Tensor] = self.backbone(self.normalise(image, valid), mask)
        return result

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Return class probabilities and physical values, in the order of ``outputs``."""
        raw = self.logits(image, valid)
        return tuple(self._finish(task, raw[task.name]) for task in self.spec.tasks)

    def _finish(self, task: Task, raw: Tensor) -> Tensor:
        if task.kind is Kind.CATEGORICAL:
            return raw.softmax(dim=1)
        if task.kind is Kind.SALIENCY:
            return raw.sigmoid()
        offset, gain = self.spec.scaling.get(task.name, (0.0, 1.0))
        value = offset + gain * raw
        return value if task.range is None else value.clamp(*task.range)


def _backbone(spec: NetworkSpec) -> Taiga | SpectralSpatial:
    settings = spec.settings.resolved()
    strides = {output.task: output.stride for output in spec.outputs}
    if settings.architecture == "spectral_spatial":
        return SpectralSpatial(settings, n_bands=spec.n_bands, tasks=spec.tasks, strides=strides)
    return Taiga(
        settings, n_bands=spec.n_bands, patch=spec.patch, tasks=spec.tasks, strides=strides
    )


def build_network(spec: NetworkSpec) -> MappingNetwork:
    """Build a network with fresh weights.

    Parameters
    ----------
    spec : NetworkSpec
        Plain data; a bundle stores it.

    Raises
    ------
    UsageError
        If a dilation rate or the pooling window does not fit the training patch.
    """
    return MappingNetwork(spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkReport:
    """Size and cost of a network."""

    parameters: int
    """Trainable numbers."""
    decoder_parameters: int
    """Of them in decoders and heads."""
    macs_per_pixel: float
    """Multiply-accumulates of one forward over the training patch, per pixel (1 MAC = 2 FLOP)."""
    reach: int
    """One-sided receptive field, in pixels."""
    alignment: int
    """In pixels."""


def report(network: MappingNetwork) -> NetworkReport:
    """Count parameters and multiply-accumulates; the forward runs on shapes only."""
    side = round_up(network.spec.patch, network.alignment)
    twin = MappingNetwork(network.spec).to("meta").eval()
    image = torch.zeros(1, network.spec.n_bands, side, side, device="meta")
    valid = torch.ones(1, 1, side, side, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        twin(image, valid)
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    decoding = ("backbone.decoders.", "backbone.heads.")
    return NetworkReport(
        parameters=sum(sizes.values()),
        decoder_parameters=sum(n for name, n in sizes.items() if name.startswith(decoding)),
        macs_per_pixel=counter.get_total_flops() / 2 / side**2,
        reach=network.reach,
        alignment=network.alignment,
    )

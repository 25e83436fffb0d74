"""The deployable network: stored values in, class probabilities and physical values out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.errors import UsageError
from hsimap.geometry import alignment_of
from hsimap.networks._architectures import build_backbone
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from hsimap.networks._spec import NetworkSpec
    from hsimap.tasks import Task

_LEAST_NORM: Final = 1e-12


class MappingNetwork(nn.Module):
    """Normalise, mask, run an architecture, and turn its numbers into what is mapped.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built from.

    Raises
    ------
    UsageError
        If the settings do not fit the training patch or the outputs.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.outputs = spec.outputs
        self.backbone = build_backbone(spec)
        self.alignment = alignment_of(self.backbone.alignment, *(o.stride for o in spec.outputs))
        """Input sides are multiples of this, in pixels."""
        self.reach = self.backbone.reach
        """One-sided receptive field in pixels, attention window included; an upper bound."""
        for name, values, default in (
            ("mean", spec.normalisation.mean, 0.0),
            ("std", spec.normalisation.std, 1.0),
        ):
            numbers = torch.tensor(values or (default,) * spec.n_bands, dtype=torch.float32)
            self.register_buffer(name, numbers.view(1, -1, 1, 1))

    def mask(self, image: Tensor, valid: Tensor) -> Tensor:
        """Return 1 where a pixel is valid and each of its bands is a finite number, else 0."""
        # A sum is not finite if a term is not. As a convolution it takes ONNX Runtime a tenth of
        # the time of a ReduceSum over the channels, which was a fifth of a forward of `tiny`.
        total = functional.conv2d(image, torch.ones_like(self.mean))
        return ((valid > 0) & total.isfinite()).to(image.dtype)

    def normalise(self, image: Tensor, mask: Tensor) -> Tensor:
        """Return network values: 0 where ``mask`` is 0, whatever the pixel held."""
        mode = self.spec.normalisation.mode
        if mode == "l2":
            image = image / (image.square().sum(dim=1, keepdim=True) + _LEAST_NORM).sqrt()
        elif mode != "none":
            image = (image - self.mean) * (1 / self.std)
        return torch.where(mask > 0, image, 0.0)

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
            that ``offset + gain * number`` turns into physical units; ``y`` and ``x`` are the
            input's over the output's stride. In training, those of each member of an ensemble
            stand one after the other on the batch axis.

        Raises
        ------
        UsageError
            If the sides of the input do not fit the network.
        """
        if not torch.compiler.is_compiling():
            self._check_sides(image)
        mask = self.mask(image, valid)
        raw: dict[str, Tensor] = self.backbone(self.normalise(image, mask), mask)
        return raw

    def forward(self, image: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        """Return class probabilities and physical values, in the order of ``outputs``.

        Parameters
        ----------
        image, valid : Tensor
            As in :meth:`logits`.

        Returns
        -------
        tuple of Tensor
            ``(batch, channel, y / stride, x / stride)`` each. Values are clipped to the task's
            range.
        """
        raw = self.logits(image, valid)
        return tuple(self._finish(task, raw[task.name]) for task in self.spec.tasks)

    def _finish(self, task: Task, raw: Tensor) -> Tensor:
        if task.kind is Kind.CATEGORICAL:
            temperature = self.spec.temperature.get(task.name, 1.0)
            return (raw if temperature == 1 else raw / temperature).softmax(dim=1)
        if task.kind is Kind.SALIENCY:
            return raw.sigmoid()
        offset, gain = self.spec.scaling.get(task.name, (0.0, 1.0))
        value = offset + gain * raw
        return value if task.range is None else value.clamp(*task.range)

    def _check_sides(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        if height % self.alignment or width % self.alignment:
            raise UsageError(
                f"input sides must be multiples of {self.alignment} px, got {height} x {width};"
                f" pad with invalid pixels"
            )
        if min(height, width) < self.backbone.least_side:
            raise UsageError(
                f"input sides must be at least {self.backbone.least_side} px, the window of the"
                f" attention or the deepest stride, got {height} x {width}; pad with invalid pixels"
            )


def build_network(spec: NetworkSpec) -> MappingNetwork:
    """Build a network with fresh weights from torch's random state.

    Parameters
    ----------
    spec : NetworkSpec
        Plain data; a bundle stores it.

    Returns
    -------
    MappingNetwork
        In training mode.

    Raises
    ------
    UsageError
        If a dilation rate, the pooling block or an output's stride does not fit.
    """
    return MappingNetwork(spec)

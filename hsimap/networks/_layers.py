"""Layers that the architectures share."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

NO_PIXEL: Final = -1e30
"""Stands in for an invalid pixel in a maximum; finite, so that every runtime pools it alike."""
LEAST_SHARE: Final = 1e-6
"""Below the share of one valid pixel in a window of 512 x 512."""
_SLOPE: Final = 0.01
"""Of LeakyReLU below 0."""


def conv_norm(
    inside: int, outside: int, kernel: int, dilation: int = 1, *, norm: bool = True
) -> nn.Sequential:
    """Return a convolution that keeps the size, and batch normalisation, or a bias without it."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, padding=padding, dilation=dilation, bias=not norm),
        nn.BatchNorm2d(outside) if norm else nn.Identity(),
    )


def conv(
    inside: int, outside: int, kernel: int, dilation: int = 1, *, norm: bool = True
) -> nn.Sequential:
    """Return convolution, batch normalisation where ``norm``, and LeakyReLU."""
    return nn.Sequential(
        conv_norm(inside, outside, kernel, dilation, norm=norm), nn.LeakyReLU(_SLOPE)
    )


def halving_conv(inside: int, outside: int, *, norm: bool = True) -> nn.Sequential:
    """Return a 2x2 convolution of stride 2, batch normalisation where ``norm``, and LeakyReLU."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 2, stride=2, bias=not norm),
        nn.BatchNorm2d(outside) if norm else nn.Identity(),
        nn.LeakyReLU(_SLOPE),
    )


def conv_relu(inside: int, outside: int, kernel: int) -> nn.Sequential:
    """Return convolution, batch normalisation and ReLU, as the baselines were published with."""
    return nn.Sequential(conv_norm(inside, outside, kernel), nn.ReLU())


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a 1x1 projection shortcut (eq. 2, Fig. 6b)."""

    def __init__(self, inside: int, outside: int, middle: int, *, norm: bool = True) -> None:
        super().__init__()
        self.path = nn.Sequential(
            conv(inside, middle, 1, norm=norm),
            conv(middle, middle, 3, norm=norm),
            conv_norm(middle, outside, 1, norm=norm),
        )
        self.shortcut = conv_norm(inside, outside, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, inside, y, x)`` to ``(batch, outside, y, x)``."""
        return functional.leaky_relu(self.path(x) + self.shortcut(x), _SLOPE)


class ValidBatchNorm(nn.Module):
    """Batch normalisation whose statistics are taken over valid pixels only.

    In evaluation it is plain batch normalisation, so that an export can fold it. In training a
    batch that is mostly padding or masked context would otherwise shift mean and variance.

    Parameters
    ----------
    channels : int
        Channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise ``(batch, channel, y, x)``; ``mask`` is ``(batch, 1, y, x)``, 1 = valid."""
        if not self.training:
            normed: Tensor = self.norm(x)
            return normed
        count = mask.sum()
        mean = (x * mask).sum(dim=(0, 2, 3), keepdim=True) / count.clamp(min=1)
        centred = x - mean
        variance = (centred * mask).square().sum(dim=(0, 2, 3), keepdim=True) / count.clamp(min=1)
        self._remember(mean.detach().flatten(), variance.detach().flatten(), count)
        scale = self.norm.weight.view(1, -1, 1, 1) * torch.rsqrt(variance + self.norm.eps)
        return centred * scale + self.norm.bias.view(1, -1, 1, 1)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Take a batch into the running statistics, unless it has too few pixels for a variance."""
        weight = (self.norm.momentum or 0.0) * (count > 1)
        unbiased = variance * count / (count - 1).clamp(min=1)
        for running, batch in (
            (self.norm.running_mean, mean),
            (self.norm.running_var, unbiased),
        ):
            if running is not None:
                running.lerp_(batch.to(running.dtype), weight.to(running.dtype))

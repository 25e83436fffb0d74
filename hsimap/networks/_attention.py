"""Residual spectral-spatial attention whose pooling window is the training patch.

Chhapariya et al. 2024 (arXiv 2407.16384), eq. 8 to 12, in the form of CBAM (readings 8 and 9 of
``docs/notation.md``). The paper pools over the whole patch; here the window stays that large on
any tile, so that a pixel's value does not depend on the tile it is computed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

_RATIO = 16
_EMPTY = -1e30
"""Stands for "no valid pixel" in a maximum; finite, so that ONNX pools it like any number."""


def window_pool(x: Tensor, mask: Tensor, *, block: int, n_blocks: int) -> tuple[Tensor, Tensor]:
    """Pool average and maximum over windows of ``n_blocks`` x ``n_blocks`` blocks.

    Parameters
    ----------
    x : Tensor
        ``(batch, channel, y, x)`` features.
    mask : Tensor
        ``(batch, 1, y, x)``: 1 = stands on a valid pixel, 0 = left out.
    block : int
        Side of a block; the sides of ``x`` are multiples of it and at least one window.
    n_blocks : int
        Blocks along a window's side.

    Returns
    -------
    average, maximum : Tensor
        ``(batch, channel, y / block, x / block)``: of the window around each block; near an edge
        of the innermost window. 0 where a window holds no valid pixel.
    """
    total = functional.avg_pool2d(x * mask, block)
    count = functional.avg_pool2d(mask, block)
    highest = functional.max_pool2d(torch.where(mask > 0, x, torch.full_like(x, _EMPTY)), block)
    if n_blocks > 1:
        total = functional.avg_pool2d(total, n_blocks, stride=1)
        count = functional.avg_pool2d(count, n_blocks, stride=1)
        highest = functional.max_pool2d(highest, n_blocks, stride=1)
        before = (n_blocks - 1) // 2
        pad = (before, n_blocks - 1 - before) * 2
        total, count, highest = (
            functional.pad(t, pad, mode="replicate") for t in (total, count, highest)
        )
    average = total / count.clamp(min=1e-6)
    return average, torch.where(highest > _EMPTY / 2, highest, torch.zeros_like(highest))


class SpectralGate(nn.Module):
    """Weights of the channels: 1-D convolution over the channel axis, then a shared MLP."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(4, channels // _RATIO)
        self.neighbours = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map ``(batch, channel, y, x)`` pooled features to logits of the same shape."""
        # The 1-D convolution along channels is a (3, 1, 1) convolution of a one-channel volume.
        weight = self.neighbours.weight.view(1, 1, 3, 1, 1)
        mixed = functional.conv3d(pooled.unsqueeze(1), weight, padding=(1, 0, 0)).squeeze(1)
        logits: Tensor = self.excite(functional.relu(self.squeeze(mixed)))
        return logits


class SpectralSpatialAttention(nn.Module):
    """One residual attention block: ``x + (F * channels) * pixels``.

    Parameters
    ----------
    channels : int
        Of input and output.
    conv : callable
        Builds convolution, normalisation and activation: ``conv(in, out, kernel)``.
    block, n_blocks : int
        See :func:`window_pool`, in pixels of this level.
    """

    def __init__(
        self,
        channels: int,
        conv: Callable[[int, int, int], nn.Module],
        *,
        block: int,
        n_blocks: int,
    ) -> None:
        super().__init__()
        self.block, self.n_blocks = block, n_blocks
        self.features = conv(channels, channels, 1)
        self.gate = SpectralGate(channels)
        self.spatial = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weight ``(batch, channel, y, x)`` features; ``mask`` is ``(batch, 1, y, x)``."""
        features = self.features(x)
        average, highest = window_pool(features, mask, block=self.block, n_blocks=self.n_blocks)
        channels = torch.sigmoid(self.gate(average) + self.gate(highest))
        if self.block > 1:
            channels = functional.interpolate(channels, scale_factor=self.block, mode="bilinear")
        y = features * channels
        summary = torch.cat([y.mean(dim=1, keepdim=True), y.amax(dim=1, keepdim=True)], dim=1)
        result: Tensor = x + y * torch.sigmoid(self.spatial(summary))
        return result

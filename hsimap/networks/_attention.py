"""Residual spectral-spatial attention whose pooling window is the training patch.

Chhapariya et al. 2024 (arXiv 2407.16384), eq. 8 to 12, in the form of CBAM (see
``docs/notation.md``). The paper pools over the whole input; here the window stays as large as the
training patch on any tile, so that a pixel's value does not depend on the tile it is computed in.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.networks._layers import LEAST_SHARE, NO_PIXEL, conv

_RATIO: Final = 16
"""Channels per hidden unit of the shared MLP (CBAM's reduction ratio)."""
_LEAST_HIDDEN: Final = 4


def window_pool(x: Tensor, mask: Tensor, *, block: int, n_blocks: int) -> tuple[Tensor, Tensor]:
    """Pool average and maximum over windows of ``n_blocks`` x ``n_blocks`` blocks.

    Blocks are pooled first, then windows of blocks at every block. The window of block ``j``
    reaches from block ``j - (n_blocks - 1) // 2`` to block ``j + n_blocks // 2``; where that
    passes an edge, the nearest window that lies inside is taken. An input of one window thus has
    one average and one maximum everywhere: the global pooling of the paper (eq. 10 and 11).

    Parameters
    ----------
    x : Tensor
        ``(batch, channel, y, x)`` features.
    mask : Tensor
        ``(batch, 1, y, x)`` weights from 0 = left out to 1 = wholly valid.
    block : int
        Side of a block; the sides of ``x`` are multiples of it and not below one window.
    n_blocks : int
        Blocks along a window's side.

    Returns
    -------
    average, maximum : Tensor
        ``(batch, channel, y / block, x / block)``, one for each block; 0 where its window holds no
        valid pixel.
    """
    total = functional.avg_pool2d(x * mask, block)
    share = functional.avg_pool2d(mask, block)
    highest = functional.max_pool2d(torch.where(mask > 0, x, NO_PIXEL), block)
    if n_blocks > 1:
        total = _inner(functional.avg_pool2d(total, n_blocks, stride=1), n_blocks)
        share = _inner(functional.avg_pool2d(share, n_blocks, stride=1), n_blocks)
        highest = _inner(functional.max_pool2d(highest, n_blocks, stride=1), n_blocks)
    average = total / share.clamp(min=LEAST_SHARE)
    return average, torch.where(share > 0, highest, 0.0)


def _inner(pooled: Tensor, n_blocks: int) -> Tensor:
    """Give the blocks near an edge the value of the nearest window that lies inside."""
    before = (n_blocks - 1) // 2
    after = n_blocks - 1 - before
    return functional.pad(pooled, (before, after, before, after), mode="replicate")


class SpectralGate(nn.Module):
    """Logits of the channels' weights: a 1-D convolution along the channels, then a shared MLP."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(_LEAST_HIDDEN, channels // _RATIO)
        # A 1-D convolution along the channel axis is a (3, 1, 1) one of a one-channel volume.
        self.neighbours = nn.Conv3d(1, 1, (3, 1, 1), padding=(1, 0, 0), bias=False)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """Map ``(batch, channel, y, x)`` pooled features to logits of the same shape."""
        mixed = self.neighbours(pooled.unsqueeze(1)).squeeze(1)
        logits: Tensor = self.excite(functional.relu(self.squeeze(mixed)))
        return logits


class SpectralSpatialAttention(nn.Module):
    """One residual attention block: ``x + F(x) * channel weights * pixel weights`` (eq. 8).

    Parameters
    ----------
    channels : int
        Channels of input and output.
    block, n_blocks : int
        Of :func:`window_pool`, in pixels of this level.
    norm : bool
        Whether batch normalisation stands after the first convolution.
    """

    def __init__(self, channels: int, *, block: int, n_blocks: int, norm: bool = True) -> None:
        super().__init__()
        self.block, self.n_blocks = block, n_blocks
        self.features = conv(channels, channels, 1, norm=norm)
        self.gate = SpectralGate(channels)
        self.spatial = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weight ``(batch, channel, y, x)`` features; ``mask`` as in :func:`window_pool`."""
        features = self.features(x)
        average, highest = window_pool(features, mask, block=self.block, n_blocks=self.n_blocks)
        channels = torch.sigmoid(self.gate(average) + self.gate(highest))
        if self.block > 1:
            # On a grid of whole blocks this only looks at the nearest blocks: position-invariant.
            channels = functional.interpolate(
                channels, scale_factor=self.block, mode="bilinear", align_corners=False
            )
        weighted = features * channels
        summary = torch.cat(
            [weighted.mean(dim=1, keepdim=True), weighted.amax(dim=1, keepdim=True)], dim=1
        )
        result: Tensor = x + weighted * torch.sigmoid(self.spatial(summary))
        return result

"""A 3-D U-Net as of a denoiser, read by attention, in the style of SpectralDiff."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.networks._backbone import Baseline, Sight, enlarge, shrink
from hsimap.networks._layers import LEAST_SHARE
from hsimap.networks._windows import WindowTransformer

if TYPE_CHECKING:
    from hsimap.networks._baseline_settings import SpectralDiffSettings
    from hsimap.networks._spec import NetworkSpec

_SPECTRAL: Final = 3
"""Bands that a kernel of the U-Net spans."""


class SpectralDiff(Baseline):
    """After Chen et al. 2023 (IEEE TGRS 61): the denoiser's layers and the attention over them.

    The published method first trains the U-Net to denoise, then freezes it and reads its layers,
    reduced by principal components, with a transformer over 13 x 13 pixels. Here all is trained
    for the tasks at once, a 1x1 convolution reduces, and attention stays within windows of a
    fixed grid: nothing of diffusion is left, hence "style".

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : SpectralDiffSettings
        Its sizes.

    Raises
    ------
    UsageError
        If the training patch is too small for the deepest level, or an output's stride is not 1.
    """

    def __init__(self, spec: NetworkSpec, settings: SpectralDiffSettings) -> None:
        super().__init__(spec)
        widths, factor = settings.widths, 2 ** (len(settings.widths) - 1)
        self.alignment = self.least_side = max(settings.window, factor)
        if self.alignment % settings.window or self.alignment % factor:
            self.alignment = self.least_side = settings.window * factor
        step = settings.spectral_stride * factor
        self.extra = -spec.n_bands % step
        """Bands of zeros after the last, so that every level halves them."""
        bands = [(spec.n_bands + self.extra) // step << i for i in range(len(widths))][::-1]
        kernel = (settings.spectral_stride, 1, 1)
        self.stem = nn.Conv3d(1, widths[0], kernel, stride=kernel)
        self.encoder = nn.ModuleList(
            _convs(a, b, n) for (a, b), n in zip(pairwise((widths[0], *widths)), bands, strict=True)
        )
        depths = bands[-2::-1]
        self.decoder = nn.ModuleList(
            _convs(a + b, b, n) for (a, b), n in zip(pairwise(widths[::-1]), depths, strict=True)
        )
        self.reduce = nn.ModuleList(
            nn.Conv2d(width * depth, settings.width, 1)
            for width, depth in zip(widths[-2::-1], depths, strict=True)
        )
        self.attention = WindowTransformer(
            settings.width, settings.heads, depth=settings.depth, side=settings.window,
            dropout=settings.dropout,
        )  # fmt: skip
        sight = Sight(spec.patch, settings.architecture)
        sight.conv(3, times=2)
        for _ in self.decoder:
            sight.down()
            sight.conv(3, times=2)
        for _ in self.decoder:
            sight.up(smooth=False)
            sight.conv(3, times=2)
        # The features of the coarser levels come up bilinearly; the deepest of them sees farthest.
        sight.pixels += factor // 2
        sight.window(settings.window)
        self.finish(spec, settings.width, sight)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to features of the same size; ``mask``: 1 = valid."""
        volume = self.stem(functional.pad(x, (0, 0, 0, 0, 0, self.extra)).unsqueeze(1))
        skips, seen = [], mask
        for i, level in enumerate(self.encoder):
            if i:
                volume, seen = mean_volume(volume, seen), shrink(seen, 2)
            volume = level(volume)
            skips.append(volume)
        total = torch.zeros_like(x[:, :1])
        pairs = zip(self.decoder, self.reduce, skips[-2::-1], strict=True)
        for i, (level, reduce, skip) in enumerate(pairs, start=2):
            raised = functional.interpolate(volume, scale_factor=2.0, mode="nearest")
            volume = level(torch.cat([raised, skip], dim=1))
            total = total + enlarge(reduce(volume.flatten(1, 2)), 2 ** (len(skips) - i))
        attended: Tensor = self.attention(total, mask)[-1]
        return attended


def _convs(inside: int, outside: int, n_bands: int) -> nn.Sequential:
    """Return two convolutions over bands, y and x; over y and x only, where one band is left."""
    depth = _SPECTRAL if n_bands > 1 else 1
    layers: list[nn.Module] = []
    for a, b in ((inside, outside), (outside, outside)):
        layers += [
            nn.Conv3d(a, b, (depth, 3, 3), padding=(depth // 2, 1, 1), bias=False),
            nn.BatchNorm3d(b),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers)


def mean_volume(x: Tensor, mask: Tensor) -> Tensor:
    """Return means over the valid pixels of cells of 2 bands, 2 rows and 2 columns.

    Parameters
    ----------
    x : Tensor
        ``(batch, channel, band, y, x)``.
    mask : Tensor
        ``(batch, 1, y, x)`` weights from 0 = left out to 1 = wholly valid.
    """
    total = functional.avg_pool3d(x * mask.unsqueeze(2), 2)
    return total / functional.avg_pool2d(mask, 2).unsqueeze(2).clamp(min=LEAST_SHARE)

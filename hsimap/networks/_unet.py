"""U-Net and SegNet: plain encoders and decoders over masked maximum pooling."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.networks._backbone import Baseline, Sight, max_pool, shrink
from hsimap.networks._layers import NO_PIXEL, conv_relu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.networks._baseline_settings import SegNetSettings, UNetSettings
    from hsimap.networks._spec import NetworkSpec


class UNet(Baseline):
    """U-Net of Ronneberger et al. 2015 with batch normalisation and padded convolutions.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : UNetSettings
        Its sizes.

    Raises
    ------
    UsageError
        If the training patch is too small for the deepest level, or an output's stride is not 1.
    """

    def __init__(self, spec: NetworkSpec, settings: UNetSettings) -> None:
        super().__init__(spec)
        widths = settings.widths
        self.alignment = self.least_side = 2 ** (len(widths) - 1)
        self.encoder = nn.ModuleList(
            _double_conv(a, b) for a, b in pairwise((spec.n_bands, *widths))
        )
        upward = list(pairwise(widths[::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in upward)
        self.decoder = nn.ModuleList(_double_conv(2 * b, b) for _, b in upward)
        sight = Sight(spec.patch, settings.architecture)
        sight.conv(3, times=2)
        for _ in upward:
            sight.down()
            sight.conv(3, times=2)
        for _ in upward:
            sight.up(smooth=False)
            sight.conv(3, times=2)
        self.finish(spec, widths[0], sight)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to features of the same size; ``mask``: 1 = valid."""
        skips = []
        for i, level in enumerate(self.encoder):
            if i:
                x, mask = max_pool(x, mask), shrink(mask, 2)
            x = level(x)
            skips.append(x)
        for up, level, skip in zip(self.up, self.decoder, skips[-2::-1], strict=True):
            x = level(torch.cat([skip, up(x)], dim=1))
        return x


def _double_conv(inside: int, outside: int) -> nn.Sequential:
    return nn.Sequential(conv_relu(inside, outside, 3), conv_relu(outside, outside, 3))


class SegNet(Baseline):
    """SegNet of Badrinarayanan et al. 2017: a decoder that un-pools to where maxima were found.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : SegNetSettings
        Its sizes.

    Raises
    ------
    UsageError
        If the training patch is too small for the deepest level, or an output's stride is not 1.
    """

    def __init__(self, spec: NetworkSpec, settings: SegNetSettings) -> None:
        super().__init__(spec)
        widths, convs = settings.widths, settings.convs
        self.alignment = self.least_side = 2 ** len(widths)
        inputs = (spec.n_bands, *widths[:-1])
        self.encoder = nn.ModuleList(
            _convs((a, *(b,) * n)) for a, b, n in zip(inputs, widths, convs, strict=True)
        )
        outputs = (widths[0], *widths[:-1])
        self.decoder = nn.ModuleList(
            _convs((*(a,) * n, b))
            for a, b, n in reversed(list(zip(widths, outputs, convs, strict=True)))
        )
        sight = Sight(spec.patch, settings.architecture)
        for n in convs:
            sight.conv(3, times=n)
            sight.down()
        for n in reversed(convs):
            sight.up(smooth=False)
            sight.conv(3, times=n)
        self.finish(spec, widths[0], sight)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to features of the same size; ``mask``: 1 = valid."""
        places = []
        for level in self.encoder:
            x, place = pool_with_places(level(x), mask)
            mask = shrink(mask, 2)
            places.append(place)
        for level, place in zip(self.decoder, reversed(places), strict=True):
            x = level(unpool(x, place))
        return x


def _convs(widths: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(conv_relu(a, b, 3) for a, b in pairwise(widths)))


def pool_with_places(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pool maxima of 2x2 cells and say where in each cell they were found.

    Parameters
    ----------
    x : Tensor
        ``(batch, channel, y, x)``.
    mask : Tensor
        ``(batch, 1, y, x)``: above 0 where valid; the others are left out.

    Returns
    -------
    highest : Tensor
        ``(batch, channel, y / 2, x / 2)``; 0 where a cell holds no valid pixel.
    places : Tensor
        ``(batch, 4 channel, y / 2, x / 2)``: 1 at one pixel of each cell, row by row, the first of
        those that share the maximum; else 0.
    """
    seen = torch.where(mask > 0, x, NO_PIXEL)
    phases = [seen[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]
    highest = functional.max_pool2d(seen, 2)
    left = torch.ones_like(highest)
    places = []
    for phase in phases:
        here = torch.where(phase == highest, left, 0.0)
        left = left - here
        places.append(here)
    valid = functional.max_pool2d(mask, 2) > 0
    return torch.where(valid, highest, 0.0), torch.cat(places, dim=1)


def unpool(x: Tensor, places: Tensor) -> Tensor:
    """Put each number of ``(batch, channel, y, x)`` at its place of a 2x2 cell, beside zeros.

    Parameters
    ----------
    x : Tensor
        ``(batch, channel, y, x)``.
    places : Tensor
        Of :func:`pool_with_places`.

    Returns
    -------
    Tensor
        ``(batch, channel, 2 y, 2 x)``.
    """
    phases = [x * place for place in places.chunk(4, dim=1)]
    rows = [torch.stack(phases[i : i + 2], dim=-1).flatten(-2) for i in (0, 2)]
    return torch.stack(rows, dim=-2).flatten(-3, -2)

"""GSC-ViT of Zhao et al. 2024 (IEEE TGRS 62), run densely over regions of a fixed grid."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.networks._backbone import Baseline, Sight, shrink
from hsimap.networks._layers import conv_relu
from hsimap.networks._windows import cut, join_heads, lay, split_heads, weights

if TYPE_CHECKING:
    from hsimap.networks._baseline_settings import GscVitSettings
    from hsimap.networks._spec import NetworkSpec


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape of ``(batch, channel, y, x)``."""
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class SeparableAttention(nn.Module):
    """Attention within windows, then between the windows of a region.

    A learned token joins the pixels of each window in the first attention. What it has become
    speaks for the window in the second, whose weights mix the windows' pixels place by place.

    Parameters
    ----------
    settings : GscVitSettings
        Heads, and sides of windows and regions.
    width : int
        Channels.
    """

    def __init__(self, settings: GscVitSettings, width: int) -> None:
        super().__init__()
        self.heads, inner = settings.heads, settings.heads * settings.head_width
        self.window, self.region = settings.window, settings.region // settings.window
        self.token = nn.Parameter(torch.randn(width))
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.token_norm = nn.LayerNorm(settings.head_width)
        self.token_to_qk = nn.Linear(inner, 2 * inner)
        self.mix = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Keep the shape of ``(batch, channel, y, x)``; ``mask``: 1 = valid."""
        pixels, seen = cut(x, self.window), cut(mask, self.window).squeeze(-1)
        token = self.token.expand(pixels.shape[0], 1, -1)
        qkv = self.to_qkv(torch.cat([token, pixels], dim=1)).chunk(3, dim=-1)
        query, key, value = (split_heads(part, self.heads) for part in qkv)
        counted = torch.cat([torch.ones_like(seen[:, :1]), seen], dim=1)
        attended = weights(query, key, counted) @ value
        token, pixels = join_heads(attended[:, :, :1]), join_heads(attended[:, :, 1:])
        if self.region > 1:
            pixels = self._between(token, pixels * seen[:, :, None], mask)
        mixed: Tensor = self.mix(lay(pixels, self.window, x))
        return mixed

    def _between(self, token: Tensor, pixels: Tensor, mask: Tensor) -> Tensor:
        """Mix the windows of each region; ``(window, pixel, channel)`` in and out."""
        coarse = shrink(mask, self.window)
        tokens = cut(lay(token, 1, coarse), self.region)
        maps = cut(lay(pixels.flatten(1)[:, None], 1, coarse), self.region)
        seen = cut(coarse, self.region).squeeze(-1)
        split = split_heads(tokens, self.heads)
        asked = self.token_to_qk(join_heads(functional.gelu(self.token_norm(split))))
        query, key = (split_heads(part, self.heads) for part in asked.chunk(2, dim=-1))
        # Each head mixes the windows' maps of its own channels: (region, head, window, map).
        regions, n_windows, _ = maps.shape
        apart = maps.reshape(regions, n_windows, self.window**2, self.heads, -1)
        value = apart.permute(0, 3, 1, 2, 4).flatten(3)
        mixed = weights(query, key, seen) @ value
        apart = mixed.reshape(regions, self.heads, n_windows, self.window**2, -1)
        mixed = apart.permute(0, 2, 3, 1, 4).flatten(2)
        return cut(lay(mixed, self.region, coarse), 1).reshape(pixels.shape)


class Stage(nn.Module):
    """Grouped 1x1 and 3x3 convolutions, attention, and a 1x1 convolution beside the identity."""

    def __init__(self, settings: GscVitSettings, inside: int, width: int, *, last: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(inside, width, 1, groups=settings.groups),
            nn.Conv2d(width, width, 3, padding=1, groups=settings.groups, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.before = ChannelNorm(width)
        self.attention = SeparableAttention(settings, width)
        self.after = nn.Identity() if last else ChannelNorm(width)
        self.point = nn.Conv2d(width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, inside, y, x)`` to ``(batch, width, y, x)``; ``mask``: 1 = valid."""
        x = self.convs(x)
        attended = self.after(self.attention(self.before(x), mask))
        return functional.relu(self.norm(x + self.point(attended)))


class GscVit(Baseline):
    """Spectral calibration and stages of grouped convolution and separable attention.

    The published network averages its patch of 8 x 8 pixels for one label. Here every pixel keeps
    its features, and the patch is the region whose windows attend to one another.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : GscVitSettings
        Its sizes.

    Raises
    ------
    UsageError
        If an output's stride is not 1.
    """

    def __init__(self, spec: NetworkSpec, settings: GscVitSettings) -> None:
        super().__init__(spec)
        self.alignment = self.least_side = settings.region
        widths = settings.widths
        self.calibration = conv_relu(spec.n_bands, widths[0], 1)
        self.stages = nn.ModuleList(
            Stage(settings, a, b, last=i == len(widths) - 2)
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.norm = ChannelNorm(widths[-1])
        sight = Sight(spec.patch, settings.architecture)
        for _ in self.stages:
            sight.conv(3)
            sight.window(settings.region)
        self.finish(spec, widths[-1], sight)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to features of the same size; ``mask``: 1 = valid."""
        x = self.calibration(x)
        for stage in self.stages:
            x = stage(x, mask)
        normed: Tensor = self.norm(x)
        return normed

"""The encoder of a ResNet, and the two networks that decode one: Res-U-Net and DeepLabV3+."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.networks._attention import window_pool
from hsimap.networks._backbone import Baseline, Sight, enlarge, max_pool, shrink
from hsimap.networks._layers import conv_relu
from hsimap.networks._taiga_settings import blocks_of, check_rate, scaled_rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.networks._baseline_settings import DeepLabSettings, ResUNetSettings
    from hsimap.networks._spec import NetworkSpec

_OUTPUT_STRIDE = 16
"""Of DeepLabV3+'s encoder."""
_LOW_STRIDE = 4
"""Of the features that DeepLabV3+'s decoder joins."""
_REFERENCE_PATCH = 512
"""Pixels of the crops (513) that DeepLabV3+'s rates 6, 12 and 18 were published for."""


class ResidualBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside the identity, or a projection where the shape changes.

    Parameters
    ----------
    inside, outside : int
        Channels; the middle convolution has a quarter of ``outside``.
    stride, dilation : int
        Of the 3x3 convolution.
    """

    def __init__(self, inside: int, outside: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        middle = max(1, outside // 4)
        self.path = nn.Sequential(
            conv_relu(inside, middle, 1),
            nn.Conv2d(
                middle, middle, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
            ),
            nn.BatchNorm2d(middle),
            nn.ReLU(),
            nn.Conv2d(middle, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inside != outside:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inside, outside, 1, stride=stride, bias=False), nn.BatchNorm2d(outside)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, inside, y, x)`` to ``(batch, outside, y / stride, x / stride)``."""
        return functional.relu(self.path(x) + self.shortcut(x))


class ResNet(nn.Module):
    """He et al. 2016: a 7x7 convolution and a pooling of stride 2 each, then four stages.

    Parameters
    ----------
    n_bands, stem_width : int
        Channels in and at stride 2.
    widths, blocks : sequence of int
        Channels and blocks of the four stages.
    deepest : {16, 32}
        Stride of the last stage: at 16 it dilates by 2 in place of the last halving.
    """

    def __init__(
        self, n_bands: int, stem_width: int, widths: Sequence[int], blocks: Sequence[int],
        *, deepest: int,
    ) -> None:  # fmt: skip
        super().__init__()
        dilated = deepest == _OUTPUT_STRIDE
        self.dilations = (1, 1, 1, 2 if dilated else 1)
        self.strides = (1, 2, 2, 1 if dilated else 2)
        self.blocks = tuple(blocks)
        self.stem = nn.Sequential(
            nn.Conv2d(n_bands, stem_width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(stem_width),
            nn.ReLU(),
        )
        inputs = (stem_width, *widths[:-1])
        self.stages = nn.ModuleList(
            nn.Sequential(
                ResidualBlock(inputs[i], widths[i], stride=self.strides[i], dilation=dilation),
                *(
                    ResidualBlock(widths[i], widths[i], dilation=dilation)
                    for _ in range(blocks[i] - 1)
                ),
            )
            for i, dilation in enumerate(self.dilations)
        )

    def look(self, sight: Sight) -> None:
        """Add what its layers see."""
        for kernel in (7, 3):
            sight.conv(kernel)
            sight.down()
        for stride, dilation, n in zip(self.strides, self.dilations, self.blocks, strict=True):
            sight.conv(3, dilation=dilation)
            sight.down(stride)
            sight.conv(3, times=n - 1, dilation=dilation)

    def forward(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """Return the features of stride 2 and of the four stages."""
        x = self.stem(x)
        levels = [x]
        x = max_pool(x, shrink(mask, 2), 3, padding=1)
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


class ResUNet(Baseline):
    """The encoder of ResNet-50 and a U-Net's decoder of two 3x3 convolutions a level.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : ResUNetSettings
        Its sizes.

    Raises
    ------
    UsageError
        If the training patch is too small for the deepest level, or an output's stride is not 1.
    """

    alignment = least_side = 32

    def __init__(self, spec: NetworkSpec, settings: ResUNetSettings) -> None:
        super().__init__(spec)
        widths, stem = settings.widths, settings.stem_width
        self.encoder = ResNet(spec.n_bands, stem, widths, settings.blocks, deepest=32)
        below = (widths[-1], *settings.decoder_widths[:-1])
        beside = (*widths[-2::-1], stem)
        self.decoder = nn.ModuleList(
            nn.Sequential(conv_relu(a + b, c, 3), conv_relu(c, c, 3))
            for a, b, c in zip(below, beside, settings.decoder_widths, strict=True)
        )
        sight = Sight(spec.patch, settings.architecture)
        self.encoder.look(sight)
        for _ in self.decoder:
            sight.up()
            sight.conv(3, times=2)
        self.finish(spec, settings.decoder_widths[-1], sight)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to features of stride 2; ``mask``: 1 = valid."""
        *skips, x = self.encoder(x, mask)
        for level, skip in zip(self.decoder, reversed(skips), strict=True):
            x = level(torch.cat([enlarge(x, 2), skip], dim=1))
        return x


class DeepLab(Baseline):
    """DeepLabV3+ of Chen et al. 2018 on a ResNet-101, with separable convolutions.

    Its image pooling sees a window of the training patch's size, wherever the pixel lies.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : DeepLabSettings
        Its sizes.

    Raises
    ------
    UsageError
        If the training patch is no multiple of 16 or too small for a dilation, or an output's
        stride is not 1.
    """

    def __init__(self, spec: NetworkSpec, settings: DeepLabSettings) -> None:
        super().__init__(spec)
        block, self.n_blocks = blocks_of(
            settings.architecture, patch=spec.patch, stride=_OUTPUT_STRIDE
        )
        self.alignment, self.least_side = block, spec.patch
        self.block = block // _OUTPUT_STRIDE
        deep, width = settings.widths[-1], settings.pyramid_width
        rates = settings.rates
        if rates == "auto":
            rates = scaled_rates(spec.patch, reference=_REFERENCE_PATCH)
        for rate in rates:
            check_rate(rate, stride=_OUTPUT_STRIDE, patch=spec.patch)
        self.encoder = ResNet(
            spec.n_bands, settings.stem_width, settings.widths, settings.blocks,
            deepest=_OUTPUT_STRIDE,
        )  # fmt: skip
        self.pyramid = nn.ModuleList(
            [conv_relu(deep, width, 1), *(_separable(deep, width, rate) for rate in rates)]
        )
        self.image = conv_relu(deep, width, 1)
        self.join = conv_relu(width * (len(rates) + 2), width, 1)
        low = settings.low_width
        self.low = conv_relu(settings.widths[0], low, 1)
        self.decoder = nn.Sequential(_separable(width + low, width), _separable(width, width))
        sight = Sight(spec.patch, settings.architecture)
        self.encoder.look(sight)
        # Half a window, one block by bilinear up-sampling, the place within a block; or a dilation.
        image = spec.patch // 2 + 2 * block + _OUTPUT_STRIDE
        sight.pixels += max(image, max(rates) * _OUTPUT_STRIDE)
        sight.up(_OUTPUT_STRIDE // _LOW_STRIDE)
        sight.conv(3, times=2)
        self.finish(spec, width, sight)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to features of stride 4; ``mask``: 1 = valid."""
        _, low, _, _, deep = self.encoder(x, mask)
        average, _ = window_pool(
            deep, shrink(mask, _OUTPUT_STRIDE), block=self.block, n_blocks=self.n_blocks
        )
        parts = [branch(deep) for branch in self.pyramid]
        parts.append(enlarge(self.image(average), self.block))
        joined = enlarge(self.join(torch.cat(parts, dim=1)), _OUTPUT_STRIDE // _LOW_STRIDE)
        result: Tensor = self.decoder(torch.cat([joined, self.low(low)], dim=1))
        return result


def _separable(inside: int, outside: int, dilation: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution of each channel alone, then a 1x1 one over the channels."""
    return nn.Sequential(
        nn.Conv2d(
            inside, inside, 3, padding=dilation, dilation=dilation, groups=inside, bias=False
        ),
        nn.BatchNorm2d(inside),
        nn.ReLU(),
        conv_relu(inside, outside, 1),
    )

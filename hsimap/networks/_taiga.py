"""The multitask network of Chhapariya et al. 2024 (arXiv 2407.16384), variant "B3".

A residual encoder over strides 1 to 8, one gated dense ASPP, attention on the skips and on the
deepest features, and one light decoder for the classes and one for the values.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.networks._attention import SpectralSpatialAttention
from hsimap.networks._spec import NetworkSettings, dilation_rates, head_name, pooling_blocks
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.tasks import Task

STRIDES: Final = (1, 2, 4, 8)
_SLOPE: Final = 0.01


def conv(inside: int, outside: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Return convolution, batch normalisation and LeakyReLU."""
    return nn.Sequential(*_conv_norm(inside, outside, kernel, dilation), nn.LeakyReLU(_SLOPE))


def _conv_norm(inside: int, outside: int, kernel: int, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(inside, outside, kernel, padding=padding, dilation=dilation, bias=False)
    return [layer, nn.BatchNorm2d(outside)]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a 1x1 projection shortcut."""

    def __init__(self, inside: int, outside: int, middle: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            conv(inside, middle, 1), conv(middle, middle, 3), *_conv_norm(middle, outside, 1)
        )
        self.shortcut = nn.Sequential(*_conv_norm(inside, outside, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the spatial size."""
        return functional.leaky_relu(self.path(x) + self.shortcut(x), _SLOPE)


class GatedAspp(nn.Module):
    """Dilated branches added under learned gates (eq. 5): ``f + sum sigmoid(lambda_i) y_i``."""

    def __init__(self, channels: int, rates: Sequence[int], *, dense: bool) -> None:
        super().__init__()
        wide = channels * 3 // 2
        self.dense = dense
        self.branches = nn.ModuleList(
            nn.Sequential(conv(channels, wide, 3, rate), *_conv_norm(wide, channels, 1))
            for rate in rates
        )
        self.gates = nn.Parameter(torch.zeros(len(rates)))

    def forward(self, x: Tensor) -> Tensor:
        """Keep shape; a dense branch sees the sum of what came before it."""
        total = x
        for gate, branch in zip(torch.sigmoid(self.gates), self.branches, strict=True):
            total = total + gate * branch(total if self.dense else x)
        return total


class Decoder(nn.Module):
    """From the deepest features up to stride 2, with skips."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.pool = conv(widths[3], width, 1)
        self.deep = nn.Sequential(Bottleneck(width, width, half), Bottleneck(width, width, half))
        self.middle = Bottleneck(width + widths[2], width, quarter)
        self.shallow = Bottleneck(width + widths[1], half, quarter // 2)

    def forward(self, skips: Sequence[Tensor], deepest: Tensor) -> Tensor:
        """Return ``(batch, width / 2, y / 2, x / 2)``; ``skips`` are those of strides 4 and 2."""
        x = self.deep(self.pool(deepest))
        x = self.middle(torch.cat([_double(x), skips[0]], dim=1))
        shallow: Tensor = self.shallow(torch.cat([_double(x), skips[1]], dim=1))
        return shallow


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Taiga(nn.Module):
    """Features and heads; see :func:`hsimap.networks.build_network` for the whole.

    Parameters
    ----------
    settings : NetworkSettings
        Resolved.
    n_bands : int
        Input channels.
    patch : int
        Side of the training patch.
    tasks : sequence of Task
        One head each.
    strides : dict
        Task name to the stride of its output, 1 or 2.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        n_bands: int,
        patch: int,
        tasks: Sequence[Task],
        strides: dict[str, int],
    ) -> None:
        super().__init__()
        widths, blocks = settings.widths or (), settings.blocks or ()
        self.tasks, self.strides = tuple(tasks), strides
        self.rates = dilation_rates(settings, patch=patch, stride=STRIDES[-1])
        self.dense = settings.aspp == "dense_sum"
        self.stem = conv(n_bands, widths[0], 3)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Bottleneck(width, width, width // 2) for _ in range(count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.transitions = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(2), conv(a, b, 1)) for a, b in pairwise(widths)
        )
        self.aspp = GatedAspp(widths[3], self.rates, dense=self.dense)
        block, n_blocks = pooling_blocks(settings, patch=patch, stride=STRIDES[-1])
        self.attention = nn.ModuleList(
            SpectralSpatialAttention(
                width, conv, block=block * STRIDES[-1] // stride, n_blocks=n_blocks
            )
            for width, stride in zip(widths[1:], STRIDES[1:], strict=True)
            if settings.attention
        )
        self.alignment = STRIDES[-1] * (block if settings.attention else 1)
        """Input sides are multiples of this."""
        self.reach = self._reach(settings, patch)
        """One-sided receptive field in pixels, an upper bound."""
        self.dropout = nn.Dropout2d(settings.dropout)
        groups = {_group(task.kind) for task in tasks}
        width = settings.decoder_width or widths[2]
        self.decoders = nn.ModuleDict({g: Decoder(widths, width) for g in sorted(groups)})
        self.heads = nn.ModuleDict(
            {head_name(task.name): nn.Conv2d(width // 2, task.channels, 1) for task in tasks}
        )

    def _reach(self, settings: NetworkSettings, patch: int) -> int:
        """Add up what each layer sees on one side, in input pixels."""
        deep = STRIDES[-1]
        blocks = zip(STRIDES, settings.blocks or (), strict=True)
        encoder = 1 + sum(stride * count for stride, count in blocks) + sum(STRIDES[:-1])
        aspp = deep * (sum(self.rates) if self.dense else max(self.rates))
        attention = 0
        if settings.attention:
            # Half the window, one block of bilinear up-sampling, the place within a block; 3x3.
            attention = patch // 2 + 2 * self.alignment + deep
        # Two 3x3 at stride 8, then up-sampling and one 3x3 at strides 4 and 2, then up-sampling.
        decoder = 2 * deep + (deep + 4) + (4 + 2) + 2
        return encoder + aspp + attention + decoder

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return each task's raw numbers at its output's stride."""
        levels = []
        x = self.stem(x)
        for i, stage in enumerate(self.stages):
            x = stage(x if i == 0 else self.transitions[i - 1](x))
            levels.append(x)
        levels[-1] = self.aspp(levels[-1])
        for i, attend in enumerate(self.attention, start=1):
            seen = functional.max_pool2d(mask, STRIDES[i])
            levels[i] = attend(levels[i], seen)
        deepest = self.dropout(levels[3])
        skips = (levels[2], levels[1])
        shared = {name: decoder(skips, deepest) for name, decoder in self.decoders.items()}
        result = {}
        for task in self.tasks:
            raw = self.heads[head_name(task.name)](shared[_group(task.kind)])
            result[task.name] = raw if self.strides[task.name] == 2 else _double(raw)  # noqa: PLR2004
        return result


def _group(kind: Kind) -> str:
    return "for_values" if kind is Kind.CONTINUOUS else "for_classes"

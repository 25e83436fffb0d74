"""The multitask network of Chhapariya et al. 2024 (arXiv 2407.16384), variant "B3".

A residual encoder over strides 1 to 8, one gated dense ASPP, residual attention, and one light
decoder for the classes and one for the values. ``docs/notation.md`` gives the equations, and
``docs/networks.md`` the switches of the paper's ablations.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.errors import UsageError
from hsimap.networks._attention import SpectralSpatialAttention
from hsimap.networks._backbone import Backbone, Sight, enlarge
from hsimap.networks._layers import Bottleneck, conv, conv_norm, halving_conv
from hsimap.networks._spec import head_name
from hsimap.networks._taiga_settings import STRIDES, dilation_rates, pooling_blocks
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.networks._spec import NetworkSpec
    from hsimap.networks._taiga_settings import TaigaSettings

_DEEPEST: Final = STRIDES[-1]
_DECODED: Final = 2
"""Stride at which the decoders end and the heads stand."""
_PLAIN: Final = 2
"""Convolutions that stand in for residual blocks."""


class GatedAspp(nn.Module):
    """Dilated branches added under learned gates (eq. 5): ``f + sum sigmoid(lambda_i) y_i``."""

    def __init__(
        self, channels: int, rates: Sequence[int], *, dense: bool, norm: bool = True
    ) -> None:
        super().__init__()
        wide = channels * 3 // 2
        self.dense = dense
        self.branches = nn.ModuleList(
            nn.Sequential(
                conv(channels, wide, 3, rate, norm=norm), conv_norm(wide, channels, 1, norm=norm)
            )
            for rate in rates
        )
        self.gates = nn.Parameter(torch.zeros(len(rates)))
        """``lambda``: 0 = half open."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape; a dense branch sees the sum of what came before it."""
        total = x
        for gate, branch in zip(torch.sigmoid(self.gates), self.branches, strict=True):
            total = total + gate * branch(total if self.dense else x)
        return total


class Decoder(nn.Module):
    """From the deepest features to stride 2, with the skips of strides 4 and 2."""

    def __init__(self, settings: TaigaSettings) -> None:
        super().__init__()
        width, widths, norm = settings.decoder_width, settings.widths, settings.batch_norm
        half, quarter = width // 2, width // 4
        deep, skips = widths[3], (widths[1:3] if settings.skips else (0, 0))
        self.skips = settings.skips
        self.pool: nn.Module = nn.Identity()
        """The paper's channel pooling."""
        if settings.channel_pooling:
            self.pool, deep = conv(deep, width, 1, norm=norm), width
        self.deep = _blocks(settings, deep, 2)
        self.middle = _block(settings, deep + skips[1], width, quarter)
        self.shallow = _block(settings, width + skips[0], half, quarter // 2)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the features of strides 2, 4 and 8 to ``(batch, width / 2, y / 2, x / 2)``."""
        shallow, middle, deep = levels
        x = self.deep(self.pool(deep))
        x = self.middle(self._join(enlarge(x, 2), middle))
        result: Tensor = self.shallow(self._join(enlarge(x, 2), shallow))
        return result

    def _join(self, x: Tensor, skip: Tensor) -> Tensor:
        return torch.cat([x, skip], dim=1) if self.skips else x


def _block(settings: TaigaSettings, inside: int, outside: int, middle: int) -> nn.Module:
    """Return a residual block, or two plain convolutions where the settings have it so."""
    norm = settings.batch_norm
    if settings.residual:
        return Bottleneck(inside, outside, middle, norm=norm)
    return nn.Sequential(conv(inside, outside, 3, norm=norm), conv(outside, outside, 3, norm=norm))


def _blocks(settings: TaigaSettings, width: int, count: int) -> nn.Module:
    """Return residual blocks that keep the channels, or two plain convolutions for all of them."""
    if not settings.residual:
        count = 1
    return nn.Sequential(*(_block(settings, width, width, width // 2) for _ in range(count)))


class Taiga(Backbone):
    """Encoder, decoders and heads; normalisation and activations are ``MappingNetwork``'s.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : TaigaSettings
        Its sizes and switches.

    Raises
    ------
    UsageError
        If the training patch is too small for the dilation rates or no multiple of stride and
        pooling block, or an output's stride is neither 1 nor 2.
    """

    def __init__(self, spec: NetworkSpec, settings: TaigaSettings) -> None:
        super().__init__()
        self.tasks = tuple((task.name, _path(task.kind)) for task in spec.tasks)
        self.strides = {output.task: output.stride for output in spec.outputs}
        if not set(self.strides.values()) <= {1, _DECODED}:
            raise UsageError(
                f"outputs of taiga have stride 1 or {_DECODED}, got {sorted(self.strides.items())}"
            )
        dilated = settings.aspp != "none"
        self.rates = dilation_rates(settings, patch=spec.patch) if dilated else ()
        block, n_blocks = pooling_blocks(settings, patch=spec.patch)
        self.alignment = block if settings.attention else _DEEPEST
        self.least_side = spec.patch if settings.attention else _DEEPEST
        self._build_encoder(spec.n_bands, settings)
        # Without skips no decoder would see the attended features of strides 2 and 4.
        attended = [s for s in settings.attention if settings.skips or s in {1, _DEEPEST}]
        self.attention = nn.ModuleDict(
            {
                str(stride): SpectralSpatialAttention(
                    settings.widths[STRIDES.index(stride)],
                    block=block // stride,
                    n_blocks=n_blocks,
                    norm=settings.batch_norm,
                )
                for stride in attended
            }
        )
        self.reach = _reach(settings, attended, rates=self.rates, patch=spec.patch, block=block)
        self.dropout = nn.Dropout2d(settings.dropout)
        paths = sorted({path for _, path in self.tasks})
        self.decoders = nn.ModuleDict({path: Decoder(settings) for path in paths})
        half = settings.decoder_width // 2
        self.heads = nn.ModuleDict(
            {head_name(task.name): nn.Conv2d(half, task.channels, 1) for task in spec.tasks}
        )

    def _build_encoder(self, n_bands: int, settings: TaigaSettings) -> None:
        widths, norm = settings.widths, settings.batch_norm
        self.stem = conv(n_bands, widths[0], 3, norm=norm)
        self.stages = nn.ModuleList(
            _blocks(settings, width, count)
            for width, count in zip(widths, settings.blocks, strict=True)
        )
        self.transitions = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(2), conv(a, b, 1, norm=norm))
            if settings.downsampling == "average"
            else halving_conv(a, b, norm=norm)
            for a, b in pairwise(widths)
        )
        self.aspp: nn.Module = nn.Identity()
        if self.rates:
            dense = settings.aspp == "dense_sum"
            self.aspp = GatedAspp(widths[-1], self.rates, dense=dense, norm=norm)

    def encode(self, x: Tensor, mask: Tensor) -> list[Tensor]:
        """Return the features of strides 2, 4 and 8, attended where the settings say so.

        The attention of stride 1 stands in the trunk, as no decoder reaches that stride; the
        others stand on the way to the decoders and leave the trunk alone.
        """
        x = self._attend(self.stages[0](self.stem(x)), mask, stride=1)
        levels = []
        for stage, transition in zip(list(self.stages)[1:], self.transitions, strict=True):
            x = stage(transition(x))
            levels.append(x)
        levels[-1] = self.aspp(levels[-1])
        pairs = zip(levels, STRIDES[1:], strict=True)
        return [self._attend(level, mask, stride=stride) for level, stride in pairs]

    def _attend(self, x: Tensor, mask: Tensor, *, stride: int) -> Tensor:
        key = str(stride)
        if key not in self.attention:
            return x
        seen = mask if stride == 1 else functional.avg_pool2d(mask, stride)
        attended: Tensor = self.attention[key](x, seen)
        return attended

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Map ``(batch, band, y, x)`` to each task's raw numbers at its output's stride."""
        shallow, middle, deep = self.encode(x, mask)
        levels = (shallow, middle, self.dropout(deep))
        decoded = {path: decoder(levels) for path, decoder in self.decoders.items()}
        raw = {name: self.heads[head_name(name)](decoded[path]) for name, path in self.tasks}
        return {
            name: value if self.strides[name] == _DECODED else enlarge(value, 2)
            for name, value in raw.items()
        }


def _path(kind: Kind) -> str:
    return "for_values" if kind is Kind.CONTINUOUS else "for_classes"


def _reach(
    settings: TaigaSettings,
    attended: Sequence[int],
    *,
    rates: Sequence[int],
    patch: int,
    block: int,
) -> int:
    """Add up what each layer sees on one side, in input pixels; an upper bound."""
    sight = Sight(patch, settings.architecture)
    sight.conv(3)
    for i, count in enumerate(settings.blocks):
        if i:
            sight.down()
        sight.conv(3, times=count if settings.residual else _PLAIN)
    if rates:
        sight.pixels += _DEEPEST * (sum(rates) if settings.aspp == "dense_sum" else max(rates))
    # Half a window, one block by bilinear up-sampling, the place within a block; then a 3x3.
    for stride in {1, max(attended, default=0)} & set(attended):
        sight.pixels += patch // 2 + 2 * block + stride
    sight.conv(3, times=2)
    for _ in range(2):
        sight.up()
        sight.conv(3, times=1 if settings.residual else _PLAIN)
    sight.up()
    return sight.pixels

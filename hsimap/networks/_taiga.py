"""The multitask network of Chhapariya et al. 2024 (arXiv 2407.16384), variant "B3".

A residual encoder over strides 1 to 8, one gated dense ASPP, residual attention, and one light
decoder for the classes and one for the values. ``docs/notation.md`` gives the equations.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.errors import UsageError
from hsimap.networks._attention import SpectralSpatialAttention
from hsimap.networks._layers import Bottleneck, conv, conv_norm
from hsimap.networks._spec import STRIDES, dilation_rates, head_name, pooling_blocks
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.networks._spec import NetworkSpec, TaigaSizes

_DEEPEST: Final = STRIDES[-1]
_DECODED: Final = 2
"""Stride at which the decoders end and the heads stand."""


class GatedAspp(nn.Module):
    """Dilated branches added under learned gates (eq. 5): ``f + sum sigmoid(lambda_i) y_i``."""

    def __init__(self, channels: int, rates: Sequence[int], *, dense: bool) -> None:
        super().__init__()
        wide = channels * 3 // 2
        self.dense = dense
        self.branches = nn.ModuleList(
            nn.Sequential(conv(channels, wide, 3, rate), conv_norm(wide, channels, 1))
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

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.pool = conv(widths[3], width, 1)
        """The paper's channel pooling."""
        self.deep = nn.Sequential(Bottleneck(width, width, half), Bottleneck(width, width, half))
        self.middle = Bottleneck(width + widths[2], width, quarter)
        self.shallow = Bottleneck(width + widths[1], half, quarter // 2)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map the features of strides 2, 4 and 8 to ``(batch, width / 2, y / 2, x / 2)``."""
        shallow, middle, deep = levels
        x = self.deep(self.pool(deep))
        x = self.middle(torch.cat([_double(x), middle], dim=1))
        result: Tensor = self.shallow(torch.cat([_double(x), shallow], dim=1))
        return result


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Taiga(nn.Module):
    """Encoder, decoders and heads; normalisation and activations are ``MappingNetwork``'s.

    Parameters
    ----------
    spec : NetworkSpec
        With settings of the architecture ``taiga``.

    Raises
    ------
    UsageError
        If the training patch is too small for the dilation rates or no multiple of stride and
        pooling block, or an output's stride is neither 1 nor 2.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        sizes = spec.settings.taiga()
        self.tasks = tuple((task.name, _path(task.kind)) for task in spec.tasks)
        self.strides = {output.task: output.stride for output in spec.outputs}
        if not set(self.strides.values()) <= {1, _DECODED}:
            raise UsageError(
                f"outputs of taiga have stride 1 or {_DECODED}, got {sorted(self.strides.items())}"
            )
        self.rates = dilation_rates(spec.settings, patch=spec.patch)
        block, n_blocks = pooling_blocks(spec.settings, patch=spec.patch)
        self.alignment = block if sizes.attention else _DEEPEST
        """Input sides are multiples of this, in pixels."""
        self.least_side = spec.patch if sizes.attention else _DEEPEST
        """Input sides are not below this, in pixels: the attention's window fits in."""
        self.reach = _reach(sizes, rates=self.rates, patch=spec.patch, block=block)
        """One-sided receptive field in pixels, an upper bound."""
        self._build_encoder(spec.n_bands, sizes)
        self.attention = nn.ModuleDict(
            {
                str(stride): SpectralSpatialAttention(
                    sizes.widths[STRIDES.index(stride)], block=block // stride, n_blocks=n_blocks
                )
                for stride in sizes.attention
            }
        )
        self.dropout = nn.Dropout2d(spec.settings.dropout)
        width = sizes.decoder_width
        paths = sorted({path for _, path in self.tasks})
        self.decoders = nn.ModuleDict({path: Decoder(sizes.widths, width) for path in paths})
        self.heads = nn.ModuleDict(
            {head_name(task.name): nn.Conv2d(width // 2, task.channels, 1) for task in spec.tasks}
        )

    def _build_encoder(self, n_bands: int, sizes: TaigaSizes) -> None:
        self.stem = conv(n_bands, sizes.widths[0], 3)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Bottleneck(width, width, width // 2) for _ in range(count)))
            for width, count in zip(sizes.widths, sizes.blocks, strict=True)
        )
        self.transitions = nn.ModuleList(
            nn.Sequential(nn.AvgPool2d(2), conv(a, b, 1)) for a, b in pairwise(sizes.widths)
        )
        self.aspp = GatedAspp(sizes.widths[-1], self.rates, dense=sizes.aspp == "dense_sum")

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
            name: value if self.strides[name] == _DECODED else _double(value)
            for name, value in raw.items()
        }


def _path(kind: Kind) -> str:
    return "for_values" if kind is Kind.CONTINUOUS else "for_classes"


def _reach(sizes: TaigaSizes, *, rates: Sequence[int], patch: int, block: int) -> int:
    """Add up what each layer sees on one side, in input pixels; an upper bound."""
    # A 3x3 sees its stride, a transition the rest of its cell (the stride above).
    encoder = 1 + sum(s * n for s, n in zip(STRIDES, sizes.blocks, strict=True)) + sum(STRIDES[:-1])
    aspp = _DEEPEST * (sum(rates) if sizes.aspp == "dense_sum" else max(rates))
    # Half a window, one block by bilinear up-sampling, the place within a block; then a 3x3.
    attention = sum(
        patch // 2 + 2 * block + stride
        for stride in {1, max(sizes.attention, default=0)}
        if stride in sizes.attention
    )
    # Two 3x3 at stride 8; up-sampling and a 3x3 at strides 4 and 2; up-sampling of the outputs.
    decoder = 2 * _DEEPEST + (_DEEPEST + 4) + (4 + 2) + 2
    return encoder + aspp + attention + decoder

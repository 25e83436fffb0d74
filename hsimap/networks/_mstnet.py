"""A pure transformer encoder with a multilevel decoder, in the style of MSTNet."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from hsimap.errors import UsageError
from hsimap.networks._backbone import Baseline, Sight, enlarge, shrink
from hsimap.networks._layers import conv_relu
from hsimap.networks._windows import WindowTransformer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.networks._baseline_settings import MstNetSettings
    from hsimap.networks._spec import NetworkSpec

_TAPS: Final = 4
"""Levels that the decoder sees."""


class MstNet(Baseline):
    """After Yu et al. 2022 (IEEE TGRS 60): squares of pixels as tokens, four levels decoded.

    Its attention is global on a training patch; elsewhere the same windows lie on a fixed grid.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : MstNetSettings
        Its sizes.

    Raises
    ------
    UsageError
        If the window is no multiple of a token or does not divide the training patch, or an
        output's stride is not 1.
    """

    def __init__(self, spec: NetworkSpec, settings: MstNetSettings) -> None:
        super().__init__(spec)
        window, token = settings.window or spec.patch, settings.token
        if window % token or spec.patch % window:
            raise UsageError(
                f"the window of mstnet_style must be a multiple of the token, {token} px, and"
                f" divide the training patch of {spec.patch} px; got {window}"
            )
        self.alignment = self.least_side = window
        self.token = token
        width = settings.width
        self.embed = nn.Conv2d(spec.n_bands, width, token, stride=token)
        self.encoder = WindowTransformer(
            width, settings.heads, depth=settings.depth, side=window // token,
            dropout=settings.dropout,
        )  # fmt: skip
        self.decoder = Decoder(width, settings.decoder_width, token=token)
        sight = Sight(spec.patch, settings.architecture)
        sight.down(token)
        sight.window(window)
        sight.conv(3)
        for _ in self.decoder.steps:
            sight.up()
            sight.conv(3)
        self.finish(spec, self.decoder.width, sight)

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to features of the same size; ``mask``: 1 = valid."""
        levels = self.encoder(self.embed(x), shrink(mask, self.token), taps=_TAPS)
        decoded: Tensor = self.decoder(levels)
        return decoded


class Decoder(nn.Module):
    """Reduce each level, join them, and double the size until a pixel is a pixel.

    Parameters
    ----------
    inside, width : int
        Channels of a level, and after reduction; the first two doublings of the size halve them.
    token : int
        Pixels along a token's side.
    """

    def __init__(self, inside: int, width: int, *, token: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(conv_relu(inside, width, 1) for _ in range(_TAPS))
        self.join = conv_relu(_TAPS * width, width, 3)
        widths = [max(width // 4, width >> i) for i in range(token.bit_length())]
        self.steps = nn.ModuleList(conv_relu(a, b, 3) for a, b in pairwise(widths))
        self.width = widths[-1]
        """Channels of what it returns."""

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Map features of tokens to ``(batch, channel, y, x)`` features of pixels."""
        reduced = [part(level) for part, level in zip(self.reduce, levels, strict=True)]
        joined: Tensor = self.join(torch.cat(reduced, dim=1))
        for step in self.steps:
            joined = step(enlarge(joined, 2))
        return joined

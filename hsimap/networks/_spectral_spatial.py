"""A compact network for small scenes: spectral mixing, then a few spatial residual blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.errors import UsageError
from hsimap.networks._backbone import Backbone
from hsimap.networks._layers import LEAST_SHARE, ValidBatchNorm
from hsimap.networks._spec import head_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.networks._spec import NetworkSpec
    from hsimap.networks._taiga_settings import SpectralSpatialSettings


class SpectralLayer(nn.Module):
    """A pointwise convolution over the channels, normalisation and ReLU."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(inside, outside, 1, bias=False)
        self.norm = ValidBatchNorm(outside)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, inside, y, x)`` to ``(batch, outside, y, x)``; invalid pixels stay 0."""
        return functional.relu(self.norm(self.mix(x), mask)) * mask


class SpatialBlock(nn.Module):
    """A spatial and a pointwise convolution beside the identity."""

    def __init__(self, width: int, *, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.spread = nn.Conv2d(
            width, width, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.inner_norm = ValidBatchNorm(width)
        self.mix = nn.Conv2d(width, width, 1, bias=False)
        self.outer_norm = ValidBatchNorm(width)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Keep the shape of ``(batch, channel, y, x)``; invalid pixels stay 0."""
        y = functional.relu(self.inner_norm(self.spread(x), mask))
        y = self.dropout(self.outer_norm(self.mix(y), mask))
        return functional.relu(x + y) * mask


class SpectralSpatial(Backbone):
    """Pointwise layers over the bands, spatial blocks, and heads that see both.

    Features of invalid pixels are 0 after every layer, as beyond the edge of the input: an invalid
    pixel and an edge are the same to it, in training statistics too.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : SpectralSpatialSettings
        Its sizes.

    Raises
    ------
    UsageError
        If an output's stride is not 1.
    """

    alignment = least_side = 1
    components: Tensor

    def __init__(self, spec: NetworkSpec, settings: SpectralSpatialSettings) -> None:
        super().__init__()
        for output in spec.outputs:
            if output.stride != 1:
                raise UsageError(
                    f"outputs of spectral_spatial have stride 1, but {output.task!r} has"
                    f" {output.stride}; leave the stride out"
                )
        width, dropout = settings.width, settings.dropout
        inputs = (spec.n_bands, *(width,) * (settings.spectral_layers - 1))
        self.stem = nn.ModuleList(SpectralLayer(inside, width) for inside in inputs)
        self.stem_dropout = nn.Dropout2d(dropout)
        self.body = nn.ModuleList(
            SpatialBlock(width, kernel=settings.kernel, dilation=d, dropout=dropout)
            for d in settings.dilations
        )
        self.context = settings.context
        self.head_dropout = nn.Dropout(dropout)
        seen = width * (2 + len(settings.context)) + settings.components
        if settings.components:
            zeros = torch.zeros(settings.components, spec.n_bands, 1, 1)
            self.register_buffer("components", zeros)
        self.n_components = settings.components
        self.heads = nn.ModuleDict(
            {head_name(task.name): nn.Conv2d(seen, task.channels, 1) for task in spec.tasks}
        )
        self.tasks = tuple(task.name for task in spec.tasks)
        spatial = sum(d * (settings.kernel // 2) for d in settings.dilations)
        self.reach = spatial + max(settings.context, default=1) // 2

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Map ``(batch, band, y, x)`` to each task's raw numbers; ``mask``: 1 = valid."""
        bands = x
        for i, layer in enumerate(self.stem):
            x = layer(x if i == 0 else self.stem_dropout(x), mask)
        spectral = x
        for block in self.body:
            x = block(x, mask)
        features = [spectral, x, *window_means(x, mask, self.context, by_matrix=self.training)]
        shared = self.head_dropout(torch.cat(features, dim=1))
        if self.n_components:
            shared = torch.cat([shared, functional.conv2d(bands, self.components)], dim=1)
        return {name: self.heads[head_name(name)](shared) for name in self.tasks}

    def show_components(self, weights: Tensor) -> None:
        """Take what weighs normalised bands, ``(component, band)``; the rest stay 0."""
        shown = weights[: self.n_components]
        self.components[: len(shown), :, 0, 0] = shown.to(self.components)


def window_means(
    x: Tensor, mask: Tensor, sides: Sequence[int], *, by_matrix: bool = False
) -> list[Tensor]:
    """Return the mean over the valid pixels of a square window round each pixel, for each side.

    Parameters
    ----------
    x : Tensor
        ``(batch, channel, y, x)``, 0 where invalid.
    mask : Tensor
        ``(batch, 1, y, x)``: 1 = valid.
    sides : sequence of int
        Odd sides of the windows.
    by_matrix : bool
        Sum with banded matrices instead of pooling: the same means in a fraction of the time while
        the map is no larger than a training patch, and so are their gradients.

    Returns
    -------
    list of Tensor
        Of the shape of ``x``; 0 where a window holds no valid pixel.
    """
    box = _box_by_matrix if by_matrix else _box
    return [box(x, side) / box(mask, side).clamp(min=LEAST_SHARE) for side in sides]


def _box(x: Tensor, side: int) -> Tensor:
    """Sum of a window over its area, pixels beyond the edge counting 0; one axis at a time."""
    half = side // 2
    x = functional.avg_pool2d(x, (side, 1), stride=1, padding=(half, 0))
    return functional.avg_pool2d(x, (1, side), stride=1, padding=(0, half))


def _box_by_matrix(x: Tensor, side: int) -> Tensor:
    """Do what :func:`_box` does as two products of matrices."""
    rows, cols = (_band(n, side, like=x) for n in x.shape[-2:])
    return rows @ (x @ cols)


def _band(n: int, side: int, *, like: Tensor) -> Tensor:
    """Return ``(n, n)``: 1 / side where row and column lie within half a side, else 0."""
    at = torch.arange(n, device=like.device)
    return ((at[:, None] - at).abs() <= side // 2).to(like.dtype) / side

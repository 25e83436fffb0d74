"""Two networks of 3-D convolutions for a pixel in the middle of its patch, run densely.

Where the originals cut a patch for each pixel and shrink it to one vector, these keep the grid:
convolutions are padded in y and x (never along the bands), each pooling halves the grid, and the
layer that all tasks share is a convolution with the kernel that it had on the patch. On a pixel far
enough from the edge the numbers are those of the original on the patch round it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.networks._backbone import Baseline, Sight, shrink
from hsimap.networks._layers import NO_PIXEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.networks._baseline_settings import VolumeSettings
    from hsimap.networks._spec import NetworkSpec
    from hsimap.tasks import Task

_SPECTRAL: Final = (1, 3, 5, 11)
"""Kernels of the parallel convolutions along the bands."""


class VolumeConv(nn.Module):
    """A convolution over bands, y and x that keeps the size in y and x.

    Parameters
    ----------
    inside, outside : int
        Channels.
    depth, side : int
        Of the kernel, along the bands and in pixels.
    stride : int
        Along the bands.
    """

    def __init__(
        self, inside: int, outside: int, *, depth: int, side: int, stride: int = 1
    ) -> None:
        super().__init__()
        before, after = (side - 1) // 2, side // 2
        self.padding = (before, after, before, after)
        self.conv = nn.Conv3d(inside, outside, (depth, side, side), stride=(stride, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, inside, band, y, x)`` to ``(batch, outside, fewer bands, y, x)``."""
        result: Tensor = self.conv(functional.pad(x, self.padding))
        return result


class VolumeNetwork(Baseline):
    """Three 3-D convolutions, two poolings, a shared layer, and a layer and a head a task.

    Parameters
    ----------
    spec : NetworkSpec
        What it is built for.
    settings : VolumeSettings
        Its sizes.

    Raises
    ------
    UsageError
        If the training patch is too small for the shared layer, or an output's stride is not 1.
    """

    alignment = least_side = 4
    sides: Sequence[int]
    """Sides of the kernels of the three convolutions, in pixels of their level."""
    shared_side: int
    """Side of the shared layer's kernel, in pixels of stride 4."""
    normed: bool
    """Whether batch normalisation stands after the convolutions."""

    def __init__(self, spec: NetworkSpec, settings: VolumeSettings) -> None:
        super().__init__(spec)
        self.task_width = settings.task_width
        filters, self.strides = settings.filters, (settings.spectral_stride, 1, 1)
        left, inputs = spec.n_bands, (1, *filters[:-1])
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        sight = Sight(spec.patch, settings.architecture)
        for i, (side, depth, stride) in enumerate(
            zip(self.sides, settings.depths, self.strides, strict=True)
        ):
            kernel = min(depth, left)
            self.convs.append(
                VolumeConv(inputs[i], filters[i], depth=kernel, side=side, stride=stride)
            )
            self.norms.append(nn.BatchNorm3d(filters[i]) if self.normed else nn.Identity())
            left = (left - kernel) // stride + 1
            if i == 0:
                self.build_spectral(filters[0], left)
            sight.conv(side)
            if i < len(filters) - 1:
                sight.down()
        self.inner_dropout = nn.Dropout(settings.dropout)
        self.shared = nn.Conv2d(
            filters[-1] * left, settings.shared_width, self.shared_side,
            padding=self.shared_side // 2,
        )  # fmt: skip
        sight.conv(self.shared_side)
        self.dropout = nn.Dropout2d(0.0)  # it stands before the shared layer here
        self.finish(spec, settings.shared_width, sight)

    def build_spectral(self, width: int, n_bands: int) -> None:
        """Build what stands between the first pooling and the second convolution."""

    def spectral(self, x: Tensor) -> Tensor:
        """Apply what stands between the first pooling and the second convolution."""
        return x

    def head(self, task: Task, width: int) -> nn.Module:
        """Return a layer and a head."""
        return nn.Sequential(
            nn.Conv2d(width, self.task_width, 1),
            nn.ReLU(),
            nn.Conv2d(self.task_width, task.channels, 1),
        )

    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to features of stride 4; ``mask``: 1 = valid."""
        volume = x.unsqueeze(1)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            volume = functional.relu(norm(conv(volume)))
            if i < len(self.convs) - 1:
                volume, mask = pool_volume(volume, mask), shrink(mask, 2)
            if i == 0:
                volume = self.spectral(volume)
        flat = self.inner_dropout(volume.flatten(1, 2))
        return functional.relu(self.shared(flat))


class Pham(VolumeNetwork):
    """The network of Pham's thesis: seven convolutions, one shared layer, two a task."""

    sides = (3, 3, 3)
    shared_side = 7
    normed = True

    def build_spectral(self, width: int, n_bands: int) -> None:
        """Build the parallel convolutions along the bands, cut to what is left of them."""
        # Outer taps of a longer kernel would only ever see padding.
        kernels = [min(kernel, 2 * n_bands - 1) for kernel in _SPECTRAL]
        self.parallel = nn.ModuleList(
            nn.Conv3d(width, width, (k, 1, 1), padding=(k // 2, 0, 0)) for k in kernels
        )
        self.parallel_norm = nn.BatchNorm3d(width)

    def spectral(self, x: Tensor) -> Tensor:
        """Return the sum of the parallel convolutions, normalised."""
        total = torch.stack([conv(x) for conv in self.parallel]).sum(dim=0)
        return functional.relu(self.parallel_norm(total))


class Mottus(VolumeNetwork):
    """The baseline of the TAIGA data set, after the 3-D network of Chen et al. 2016."""

    sides = (4, 5, 4)
    shared_side = 5
    normed = False


def pool_volume(x: Tensor, mask: Tensor) -> Tensor:
    """Return maxima over the valid pixels of 2x2 cells, each band alone; 0 where there are none.

    Parameters
    ----------
    x : Tensor
        ``(batch, channel, band, y, x)``.
    mask : Tensor
        ``(batch, 1, y, x)``: above 0 where valid.
    """
    seen = torch.where(mask.unsqueeze(2) > 0, x, NO_PIXEL)
    some = functional.max_pool2d(mask, 2).unsqueeze(2) > 0
    return torch.where(some, functional.max_pool3d(seen, (1, 2, 2)), 0.0)

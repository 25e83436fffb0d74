"""A compact network for small scenes: spectral mixing, then a few spatial residual blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.errors import UsageError
from hsimap.networks._spec import head_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hsimap.networks._spec import NetworkSettings
    from hsimap.tasks import Task


class SpatialBlock(nn.Module):
    """A spatial and a pointwise convolution beside the identity."""

    def __init__(self, width: int, *, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.path = nn.Sequential(
            nn.Conv2d(width, width, kernel, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.Dropout2d(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep shape."""
        return functional.relu(x + self.path(x))


class SpectralSpatial(nn.Module):
    """Two pointwise layers over the bands, spatial blocks, and heads that see both.

    Parameters
    ----------
    settings : NetworkSettings
        Resolved: the first of ``widths``, the first of ``blocks``, kernel, dilations, dropout.
    n_bands : int
        Input channels.
    tasks : sequence of Task
        One head each.
    strides : dict
        Task name to the stride of its output; only 1 is offered.
    """

    alignment = 1

    def __init__(
        self,
        settings: NetworkSettings,
        *,
        n_bands: int,
        tasks: Sequence[Task],
        strides: dict[str, int],
    ) -> None:
        super().__init__()
        if set(strides.values()) != {1}:
            raise UsageError("the architecture spectral_spatial has outputs of stride 1 only")
        width, depth = (settings.widths or (64,))[0], (settings.blocks or (2,))[0]
        dilations = settings.dilations or (1,) * depth
        if len(dilations) != depth:
            raise UsageError(f"{depth} blocks need {depth} dilations, got {dilations}")
        self.stem = nn.Sequential(
            nn.Conv2d(n_bands, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(settings.dropout),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.body = nn.Sequential(
            *(
                SpatialBlock(width, kernel=settings.kernel, dilation=d, dropout=settings.dropout)
                for d in dilations
            )
        )
        self.tasks = [task.name for task in tasks]
        self.dropout = nn.Dropout(settings.dropout)
        self.heads = nn.ModuleDict(
            {head_name(task.name): nn.Conv2d(2 * width, task.channels, 1) for task in tasks}
        )
        self.reach = sum(d * (settings.kernel // 2) for d in dilations)
        """One-sided receptive field in pixels."""

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return each task's raw numbers; features of invalid pixels are 0 (``mask`` 0)."""
        spectral = self.stem(x) * mask
        spatial = self.body(spectral)
        features = self.dropout(torch.cat([spectral, spatial], dim=1))
        return {name: self.heads[head_name(name)](features) for name in self.tasks}

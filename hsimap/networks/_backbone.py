"""What an architecture gives to a deployable network, and what the baselines share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from hsimap.errors import UsageError
from hsimap.networks._layers import NO_PIXEL
from hsimap.networks._spec import head_name

if TYPE_CHECKING:
    from hsimap.networks._spec import NetworkSpec
    from hsimap.tasks import Task


class Backbone(nn.Module, ABC):
    """Normalised bands in, each task's raw numbers out."""

    alignment: int
    """Input sides are multiples of this, in pixels."""
    least_side: int
    """Input sides are not below this, in pixels."""
    reach: int
    """One-sided receptive field in pixels, attention window included; an upper bound."""
    n_components: int = 0
    """Common components of the training's spectra that there is room for."""

    def show_components(self, weights: Tensor) -> None:
        """Take what weighs normalised bands, ``(component, band)``, where there is room for it."""

    @property
    def members(self) -> tuple[Backbone, ...]:
        """The networks that it is made of: itself, where it is no ensemble."""
        return (self,)

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Map ``(batch, band, y, x)`` to each task's raw numbers; ``mask``: 1 = valid."""


class Baseline(Backbone):
    """Features, a 1x1 convolution a task, and bilinear up-sampling to the size of the input.

    Parameters
    ----------
    spec : NetworkSpec
        Its tasks and outputs count here.

    Raises
    ------
    UsageError
        If an output's stride is not 1.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        for output in spec.outputs:
            if output.stride != 1:
                raise UsageError(
                    f"outputs of {spec.settings.architecture} have stride 1, but {output.task!r}"
                    f" has {output.stride}; leave the stride out"
                )
        self._tasks = tuple(task.name for task in spec.tasks)
        self.dropout = nn.Dropout2d(spec.settings.dropout)

    def finish(self, spec: NetworkSpec, width: int, sight: Sight) -> None:
        """Build the heads on features of ``width`` channels and take the reach at their stride."""
        self.heads = nn.ModuleDict(
            {head_name(task.name): self.head(task, width) for task in spec.tasks}
        )
        self._stride = sight.stride
        if sight.stride > 1:
            sight.up(sight.stride)
        self.reach = sight.pixels

    def head(self, task: Task, width: int) -> nn.Module:
        """Return what makes a task's numbers of features."""
        return nn.Conv2d(width, task.channels, 1)

    @abstractmethod
    def features(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map ``(batch, band, y, x)`` to what all heads see; ``mask``: 1 = valid."""

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Map ``(batch, band, y, x)`` to each task's raw numbers; ``mask``: 1 = valid."""
        shared = self.dropout(self.features(x, mask))
        return {
            name: enlarge(self.heads[head_name(name)](shared), self._stride) for name in self._tasks
        }


class Sight:
    """Adds up what each layer sees on one side, in input pixels; an upper bound.

    Parameters
    ----------
    patch : int
        Side of the training patch in pixels. A convolution whose outer taps would only see padding
        in it is refused: they would stay random, and fire on every larger tile.
    architecture : str
        For errors.
    """

    def __init__(self, patch: int, architecture: str) -> None:
        self.pixels, self.stride = 0, 1
        self._patch, self._architecture = patch, architecture

    def conv(self, kernel: int, *, times: int = 1, dilation: int = 1) -> None:
        """Take in convolutions one after the other, at the present stride.

        Raises
        ------
        UsageError
            If their outer taps lie past the training patch.
        """
        outer = self.stride * dilation * (kernel // 2)
        if outer >= self._patch:
            raise UsageError(
                f"a convolution of {self._architecture} reaches {outer} px to a side, past the"
                f" training patch of {self._patch} px: its outer taps would only ever see padding;"
                f" choose a patch of more than {outer} px"
            )
        self.pixels += outer * times

    def down(self, factor: int = 2) -> None:
        """Take in a step to a coarser grid: the rest of its cell."""
        self.pixels += self.stride * (factor - 1)
        self.stride *= factor

    def up(self, factor: int = 2, *, smooth: bool = True) -> None:
        """Take in a step to a finer grid; where smooth, it also sees the next coarse cell."""
        self.pixels += self.stride if smooth else 0
        self.stride //= factor

    def window(self, side: int) -> None:
        """Take in squares of ``side`` input pixels on a fixed grid, seen as a whole."""
        self.pixels += side - 1


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Return ``(batch, channel, y, x)`` up-sampled bilinearly by a whole factor."""
    if factor == 1:
        return x
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def shrink(mask: Tensor, factor: int) -> Tensor:
    """Return the valid share of each ``factor`` x ``factor`` cell of ``(batch, 1, y, x)``."""
    return mask if factor == 1 else functional.avg_pool2d(mask, factor)


def max_pool(x: Tensor, mask: Tensor, kernel: int = 2, *, padding: int = 0) -> Tensor:
    """Return maxima over the valid pixels of windows of stride 2; 0 where a window holds none.

    Parameters
    ----------
    x : Tensor
        ``(batch, channel, y, x)``.
    mask : Tensor
        ``(batch, 1, y, x)``: above 0 where valid.
    kernel, padding : int
        Of the windows, in pixels.
    """
    seen = torch.where(mask > 0, x, NO_PIXEL)
    highest = functional.max_pool2d(seen, kernel, stride=2, padding=padding)
    some = functional.max_pool2d(mask, kernel, stride=2, padding=padding)
    return torch.where(some > 0, highest, 0.0)

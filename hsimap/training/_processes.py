"""The same numbers in every process."""

from __future__ import annotations

import torch
from torch import Tensor, distributed


def common_losses(losses: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean loss of each task over the processes that have it, and which have one at all.

    Parameters
    ----------
    losses, present : Tensor
        ``(task,)`` of this process; ``present`` is 1 where its part of the batch is labelled.
    """
    both = torch.stack([losses.detach() * present, present.detach()])
    if _several():
        distributed.all_reduce(both)
    total, count = both
    return total / count.clamp_min(1), (count > 0).to(losses.dtype)


def common_mean(values: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes, as gradients are averaged."""
    if not _several():
        return values
    mean = values.detach().clone()
    distributed.all_reduce(mean)
    return mean / distributed.get_world_size()


def _several() -> bool:
    ready = distributed.is_available() and distributed.is_initialized()
    return ready and distributed.get_world_size() > 1

"""The network, the losses of its tasks and their balance as one module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hsimap.tasks import Kind
from hsimap.training._losses import absolute_error, cross_entropy, is_labelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsimap.networks import MappingNetwork


class Objective(nn.Module):
    """What is minimised. One module, so that several processes keep all of it in step.

    Parameters
    ----------
    network : MappingNetwork
        The network.
    balance : Module
        Makes one total of the losses of the tasks.
    class_weights : mapping of str to Tensor
        Categorical task to ``(class,)`` weights; a task that is not named is not weighted.
    """

    def __init__(
        self, network: MappingNetwork, balance: nn.Module, class_weights: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.network, self.balance = network, balance
        self._tasks = network.spec.tasks
        self._scaling = network.spec.scaling
        for name, weights in class_weights.items():
            self.register_buffer(f"weights_{name}", weights, persistent=False)

    def forward(
        self, image: Tensor, valid: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the total and the ``(task,)`` losses; the loss of an absent task is 0.

        Parameters
        ----------
        image, valid, targets
            As in :class:`hsimap.training.Batch`.
        """
        logits = self.network.logits(image, valid)
        losses, present = [], []
        for task in self._tasks:
            target = targets[task.name]
            if task.kind is Kind.CATEGORICAL:
                weights = getattr(self, f"weights_{task.name}", None)
                losses.append(cross_entropy(logits[task.name], target, weights))
            else:
                offset, gain = self._scaling[task.name]
                losses.append(absolute_error(logits[task.name], (target - offset) / gain))
            present.append(is_labelled(target).any())
        stacked = torch.stack(losses)
        return self.balance(stacked, torch.stack(present).to(stacked.dtype)), stacked.detach()

"""The network, the losses of its tasks and their balance as one module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hsimap.recipes import LossSettings
from hsimap.tasks import Kind
from hsimap.training._losses import class_loss, is_labelled, value_loss

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hsimap.networks import MappingNetwork
    from hsimap.training._balancing import DynamicAverage, FixedBalance, UncertaintyBalance
    from hsimap.training._gradnorm import GradNormBalance

    Balance = FixedBalance | UncertaintyBalance | GradNormBalance | DynamicAverage


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRules:
    """How the loss of a task is taken."""

    settings: LossSettings = field(default_factory=LossSettings)
    class_weights: Mapping[str, Tensor] = field(default_factory=dict)
    """Categorical task to ``(class,)`` weights; a task that is not named is not weighted."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Continuous task to the largest value that its loss sees, in the task's unit."""


class Objective(nn.Module):
    """What is minimised. One module, so that several processes keep all of it in step.

    Parameters
    ----------
    network : MappingNetwork
        The network.
    balance : Balance
        Makes one total of the losses of the tasks.
    rules : LossRules
        Loss by kind of task, class weights and limits.
    """

    balance: Balance

    def __init__(self, network: MappingNetwork, balance: Balance, rules: LossRules) -> None:
        super().__init__()
        self.network, self.balance = network, balance
        self._tasks = network.spec.tasks
        self._scaling = network.spec.scaling
        self._settings, self._limits = rules.settings, dict(rules.limits)
        for name, weights in rules.class_weights.items():
            self.register_buffer(f"weights_{name}", weights, persistent=False)

    def forward(
        self, image: Tensor, valid: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the total, the ``(task,)`` losses and which tasks are labelled, 1 or 0.

        Parameters
        ----------
        image, valid, targets
            As in :class:`hsimap.training.Batch`.

        Returns
        -------
        total : Tensor
            Scalar, to take gradients of.
        losses : Tensor
            ``(task,)``, detached; 0 for a task that no pixel of the batch carries.
        present : Tensor
            ``(task,)``: 1 where a pixel of the batch carries the task's label.
        """
        logits = self.network.logits(image, valid)
        losses, present = [], []
        for task in self._tasks:
            numbers = logits[task.name]
            target = for_each_member(targets[task.name], numbers)
            if task.kind is Kind.CATEGORICAL:
                weights = getattr(self, f"weights_{task.name}", None)
                loss = class_loss(numbers, target, weights, settings=self._settings)
            else:
                offset, gain = self._scaling[task.name]
                limit = self._limits.get(task.name)
                seen = target if limit is None else target.clamp_max(limit)
                scaled = (seen - offset) / gain
                loss = value_loss(numbers, scaled, settings=self._settings)
            losses.append(loss)
            present.append(is_labelled(target).any())
        stacked = torch.stack(losses).detach()
        shown = torch.stack(present).to(stacked.dtype)
        return self.balance(losses, shown), stacked, shown


def for_each_member(labels: Tensor, numbers: Tensor) -> Tensor:
    """Return labels as often as there are members in an ensemble's numbers, one after the other.

    Parameters
    ----------
    labels : Tensor
        ``(batch, ...)``: all members have the same.
    numbers : Tensor
        ``(member * batch, ...)``, as the network gives them in training.
    """
    members = len(numbers) // len(labels)
    return labels if members == 1 else labels.repeat(members, *(1,) * (labels.ndim - 1))

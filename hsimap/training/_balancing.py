"""One loss from many: how the losses of the tasks are weighted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsimap.tasks import Task

_LIMIT: Final = 6.0
"""|log variance| beyond which it is clamped: weights stay within a factor of 403."""


class FixedBalance(nn.Module):
    """A weighted sum of the losses of the tasks that a batch has labels of.

    Parameters
    ----------
    tasks : sequence of Task
        All tasks.
    weights : mapping of str to float, optional
        By task name; 1 where not given.
    """

    weights: Tensor

    def __init__(self, tasks: Sequence[Task], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        given = weights or {}
        values = torch.tensor([given.get(task.name, 1.0) for task in tasks])
        self.register_buffer("weights", values)

    def forward(self, losses: Tensor, present: Tensor) -> Tensor:
        """Return the total of ``(task,)`` losses; ``present`` ``(task,)`` is 1 where labelled."""
        return (self.weights * losses * present).sum()


class UncertaintyBalance(nn.Module):
    """Weights learned with the network: homoscedastic uncertainty.

    With s = log σ² of a task, learnable and 0 at the start, a categorical task gives
    exp(-s) L + s/2 and a continuous one exp(-s) L/2 + s/2 (Kendall et al. 2018, eq. 10, as
    arXiv 2407.16384 uses it). A task without a label in the batch gives nothing.

    Parameters
    ----------
    tasks : sequence of Task
        All tasks.
    """

    halves: Tensor

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.log_variance = nn.Parameter(torch.zeros(len(tasks)))
        """``(task,)``: s; takes no weight decay."""
        halves = [0.5 if task.kind is Kind.CONTINUOUS else 1.0 for task in tasks]
        self.register_buffer("halves", torch.tensor(halves))

    def forward(self, losses: Tensor, present: Tensor) -> Tensor:
        """Return the total of ``(task,)`` losses; ``present`` ``(task,)`` is 1 where labelled."""
        s = self.log_variance.clamp(-_LIMIT, _LIMIT)
        return ((torch.exp(-s) * losses * self.halves + s / 2) * present).sum()

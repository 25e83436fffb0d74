"""One loss from many: how the losses of the tasks are weighted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from hsimap.tasks import Kind
from hsimap.training._processes import common_losses

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

    def forward(self, losses: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return the total of the tasks' losses; ``present`` ``(task,)`` is 1 where labelled."""
        return (self.weights * torch.stack(tuple(losses)) * present).sum()

    def end_epoch(self) -> None:
        """Do nothing: the weights stay."""


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

    def forward(self, losses: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return the total of the tasks' losses; ``present`` ``(task,)`` is 1 where labelled."""
        s = self.log_variance.clamp(-_LIMIT, _LIMIT)
        return ((torch.exp(-s) * torch.stack(tuple(losses)) * self.halves + s / 2) * present).sum()

    def end_epoch(self) -> None:
        """Do nothing: the weights move with every step."""


class DynamicAverage(nn.Module):
    """Weights from the pace of the losses over the epochs: dynamic weight average.

    With r the mean loss of a task in the last epoch over that in the one before, its weight is
    K softmax(r / T) over the K tasks, and 1 in the first two epochs (Liu et al. 2019, eq. 7). A
    task that an epoch has no label of keeps its weight; the others share what they had together.

    Parameters
    ----------
    n_tasks : int
        All tasks.
    temperature : float
        T: high = nearly equal weights.
    """

    weights: Tensor
    total: Tensor
    count: Tensor
    last: Tensor

    def __init__(self, n_tasks: int, *, temperature: float) -> None:
        super().__init__()
        self._temperature = temperature
        self.register_buffer("weights", torch.ones(n_tasks))
        self.register_buffer("total", torch.zeros(n_tasks))
        self.register_buffer("count", torch.zeros(n_tasks))
        self.register_buffer("last", torch.full((n_tasks,), torch.nan))

    def forward(self, losses: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return the total of the tasks' losses; ``present`` ``(task,)`` is 1 where labelled."""
        stacked = torch.stack(tuple(losses))
        if self.training:
            common, here = common_losses(stacked, present)
            self.total += common * here
            self.count += here
        return (self.weights.clone() * stacked * present).sum()

    @torch.no_grad()
    def end_epoch(self) -> None:
        """Set the weights of the next epoch."""
        seen = self.count > 0
        mean = self.total / self.count.clamp_min(1)
        moving = seen & (self.last > 0)
        if moving.any():
            pace = (mean[moving] / self.last[moving]) / self._temperature
            share = self.weights[moving].sum()
            self.weights[moving] = share * pace.softmax(dim=0)
        self.last[seen] = mean[seen]
        self.total.zero_()
        self.count.zero_()

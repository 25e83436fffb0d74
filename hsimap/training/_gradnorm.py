"""Weights that let all tasks learn at a like pace: GradNorm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn

from hsimap.errors import UsageError
from hsimap.training._processes import common_losses, common_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hsimap.recipes import GradNormSettings

_LEAST_WEIGHT: Final = 1e-3
"""A task is never switched off: its gradient would then never call it back."""
_KERNEL: Final = 4
"""Axes of a convolution's kernel."""


class GradNormBalance(nn.Module):
    """Weights w that equalise the gradients of the tasks, faster for tasks that lag behind.

    With g_i the norm of the gradient of the loss L_i in a shared kernel W, G_i = w_i g_i, and r_i
    the task's L_i / L_i(0) over the mean of these, the sum of abs(G_i - mean(G) r_i^alpha) is made
    small, the second term held constant (Chen et al. 2018, eq. 2; arXiv 2407.16384, eq. 22). Its
    derivative in w_i is sign(G_i - mean(G) r_i^alpha) g_i, so that no second derivative is taken.
    The weights step by Adam, stay positive and keep their sum. A task without a label in the batch
    enters none of the means, and its weight and Adam's averages stay.

    Parameters
    ----------
    n_tasks : int
        All tasks.
    kernels : mapping of str to Parameter
        Parameters of the network by name, in order.
    settings : GradNormSettings
        Alpha, learning rate, steps between updates, and the shared kernel's name.

    Raises
    ------
    UsageError
        If the settings name a layer that the network does not have.
    """

    first: Tensor
    steps: Tensor

    def __init__(
        self, n_tasks: int, kernels: Mapping[str, nn.Parameter], settings: GradNormSettings
    ) -> None:
        super().__init__()
        self._settings = settings
        self.weights = nn.ParameterList(
            nn.Parameter(torch.ones(()), requires_grad=False) for _ in range(n_tasks)
        )
        """Scalars, one a task, so that Adam passes over those that have no gradient."""
        self.register_buffer("first", torch.full((n_tasks,), torch.nan))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._optimiser = torch.optim.Adam(
            self.weights.parameters(), lr=settings.learning_rate, foreach=False
        )
        # Not registered: they are the network's.
        self._kernels = dict(kernels)
        self.layer = settings.layer
        """Name of the shared kernel; None until the first update."""
        if settings.layer is not None and settings.layer not in kernels:
            raise UsageError(
                f"training.gradnorm.layer: the network has no weight {settings.layer!r}; its last"
                f" ones are {', '.join(list(kernels)[-4:])}"
            )

    def forward(self, losses: Sequence[Tensor], present: Tensor) -> Tensor:
        """Return the total of the tasks' losses; ``present`` ``(task,)`` is 1 where labelled.

        In training the weights of the next step are set on the way. The losses come one by one:
        through a stack of them, each would reach the heads of all.
        """
        stacked = torch.stack(tuple(losses))
        weights = torch.stack([weight.detach() for weight in self.weights]).to(stacked.dtype)
        if self.training:
            self._look(losses, stacked, present)
        return (weights * stacked * present).sum()

    def end_epoch(self) -> None:
        """Do nothing: the weights move with the steps."""

    def _look(self, losses: Sequence[Tensor], stacked: Tensor, present: Tensor) -> None:
        """Note first losses, and update the weights where it is time."""
        common, here = common_losses(stacked, present)
        new = self.first.isnan() & (here > 0)
        self.first[new] = common[new].to(self.first.dtype)
        due = int(self.steps) % self._settings.update_every == 0
        self.steps += 1
        if due and int(here.sum()) > 1:
            self._update(common, here > 0, self._norms(losses))

    def _norms(self, losses: Sequence[Tensor]) -> Tensor:
        """Return ``(task,)`` norms of the gradients of the bare losses in the shared kernel."""
        if self.layer is None:
            self.layer = self._find_layer(losses)
        shared = self._kernels[self.layer]
        gradients = [torch.autograd.grad(loss, shared, retain_graph=True)[0] for loss in losses]
        norms: Tensor = common_mean(torch.stack(gradients)).flatten(1).norm(dim=1)
        return norms

    def _find_layer(self, losses: Sequence[Tensor]) -> str:
        """Return the name of the last convolution kernel that every loss depends on."""
        names = [name for name, value in self._kernels.items() if value.ndim == _KERNEL]
        # A convolution without a bias stands before a normalisation, others may feed a gate.
        biased = {name.removesuffix("bias") for name in self._kernels}
        plain = [name for name in names if name.removesuffix("weight") not in biased]
        for chosen in (plain, names):
            kernels = [self._kernels[name] for name in chosen]
            reached = [
                torch.autograd.grad(loss, kernels, retain_graph=True, allow_unused=True)
                for loss in losses
                if kernels
            ]
            for i in reversed(range(len(kernels))):
                if all(gradients[i] is not None for gradients in reached):
                    return chosen[i]
        raise UsageError(
            "balancing: gradnorm finds no convolution that all tasks share; choose uncertainty"
        )

    @torch.no_grad()
    def _update(self, losses: Tensor, here: Tensor, norms: Tensor) -> None:
        weights = torch.stack(list(self.weights)).to(losses.dtype)
        ratio = losses[here] / self.first[here].clamp_min(torch.finfo(losses.dtype).tiny)
        pace = ratio / ratio.mean().clamp_min(torch.finfo(losses.dtype).tiny)
        weighted = weights[here] * norms[here]
        slope = torch.zeros_like(norms)
        goal = weighted.mean() * pace**self._settings.alpha
        slope[here] = (weighted - goal).sign() * norms[here]
        total = weights[here].sum()
        chosen = here.nonzero().flatten().tolist()
        for i in chosen:
            self.weights[i].grad = slope[i].to(self.weights[i].dtype)
        self._optimiser.step()
        self._optimiser.zero_grad()
        moved = torch.stack([self.weights[i] for i in chosen]).clamp_min(_LEAST_WEIGHT)
        for i, value in zip(chosen, moved * (total / moved.sum()), strict=True):
            self.weights[i].copy_(value)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the weights' optimiser, for a checkpoint."""
        return self._optimiser.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go back to a saved state of the weights' optimiser."""
        self._optimiser.load_state_dict(state)

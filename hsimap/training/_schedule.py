"""How the learning rate moves, and a running average of the weights."""

from __future__ import annotations

from contextlib import contextmanager
from math import cos, pi
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

Schedule = Literal["constant", "cosine"]


def rate_factor(step: int, *, warmup: int, total: int, schedule: Schedule, stair: int = 1) -> float:
    """Return what the learning rate is multiplied by at a step.

    Parameters
    ----------
    step : int
        Steps done.
    warmup : int
        Steps of the linear rise to 1.
    total : int
        Steps of the whole run.
    schedule : {"constant", "cosine"}
        After the rise: 1, or half a cosine down to 0.
    stair : int
        Steps over which the rise stands still before it goes on.

    Examples
    --------
    >>> [rate_factor(s, warmup=2, total=4, schedule="cosine") for s in range(5)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step // stair + 1) * stair / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(total - warmup, 1)
    return 0.5 * (1 + cos(pi * min(done, 1.0)))


class WeightAverage:
    """An exponential moving average of a network's weights and running statistics.

    Parameters
    ----------
    network : Module
        The network that is trained; its state is copied.
    decay : float
        Share of the old average that is kept at each step; lower during the first steps, so that
        the average is of the last ``1 / (1 - decay)`` steps or of a tenth of all, if fewer.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay, self._steps = decay, 0
        self.state: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in network.state_dict().items()
        }
        """The average, as a ``state_dict``."""

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the network's present state into the average."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)

    @contextmanager
    def swapped_in(self, network: nn.Module) -> Iterator[None]:
        """Let a network have the average's state for the length of a ``with`` block."""
        trained = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict(self.state)
        try:
            yield
        finally:
            network.load_state_dict(trained)

    def state_dict(self) -> dict[str, object]:
        """Return all that a resumed run needs."""
        return {"steps": self._steps, "state": self.state}

    def load_state_dict(self, saved: dict[str, object]) -> None:
        """Take up a saved average."""
        self._steps = int(saved["steps"])  # type: ignore[call-overload]
        for name, value in saved["state"].items():  # type: ignore[attr-defined]
            self.state[name].copy_(value)

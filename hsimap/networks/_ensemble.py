"""Several networks of one kind, trained side by side, that answer as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hsimap.networks._backbone import Backbone

if TYPE_CHECKING:
    from collections.abc import Sequence


class Ensemble(Backbone):
    """Members that differ in how they start; their raw numbers are averaged.

    In training the numbers of all members stand one after the other on the batch axis, so that
    each has a loss of its own: one loss of the mean would make them parts of one network, which is
    not as good (Jeffares et al. 2023, NeurIPS 36). Averaged logits are the geometric mean of the
    members' probabilities, up to a factor.

    Parameters
    ----------
    members : sequence of Backbone
        Of the same settings.
    """

    def __init__(self, members: Sequence[Backbone]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(members)
        first = members[0]
        self.alignment, self.least_side = first.alignment, first.least_side
        self.reach, self.n_components = first.reach, first.n_components

    @property
    def members(self) -> tuple[Backbone, ...]:
        """The networks."""
        return tuple(self.parts)  # type: ignore[arg-type]  # a ModuleList forgets what is in it

    def show_components(self, weights: Tensor) -> None:
        """Show them to every member."""
        for member in self.members:
            member.show_components(weights)

    def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Map ``(batch, band, y, x)`` to the mean of the members' numbers.

        In training to ``(member * batch, channel, y, x)``, a member's whole batch after the other.
        """
        found = [member(x, mask) for member in self.parts]
        if self.training:
            return {name: torch.cat([one[name] for one in found]) for name in found[0]}
        return {name: sum(one[name] for one in found) / len(found) for name in found[0]}

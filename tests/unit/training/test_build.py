"""Targets on the scale that a recipe asks for, and limits that the loss alone sees."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hsimap.recipes import LossSettings, TrainingSettings
from hsimap.tasks import task_from_mapping
from hsimap.training._balancing import FixedBalance
from hsimap.training._build import target_scaling
from hsimap.training._objective import LossRules, Objective

RANGED = task_from_mapping("height", {"kind": "continuous", "unit": "m", "range": [2, 42]})
FREE = task_from_mapping("height", {"kind": "continuous", "unit": "m"})


def found(**limits):
    return SimpleNamespace(
        scaling={"height": (9.0, 3.0)}, extremes={"height": (1.0, 21.0)}, limits=limits
    )


@pytest.mark.parametrize(
    ("task", "settings", "limits", "expected"),
    [
        (RANGED, {}, {}, (9.0, 3.0)),
        (RANGED, {"targets": "minmax"}, {}, (2.0, 40.0)),
        (FREE, {"targets": "minmax"}, {}, (1.0, 20.0)),
        (RANGED, {"targets": "minmax"}, {"height": 32.0}, (2.0, 30.0)),
        (FREE, {}, {"height": 32.0}, (9.0, 3.0)),
    ],
)
def test_scaling_is_as_the_recipe_says(task, settings, limits, expected):
    assert target_scaling(task, TrainingSettings(**settings), found(**limits)) == expected


class Guess(nn.Module):
    """A network that says 0.5 of its scale everywhere."""

    spec = SimpleNamespace(tasks=(RANGED,), scaling={"height": (2.0, 30.0)})

    def logits(self, image, valid):
        return {"height": torch.full((1, 1, 1, 3), 0.5)}


def test_values_above_the_limit_count_as_the_limit():
    rules = LossRules(settings=LossSettings(continuous="l1"), limits={"height": 32.0})
    objective = Objective(Guess(), FixedBalance((RANGED,)), rules)
    target = torch.tensor([[[32.0, 99.0, torch.nan]]])
    image = torch.zeros(1, 1, 1, 3)
    total, losses, present = objective(image, image, {"height": target})
    assert total.item() == losses.item() == pytest.approx(0.5)
    assert present.tolist() == [1.0]

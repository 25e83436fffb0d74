"""Targets on the scale that a recipe asks for, and limits that the loss alone sees."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hsimap.errors import UsageError
from hsimap.networks import NetworkSpec, NormalisationSpec, build_network, read_settings
from hsimap.recipes import LossSettings, TrainingSettings
from hsimap.spectra import spread_of
from hsimap.tasks import main_output, task_from_mapping
from hsimap.training._balancing import FixedBalance
from hsimap.training._build import build_objective, target_scaling
from hsimap.training._objective import LossRules, Objective
from hsimap.training._pretrain import restoring_twin, take_over

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


MEAN, STD = np.array([900.0, 1100, 1300, 1500, 1700, 1900]), np.array([50.0, 60, 70, 80, 90, 100])
SPECTRA = MEAN + np.random.default_rng(5).normal(size=(500, 2)) @ np.random.default_rng(6).normal(
    0, 50, (2, 6)
)
COVARIANCE = np.cov(SPECTRA.T) + np.diag(STD)


def with_components(n, mode="standardise"):
    linear = mode == "standardise"
    mean, std = (MEAN.tolist(), STD.tolist()) if linear else ((), ())
    settings = {"architecture": "spectral_spatial", "width": 4, "components": n}
    return NetworkSpec(
        settings=read_settings(settings, source="test"),
        n_bands=6,
        patch=16,
        tasks=(FREE,),
        outputs=(main_output(FREE),),
        normalisation=NormalisationSpec(mode=mode, mean=mean, std=std),
        scaling={"height": (0.0, 1.0)},
    )


MEASURED = SimpleNamespace(spread=spread_of(MEAN, COVARIANCE), limits={}, class_counts={})


def test_a_network_is_shown_the_components_of_the_training():
    network = build_objective(with_components(5), TrainingSettings(), MEASURED).network
    image = torch.from_numpy(SPECTRA[:9].T.reshape(1, 6, 3, 3)).float()
    mask = torch.ones(1, 1, 3, 3)
    shown = nn.functional.conv2d(network.normalise(image, mask), network.backbone.components)
    scores = MEASURED.spread.scores
    expected = (SPECTRA[:9] - MEAN) @ scores.T
    n = len(scores)
    assert 0 < n < 5
    np.testing.assert_allclose(shown[0, :n].reshape(n, 9).T, expected, atol=1e-4)
    assert not shown[0, n:].any()


def test_every_member_of_an_ensemble_is_shown_them():
    spec = with_components(2)
    several = spec.settings.model_copy(update={"members": 3})
    both = [
        build_objective(each, TrainingSettings(), MEASURED).network.backbone
        for each in (spec, spec.model_copy(update={"settings": several}))
    ]
    shown = [member.components for backbone in both for member in backbone.members]
    assert len(shown) == 4
    assert shown[0].any()
    for components in shown[1:]:
        assert torch.equal(components, shown[0])


def test_pretraining_keeps_the_components():
    network = build_objective(with_components(2), TrainingSettings(), MEASURED).network
    before = network.backbone.components.clone()
    take_over(network, restoring_twin(network).state_dict())
    assert before.any()
    assert torch.equal(network.backbone.components, before)


def test_components_want_bands_that_are_shifted_and_scaled():
    with pytest.raises(UsageError, match=r"components is 2.* l2; set it to standardise"):
        build_objective(with_components(2, "l2"), TrainingSettings(), MEASURED)


def test_a_network_without_components_is_what_it_was():
    assert "components" not in "".join(build_network(with_components(0)).state_dict())

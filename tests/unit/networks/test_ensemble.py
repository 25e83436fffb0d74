"""Networks that are trained side by side and answer as one."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from hsimap.networks import build_network
from hsimap.networks._backbone import Backbone
from hsimap.networks._ensemble import Ensemble
from hsimap.training._balancing import FixedBalance
from hsimap.training._objective import LossRules, Objective

SIZES = {"architecture": "spectral_spatial", "width": 8, "dilations": (1,)}


def a_batch(n_bands=5, side=8):
    image = torch.rand(2, n_bands, side, side)
    valid = (torch.rand(2, 1, side, side) < 0.9).float()
    cover = torch.randint(-1, 3, (2, side, side))
    height = torch.rand(2, side, side) * 30
    height[torch.rand(2, side, side) < 0.4] = torch.nan
    return image, valid, {"cover": cover, "height": height}


def test_members_start_apart_and_answer_with_their_mean(make_spec):
    network = build_network(make_spec(patch=8, members=3, **SIZES)).eval()
    image, valid, _ = a_batch()
    mask = network.mask(image, valid)
    bands = network.normalise(image, mask)
    each = [member(bands, mask) for member in network.backbone.members]
    assert len(each) == 3
    for name, numbers in network.logits(image, valid).items():
        stacked = torch.stack([one[name] for one in each])
        assert stacked.std(dim=0).min() > 0
        torch.testing.assert_close(numbers, stacked.mean(dim=0))


def test_each_member_has_the_loss_and_the_gradient_that_it_had_alone(make_spec):
    spec = make_spec(patch=8, members=2, **SIZES)
    image, valid, targets = a_batch()
    both = Objective(build_network(spec), FixedBalance(spec.tasks), LossRules()).train()
    single = spec.model_copy(update={"settings": spec.settings.model_copy(update={"members": 1})})
    alone = []
    for member in both.network.backbone.members:
        one = Objective(build_network(single), FixedBalance(spec.tasks), LossRules()).train()
        one.network.backbone.load_state_dict(member.state_dict())
        total, losses, _ = one(image, valid, targets)
        total.backward()
        alone.append((losses, [p.grad for p in one.network.backbone.parameters()]))
    total, losses, present = both(image, valid, targets)
    total.backward()
    assert present.tolist() == [1, 1]
    torch.testing.assert_close(losses, (alone[0][0] + alone[1][0]) / 2)
    for member, (_, gradients) in zip(both.network.backbone.members, alone, strict=True):
        for parameter, gradient in zip(member.parameters(), gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient / 2, rtol=1e-4, atol=1e-6)


class Constant(Backbone):
    """Gives one number everywhere."""

    alignment = least_side = 1
    reach = 0

    def __init__(self, number):
        super().__init__()
        self.number = number

    def forward(self, x, mask):
        return {"height": torch.full_like(mask, self.number)}


@given(numbers=st.lists(st.floats(-9, 9), min_size=1, max_size=5))
def test_the_answer_is_the_mean_and_in_training_every_number_in_turn(numbers):
    ensemble = Ensemble([Constant(number) for number in numbers])
    mask = torch.ones(2, 1, 3, 4)
    mean = ensemble.eval()(mask, mask)["height"]
    torch.testing.assert_close(mean, torch.full((2, 1, 3, 4), sum(numbers) / len(numbers)))
    turns = ensemble.train()(mask, mask)["height"]
    assert turns.shape == (2 * len(numbers), 1, 3, 4)
    for k, number in enumerate(numbers):
        assert (turns[2 * k : 2 * k + 2] == torch.tensor(number)).all()


def test_one_member_is_the_network_itself(make_spec):
    backbone = build_network(make_spec(patch=8, **SIZES)).backbone
    assert backbone.members == (backbone,)
    assert not isinstance(backbone, Ensemble)

"""Learning rate and running average."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hsimap.training._schedule import WeightAverage, rate_factor


def test_rate_rises_linearly_then_stays():
    factors = [rate_factor(s, warmup=5, total=9, schedule="constant") for s in range(9)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 1])


def test_cosine_starts_at_one_and_ends_at_zero():
    factors = [rate_factor(s, warmup=0, total=100, schedule="cosine") for s in range(101)]
    assert factors[0] == 1
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert factors == sorted(factors, reverse=True)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def train_a_little(network, average, steps):
    for _ in range(steps):
        network(torch.randn(2, 2, 4, 4))
        for value in network.parameters():
            value.data.add_(torch.randn_like(value))
        average.update(network)


def test_average_is_the_recursion_by_hand(network):
    average = WeightAverage(network, 0.5)
    expected = network[0].bias.detach().clone()
    for step in range(1, 30):
        network[0].bias.data.add_(1.0)
        average.update(network)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network[0].bias.detach()
    assert torch.allclose(average.state["0.bias"], expected)


def test_average_with_no_decay_is_the_network(network):
    average = WeightAverage(network, 0.0)
    train_a_little(network, average, 3)
    for name, value in network.state_dict().items():
        assert torch.equal(average.state[name], value)


def test_swapping_in_gives_the_network_back(network):
    average = WeightAverage(network, 0.9)
    train_a_little(network, average, 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with average.swapped_in(network):
        assert torch.equal(network[0].weight, average.state["0.weight"])
    for name, value in network.state_dict().items():
        assert torch.equal(before[name], value)


def test_a_saved_average_goes_on_as_if_never_stopped(network):
    average = WeightAverage(network, 0.9)
    train_a_little(network, average, 5)
    other = WeightAverage(network, 0.9)
    other.load_state_dict(average.state_dict())
    train_a_little(network, average, 1)
    other.update(network)
    for name, value in average.state.items():
        assert torch.equal(other.state[name], value)


def test_the_papers_warm_up_rises_by_a_fifth_an_epoch():
    steps = 7  # an epoch
    rates = [
        rate_factor(step, warmup=5 * steps, total=99, schedule="constant", stair=steps)
        for step in range(6 * steps)
    ]
    assert rates == pytest.approx(np.repeat([0.2, 0.4, 0.6, 0.8, 1.0, 1.0], steps))

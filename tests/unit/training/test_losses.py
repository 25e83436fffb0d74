"""Losses and balancing against torch's own and against the formulas by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from hsimap.recipes import LossSettings
from hsimap.tasks import task_from_mapping
from hsimap.training._balancing import FixedBalance, UncertaintyBalance
from hsimap.training._losses import (
    absolute_error,
    class_loss,
    cross_entropy,
    focal,
    is_labelled,
    value_loss,
)

COVER = task_from_mapping("cover", {"kind": "categorical", "classes": {1: "a", 2: "b", 3: "c"}})
HEIGHT = task_from_mapping("height", {"kind": "continuous", "unit": "m"})


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 0.0])])
def test_cross_entropy_is_that_of_torch_over_labelled_pixels(random, weights):
    logits = torch.randn(2, 3, 4, 5, generator=random)
    target = torch.randint(-1, 3, (2, 4, 5), generator=random)
    reference = torch.nn.CrossEntropyLoss(weight=weights, ignore_index=-1)(logits, target)
    assert cross_entropy(logits, target, weights).item() == pytest.approx(reference.item())


def test_absolute_error_reads_labelled_pixels_only(random):
    values = torch.randn(2, 1, 3, 3, generator=random)
    target = torch.full((2, 3, 3), math.nan)
    target[0, 1, 1], target[1, 2, 0] = 1.0, -2.0
    expected = ((values[0, 0, 1, 1] - 1).abs() + (values[1, 0, 2, 0] + 2).abs()) / 2
    assert absolute_error(values, target).item() == pytest.approx(expected.item())


def test_a_batch_without_a_label_gives_zero_and_zero_gradients():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    values = torch.randn(1, 1, 2, 2, requires_grad=True)
    weights = torch.tensor([1.0, 0.0, 2.0])
    none = torch.full((1, 2, 2), -1)
    total = cross_entropy(logits, none, weights) + absolute_error(
        values, torch.full((1, 2, 2), math.nan)
    )
    total.backward()
    assert total.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
    assert torch.equal(values.grad, torch.zeros_like(values))


def test_only_labelled_pixels_receive_a_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    target = torch.tensor([[[-1, 2], [-1, -1]]])
    cross_entropy(logits, target).backward()
    assert (logits.grad.abs().sum(dim=1) > 0).tolist() == [[[False, True], [False, False]]]


def test_the_mean_may_be_over_pixels(random):
    logits = torch.randn(2, 3, 4, 5, generator=random)
    target = torch.randint(-1, 3, (2, 4, 5), generator=random)
    weights = torch.tensor([0.5, 2.0, 0.0])
    total = functional.cross_entropy(logits, target, weights, ignore_index=-1, reduction="sum")
    found = class_loss(logits, target, weights, settings=LossSettings(divide_by="pixels"))
    assert found.item() == pytest.approx(total.item() / int((target >= 0).sum()))


def written_out_focal(logits, target, weights, *, alpha, gamma):
    """Equation 15 pixel by pixel."""
    total, n = 0.0, 0
    for pixel, label in zip(logits.movedim(1, -1).reshape(-1, 3), target.flatten(), strict=True):
        if label >= 0:
            p = torch.exp(pixel[label]) / torch.exp(pixel).sum()
            total = total - alpha * weights[label] * (1 - p) ** gamma * torch.log(p)
            n += 1
    return total / n


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 1.2], dtype=torch.float64)])
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (1.0, 0.5)])
def test_focal_loss_and_its_gradient_are_the_equation(random, weights, alpha, gamma):
    logits = torch.randn(2, 3, 2, 2, generator=random, dtype=torch.float64)
    target = torch.tensor([[[0, 2], [-1, 1]], [[1, -1], [2, 2]]])
    mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    settings = LossSettings(categorical="focal", focal_alpha=alpha, focal_gamma=gamma)
    found = class_loss(mine, target, weights, settings=settings)
    ones = torch.ones(3) if weights is None else weights
    expected = written_out_focal(theirs, target, ones, alpha=alpha, gamma=gamma)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    expected.backward()
    assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)


def test_focal_loss_without_focus_is_cross_entropy(random):
    logits = torch.randn(2, 3, 4, 5, generator=random)
    target = torch.randint(-1, 3, (2, 4, 5), generator=random)
    settings = LossSettings(categorical="focal", focal_alpha=1.0, focal_gamma=0.0)
    assert focal(logits, target, settings=settings).item() == pytest.approx(
        cross_entropy(logits, target).item()
    )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_stays_finite_where_a_pixel_is_sure(gamma):
    logits = torch.tensor([[80.0, -80.0, 0.0]])[:, :, None, None].requires_grad_()
    settings = LossSettings(categorical="focal", focal_gamma=gamma)
    for label in (0, 1, -1):
        logits.grad = None
        loss = focal(logits, torch.full((1, 1, 1), label), settings=settings)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        (LossSettings(), functional.l1_loss),
        (LossSettings(continuous="mse"), functional.mse_loss),
        (LossSettings(continuous="smooth_l1"), functional.smooth_l1_loss),
        (
            LossSettings(continuous="smooth_l1", smooth_l1_beta=0.3),
            lambda a, b: functional.smooth_l1_loss(a, b, beta=0.3),
        ),
    ],
)
def test_losses_of_values_are_those_of_torch_over_labelled_pixels(random, settings, reference):
    values = torch.randn(2, 1, 4, 5, generator=random)
    target = torch.randn(2, 4, 5, generator=random)
    target[torch.rand(2, 4, 5, generator=random) < 0.4] = math.nan
    mine, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    found = value_loss(mine, target, settings=settings)
    known = torch.isfinite(target)
    expected = reference(theirs[:, 0][known], target[known])
    assert found.item() == pytest.approx(expected.item())
    found.backward()
    expected.backward()
    assert torch.allclose(mine.grad, theirs.grad)


@pytest.mark.parametrize("categorical", ["cross_entropy", "focal"])
@pytest.mark.parametrize("continuous", ["l1", "mse", "smooth_l1"])
def test_every_loss_of_an_absent_task_is_zero(categorical, continuous):
    settings = LossSettings(categorical=categorical, continuous=continuous)
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    values = torch.randn(1, 1, 2, 2, requires_grad=True)
    none = torch.full((1, 2, 2), -1)
    total = class_loss(logits, none, torch.ones(3), settings=settings)
    total = total + value_loss(values, torch.full((1, 2, 2), math.nan), settings=settings)
    total.backward()
    assert total.item() == 0
    assert not logits.grad.any()
    assert not values.grad.any()


def test_labelled_pixels_of_both_kinds():
    assert is_labelled(torch.tensor([-1, 0, 2])).tolist() == [False, True, True]
    assert is_labelled(torch.tensor([math.nan, 0.0])).tolist() == [False, True]


def test_uncertainty_weighting_is_the_formula():
    balance = UncertaintyBalance((COVER, HEIGHT))
    balance.log_variance.data = torch.tensor([0.4, -0.7])
    losses = torch.tensor([1.3, 0.2])
    expected = math.exp(-0.4) * 1.3 + 0.2 + math.exp(0.7) * 0.2 / 2 - 0.35
    assert balance(losses, torch.ones(2)).item() == pytest.approx(expected)
    alone = balance(losses, torch.tensor([0.0, 1.0]))
    assert alone.item() == pytest.approx(math.exp(0.7) * 0.2 / 2 - 0.35)


def test_uncertainty_settles_where_the_derivative_is_zero():
    balance = UncertaintyBalance((COVER, HEIGHT))
    optimiser = torch.optim.Adam(balance.parameters(), lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        balance(torch.tensor([0.3, 0.8]), torch.ones(2)).backward()
        optimiser.step()
    # d/ds [exp(-s) L + s/2] = 0 at exp(s) = 2L; d/ds [exp(-s) L/2 + s/2] = 0 at exp(s) = L.
    assert balance.log_variance.exp().tolist() == pytest.approx([0.6, 0.8], rel=1e-2)


def test_fixed_weights_go_by_name():
    balance = FixedBalance((COVER, HEIGHT), {"height": 3.0})
    assert balance(torch.tensor([1.0, 2.0]), torch.ones(2)).item() == 7.0
    assert balance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])).item() == 1.0

"""GradNorm and dynamic weight average against the equations of their papers, written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hsimap.errors import UsageError
from hsimap.recipes import GradNormSettings
from hsimap.training._balancing import DynamicAverage
from hsimap.training._gradnorm import GradNormBalance

N_TASKS = 3
SCALES = (1.0, 5.0, 0.2)


class Net(nn.Module):
    """A shared trunk and a head a task; the losses differ in size."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(4, 6, 1, bias=False)
        self.shared = nn.Conv2d(6, 5, 3, padding=1, bias=False)
        self.gate = nn.Conv2d(5, 5, 1)
        self.heads = nn.ModuleList(nn.Conv2d(5, 1, 1, bias=False) for _ in range(N_TASKS))

    def losses(self, step):
        x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(step))
        shared = torch.tanh(self.shared(torch.tanh(self.stem(x))))
        shared = shared * torch.sigmoid(self.gate(shared))
        return [
            s * (h(shared) - s).square().mean() for h, s in zip(self.heads, SCALES, strict=True)
        ]


def by_the_paper(presents, *, alpha, rate, every=1):
    """Algorithm 1 of Chen et al. 2018, with the gradient of eq. 2 taken by autograd."""
    net = Net()
    w = [torch.ones((), requires_grad=True) for _ in range(N_TASKS)]
    adam = torch.optim.Adam(w, lr=rate)
    sgd = torch.optim.SGD(net.parameters(), lr=0.05)
    first, history = {}, []
    for step, present in enumerate(presents):
        losses = net.losses(step)
        here = [i for i in range(N_TASKS) if present[i]]
        for i in here:
            first.setdefault(i, losses[i].item())
        total = sum(w[i].detach() * losses[i] for i in here)
        grads = {}
        if step % every == 0 and len(here) > 1:
            norms = {
                i: torch.autograd.grad(w[i] * losses[i], net.shared.weight, create_graph=True)[
                    0
                ].norm()
                for i in here
            }
            mean = sum(norms.values()).item() / len(here)
            ratios = {i: losses[i].item() / first[i] for i in here}
            middle = sum(ratios.values()) / len(here)
            loss = sum((norms[i] - mean * (ratios[i] / middle) ** alpha).abs() for i in here)
            grads = dict(
                zip(here, torch.autograd.grad(loss, [w[i] for i in here], retain_graph=True),
                    strict=True)
            )  # fmt: skip
        sgd.zero_grad()
        total.backward()
        sgd.step()
        if grads:
            before = sum(w[i].item() for i in here)
            for i in range(N_TASKS):
                w[i].grad = grads.get(i)
            adam.step()
            after = sum(max(w[i].item(), 1e-3) for i in here)
            for i in here:
                w[i].data = torch.tensor(max(w[i].item(), 1e-3) * before / after)
        history.append([value.item() for value in w])
    return history


def by_the_module(presents, *, restart_at=None, **settings):
    net = Net()

    def balance_of(net):
        return GradNormBalance(N_TASKS, dict(net.named_parameters()), GradNormSettings(**settings))

    balance = balance_of(net)
    sgd = torch.optim.SGD(net.parameters(), lr=0.05)
    history = []
    for step, present in enumerate(presents):
        if step == restart_at:
            saved = balance.state_dict()
            balance = balance_of(net)
            balance.load_state_dict(saved)
        sgd.zero_grad()
        balance(net.losses(step), torch.tensor(present)).backward()
        sgd.step()
        history.append([value.item() for value in balance.weights])
    return history, balance


ALL = [[1.0, 1.0, 1.0]] * 12
SOME = [[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]] * 3


@pytest.mark.parametrize("presents", [ALL, SOME], ids=["all", "some"])
@pytest.mark.parametrize(("alpha", "every"), [(1.0, 1), (0.0, 1), (1.5, 3)])
def test_gradnorm_is_the_algorithm_of_the_paper(presents, alpha, every):
    expected = by_the_paper(presents, alpha=alpha, rate=0.1, every=every)
    found, _ = by_the_module(presents, alpha=alpha, learning_rate=0.1, update_every=every)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine == pytest.approx(theirs, rel=2e-4)
    assert max(abs(w - 1) for w in found[-1]) > 0.1


def test_an_absent_task_keeps_its_weight_and_the_sum_stays():
    found, _ = by_the_module(SOME, learning_rate=0.1)
    before = [1.0] * N_TASKS
    for present, weights in zip(SOME, found, strict=True):
        for here, old, new in zip(present, before, weights, strict=True):
            if not here or sum(present) < 2:
                assert new == old
        assert sum(weights) == pytest.approx(N_TASKS, rel=1e-5)
        before = weights


def test_gradnorm_goes_on_from_a_saved_state_as_if_never_stopped():
    whole, _ = by_the_module(ALL, learning_rate=0.1, update_every=2)
    resumed, _ = by_the_module(ALL, learning_rate=0.1, update_every=2, restart_at=7)
    assert whole == resumed


def test_the_shared_layer_is_the_last_plain_convolution_of_all_tasks():
    net = Net()
    for layer, expected in [(None, "shared.weight"), ("stem.weight", "stem.weight")]:
        balance = GradNormBalance(
            N_TASKS, dict(net.named_parameters()), GradNormSettings(layer=layer)
        )
        balance(net.losses(0), torch.ones(N_TASKS))
        assert balance.layer == expected
    with pytest.raises(UsageError, match=r"no weight 'body'.*heads\.2\.weight"):
        GradNormBalance(N_TASKS, dict(net.named_parameters()), GradNormSettings(layer="body"))


def test_gradnorm_leaves_the_gradient_of_the_network_alone():
    net, bare = Net(), Net()
    balance = GradNormBalance(N_TASKS, dict(net.named_parameters()), GradNormSettings())
    balance(net.losses(0), torch.ones(N_TASKS)).backward()
    sum(bare.losses(0)).backward()
    for mine, theirs in zip(net.parameters(), bare.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)
    assert all(weight.grad is None for weight in balance.weights)


def test_gradnorm_evens_out_tasks_of_very_different_size():
    _, balance = by_the_module([[1.0, 1.0, 1.0]] * 150, alpha=0.0, learning_rate=0.05)
    weights = [value.item() for value in balance.weights]
    assert weights[1] < weights[0] < weights[2]


def test_no_shared_convolution_is_an_error():
    net = nn.ModuleList(nn.Conv2d(1, 1, 1, bias=False) for _ in range(2))
    balance = GradNormBalance(2, dict(net.named_parameters()), GradNormSettings())
    x = torch.ones(1, 1, 1, 1)
    losses = [layer(x).sum() for layer in net]
    with pytest.raises(UsageError, match="no convolution that all tasks share"):
        balance(losses, torch.ones(2))


def run_epochs(balance, epochs):
    history = []
    for steps in epochs:
        for losses, present in steps:
            balance(torch.tensor(losses), torch.tensor(present))
        balance.end_epoch()
        history.append(balance.weights.tolist())
    return history


def test_dynamic_average_is_equation_7():
    here = [1.0, 1.0]
    epochs = [
        [([2.0, 3.0], here), ([4.0, 3.0], here)],
        [([1.0, 3.0], here), ([2.0, 1.0], here)],
        [([1.0, 1.0], here)],
    ]
    found = run_epochs(DynamicAverage(2, temperature=2.0), epochs)
    assert found[0] == [1.0, 1.0]
    means = [(3.0, 3.0), (1.5, 2.0), (1.0, 1.0)]
    for t in (1, 2):
        powers = [math.exp(means[t][i] / means[t - 1][i] / 2.0) for i in range(2)]
        assert found[t] == pytest.approx([2 * p / sum(powers) for p in powers])


def test_a_task_that_an_epoch_lacks_neither_counts_nor_moves():
    balance = DynamicAverage(3, temperature=1.0)
    everywhere, without = [1.0, 1.0, 1.0], [1.0, 1.0, 0.0]
    first = [([2.0, 2.0, 2.0], everywhere), ([0.0, 2.0, 9.0], [0.0, 1.0, 0.0])]
    history = run_epochs(balance, [first, [([1.0, 2.0, 7.0], without)]])
    assert history[1][2] == 1.0
    powers = [math.exp(0.5), math.exp(1.0)]
    assert history[1][:2] == pytest.approx([2 * p / sum(powers) for p in powers])
    assert balance.last.tolist() == [1.0, 2.0, 2.0]
    total = balance(torch.tensor([1.0, 1.0, 5.0]), torch.tensor(without))
    assert total.item() == pytest.approx(2.0)


def test_dynamic_average_does_not_learn_from_validation():
    balance = DynamicAverage(2, temperature=1.0).eval()
    balance(torch.tensor([1.0, 2.0]), torch.ones(2))
    assert balance.count.tolist() == [0.0, 0.0]

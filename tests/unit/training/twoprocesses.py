"""A small multitask network trained by two processes, for the tests of balancing."""

from __future__ import annotations

import os

import torch
from torch import distributed, nn

from hsimap.recipes import GradNormSettings
from hsimap.training._balancing import DynamicAverage
from hsimap.training._gradnorm import GradNormBalance
from hsimap.training._processes import common_losses, common_mean

N = 2
PRESENT = ((1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


class Net(nn.Module):
    def __init__(self, balance):
        super().__init__()
        torch.manual_seed(0)
        self.shared = nn.Conv2d(2, 3, 1, bias=False)
        self.heads = nn.ModuleList(nn.Conv2d(3, 1, 1) for _ in range(3))
        self.balance = balance(dict(self.named_parameters()))

    def losses(self, x):
        features = self.shared(x)
        return [head(features).square().mean() * (i + 1) for i, head in enumerate(self.heads)]

    def forward(self, x, present):
        return self.balance(self.losses(x), present)


def gradnorm(kernels):
    return GradNormBalance(3, kernels, GradNormSettings(learning_rate=0.1))


def dwa(kernels):
    return DynamicAverage(3, temperature=1.0)


def image(rank, step):
    return torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(10 * step + rank))


def worker(rank, file, folder):
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # the machine's name may lead nowhere
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=N)
    torch.save(train(rank), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def train(rank):
    """Return what a process found; the wrapped model goes with it, before the group is destroyed.

    As the last one that holds the group it would end it with Python's lock held, for which a
    thread of gloo may wait that still frees a tensor: https://github.com/pytorch/pytorch/issues/56297.
    """
    net = Net(gradnorm)
    model = nn.parallel.DistributedDataParallel(net, find_unused_parameters=False)
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    every = torch.ones(3)
    for step in range(4):
        optimiser.zero_grad()
        model(image(rank, step), every).backward()
        optimiser.step()
    average = Net(dwa)
    for step in range(6):
        average(image(rank, step), torch.tensor(PRESENT[rank]))
        if step % 2:
            average.balance.end_epoch()
    losses = torch.tensor([1.0, 2.0, 3.0]) * (rank + 1)
    return {
        "gradnorm": [float(w) for w in net.balance.weights],
        "shared": net.shared.weight.detach(),
        "dwa": average.balance.weights.tolist(),
        "common": common_losses(losses, torch.tensor(PRESENT[rank])),
        "mean": common_mean(losses),
    }

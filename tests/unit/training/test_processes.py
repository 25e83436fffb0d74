"""Several processes weigh their tasks alike."""

from __future__ import annotations

import pytest
import torch
from torch import multiprocessing
from twoprocesses import N, Net, gradnorm, image, worker

from hsimap.training._processes import common_losses

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.start_processes(
        worker, (str(folder / "store"), str(folder)), nprocs=N, start_method="spawn"
    )
    return [torch.load(folder / f"{rank}.pt") for rank in range(N)]


def test_all_processes_have_the_same_weights(found):
    first, second = found
    assert first["gradnorm"] == second["gradnorm"] != [1.0] * 3
    assert first["dwa"] == second["dwa"] != [1.0] * 3
    assert torch.equal(first["shared"], second["shared"])


def test_two_processes_weigh_as_one_with_the_whole_batch(found):
    net = Net(gradnorm)
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for step in range(4):
        optimiser.zero_grad()
        net(torch.cat([image(0, step), image(1, step)]), torch.ones(3)).backward()
        optimiser.step()
    assert found[0]["gradnorm"] == pytest.approx([float(w) for w in net.balance.weights], rel=1e-4)
    assert torch.allclose(found[0]["shared"], net.shared.weight, atol=1e-5)


def test_a_loss_is_the_mean_over_the_processes_that_have_the_task(found):
    losses, here = found[1]["common"]
    assert losses.tolist() == [1.5, 2.0, 0.0]
    assert here.tolist() == [1.0, 1.0, 0.0]
    assert found[1]["mean"].tolist() == [1.5, 3.0, 4.5]
    alone = common_losses(torch.tensor([4.0, 5.0]), torch.tensor([0.0, 1.0]))
    assert alone[0].tolist() == [0.0, 5.0]
    assert alone[1].tolist() == [0.0, 1.0]

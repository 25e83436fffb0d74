"""Learn spectra without labels: hide some bands of a patch and let the network restore them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from hsimap.geometry import Window
from hsimap.networks import build_network
from hsimap.tasks import ClassLabel, Kind, Task, main_output
from hsimap.training._balancing import FixedBalance
from hsimap.training._checkpoints import PRETRAINING, load_checkpoint, save_checkpoint
from hsimap.training._log import RunLog, SilentLog
from hsimap.training._loop import Checkpoints, Fit, Position
from hsimap.training._objective import LossRules, Objective, for_each_member
from hsimap.training._sampling import PatchSampler, SamplingRules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from lightning.fabric import Fabric
    from numpy.typing import NDArray

    from hsimap.networks import MappingNetwork
    from hsimap.recipes import TrainingSettings
    from hsimap.training._folds import FoldView
    from hsimap.training._log import Log
    from hsimap.training._loop import Material

_MOST_BANDS: Final = 200
"""Bands that one head restores."""
_MOST_POSITIONS: Final = 200_000
"""Pixels that patches are drawn round."""


class MaskedBands(Objective):
    """What is minimised without labels: the error of bands that the network does not see.

    In each patch runs of neighbouring bands are set to their training mean, about a given share of
    all; the loss is the mean absolute error of the hidden bands over the valid pixels, in standard
    deviations of the band.

    Parameters
    ----------
    network : MappingNetwork
        As :func:`restoring_twin` returns it.
    statistics : tuple of Tensor
        Mean and standard deviation of each band, ``(band,)``.
    share : float
        Share of the bands that is hidden, between 0 and 1.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: MappingNetwork, statistics: tuple[Tensor, Tensor], *, share: float
    ) -> None:
        super().__init__(network, FixedBalance(network.spec.tasks), LossRules())
        self._share = share
        for name, values in zip(("mean", "std"), statistics, strict=True):
            self.register_buffer(name, values.float()[None, :, None, None], persistent=False)

    def forward(
        self, image: Tensor, valid: Tensor, targets: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what :meth:`Objective.forward` returns; labels are not looked at."""
        del targets
        hidden = hidden_bands(len(image), image.shape[1], share=self._share).to(image.device)
        mask = self.network.mask(image, valid)
        truth = torch.where(mask > 0, (image - self.mean) / self.std, 0.0)
        shown = torch.where(hidden[..., None, None], self.mean, image)
        raw = self.network.logits(shown, valid)
        counted = hidden[..., None, None] * mask
        losses, present, first = [], [], 0
        for task in self.network.spec.tasks:
            bands = slice(first, first + task.channels)
            first += task.channels
            numbers = raw[task.name]
            weight = for_each_member(counted[:, bands], numbers)
            error = ((numbers - for_each_member(truth[:, bands], numbers)).abs() * weight).sum()
            losses.append(error / weight.sum().clamp_min(1.0))
            present.append(weight.sum() > 0)
        stacked, seen = torch.stack(losses).detach(), torch.stack(present).to(image.dtype)
        return self.balance(losses, seen), stacked, seen


class Pretraining(Fit):
    """A run without labels, hence without validation: the last weights are kept."""

    def _validate(self, log: Log) -> None:
        at, network = self.position, self.objective.network
        with self.average.swapped_in(network):
            at.best = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        at.best_epoch, at.best_score = at.epoch, 0.0
        log.write(at.epoch, {"kept": 1.0})


def pretrain(
    fabric: Fabric,
    network: MappingNetwork,
    material: Material,
    *,
    settings: TrainingSettings,
    checkpoints: Checkpoints,
) -> Position:
    """Train a twin of a network on masked bands and give the network the weights that fit.

    Heads are not taken over, and neither is what the twin has no part for. Patches lie round any
    pixel that is in no other fold, labelled or not; of other folds a patch shows what the
    recipe's ``context`` shows.

    Parameters
    ----------
    fabric : Fabric
        Devices, processes and precision.
    network : MappingNetwork
        Changed in place.
    material : Material
        Of the training that follows.
    settings : TrainingSettings
        The recipe's ``training`` section; ``pretrain`` in it counts.
    checkpoints : Checkpoints
        Of the training that follows; those of this go to a folder in theirs.

    Returns
    -------
    Position
        With the time that it took.
    """
    wanted = settings.pretrain
    changes = {
        "epochs": wanted.epochs, "validate_every": wanted.epochs, "patience": None,
        "learning_rate": wanted.learning_rate or settings.learning_rate,
    }  # fmt: skip
    torch.manual_seed(settings.seed)
    twin = restoring_twin(network)
    fit = Pretraining(
        fabric,
        MaskedBands(twin, (material.mean, material.std), share=wanted.masked),
        replace(material, sampler=free_sampler(material, settings), validation=[]),
        settings=settings.model_copy(update=changes),
        checkpoints=Checkpoints(
            folder=checkpoints.folder / PRETRAINING, identity=checkpoints.identity
        ),
    )
    state, _ = load_checkpoint(fit.checkpoints.folder)
    if state is not None and state["identity"] == fit.checkpoints.identity:
        fit.load(state)
    with _log(fit) as log:
        fit.run(log)
    if fabric.is_global_zero:
        steps = fit.position.epoch * fit.material.sampler.steps
        save_checkpoint(fit.checkpoints.folder, steps + 1, fit.state())
    take_over(network, fit.position.best)
    torch.manual_seed(settings.seed)
    return fit.position


def restoring_twin(network: MappingNetwork) -> MappingNetwork:
    """Return a fresh network of the same settings whose heads give a number for each band."""
    spec = network.spec
    tasks = tuple(
        Task(
            name=f"bands_{first}",
            kind=Kind.CATEGORICAL,  # one channel a band, none of which is normalised
            classes=tuple(
                ClassLabel(code=i, name=f"band {first + i}", color="#000000")
                for i in range(min(_MOST_BANDS, spec.n_bands - first))
            ),
        )
        for first in range(0, spec.n_bands, _MOST_BANDS)
    )
    outputs = tuple(main_output(task) for task in tasks)
    changes = {"tasks": tasks, "outputs": outputs, "scaling": {}, "temperature": {}}
    twin = build_network(spec.model_copy(update=changes))
    take_over(twin, dict(network.named_buffers()))  # what was measured on the training fold
    return twin


def take_over(network: MappingNetwork, weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy weights that a network has under the same name and shape; return their names."""
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in weights.items()
        if name in own and own[name].shape == value.shape
    }
    network.load_state_dict(own | fitting)
    return tuple(fitting)


def hidden_bands(n: int, bands: int, *, share: float) -> Tensor:
    """Draw which bands are hidden, ``(n, bands)`` bool: runs of an eighth of them, at random.

    Each of the eight cells of neighbours is hidden with the probability ``share``; the grid of
    cells is shifted at random, and at least one cell is hidden in each patch.
    """
    width = max(bands // 8, 1)
    cells = -(-bands // width) + 1
    drawn = torch.rand((n, cells)) < share
    shift = torch.randint(0, width, (n, 1))
    cell = (torch.arange(bands)[None] + shift) // width
    hidden = drawn.gather(1, cell)
    empty = ~hidden.any(dim=1)
    chosen = cell.gather(1, torch.randint(0, bands, (n, 1)))
    return hidden | (empty[:, None] & (cell == chosen))


def free_sampler(material: Material, settings: TrainingSettings) -> PatchSampler:
    """Return a sampler that aims at every pixel that is in no other fold."""
    usual = material.sampler
    rules = SamplingRules(
        patch=settings.patch,
        batch=settings.batch,
        samples=usual.steps * settings.batch,
        seed=settings.seed,
        flips=settings.augment.flips,
        turns=settings.augment.turns,
    )
    return PatchSampler(list(free_positions(material.train)), rules)


def free_positions(views: Sequence[FoldView]) -> Iterator[NDArray[np.int32]]:
    """Yield for each scene ``(n, 2)`` row and column of pixels in no other fold, thinned."""
    total = sum(view.shape[0] * view.shape[1] for view in views)
    step = max(round((total / _MOST_POSITIONS) ** 0.5), 1)
    for view in views:
        rows, cols = np.mgrid[0 : view.shape[0] : step, 0 : view.shape[1] : step]
        grid = np.stack([rows.ravel(), cols.ravel()], axis=1).astype(np.int32)
        whole = Window(row=0, col=0, height=view.shape[0], width=view.shape[1])
        yield grid[~view.foreign(whole)[grid[:, 0], grid[:, 1]]]


def _log(fit: Fit) -> RunLog | SilentLog:
    if not fit.fabric.is_global_zero:
        return SilentLog()
    at, epochs = fit.position, fit.settings.epochs
    return RunLog(fit.checkpoints.folder, epochs=epochs, done=at.epoch, bar=False)

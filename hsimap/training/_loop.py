"""The training loop, in full view."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from hsimap.training._checkpoints import save_checkpoint
from hsimap.training._interruption import Interruption, StoppedError
from hsimap.training._loader import BatchSource, Loader, count_workers
from hsimap.training._schedule import WeightAverage, rate_factor
from hsimap.training._validation import score_views, selection_score

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lightning.fabric import Fabric
    from torch import Tensor, nn

    from hsimap.recipes import TrainingSettings
    from hsimap.training._batches import Batch
    from hsimap.training._folds import FoldView
    from hsimap.training._log import Log
    from hsimap.training._objective import Objective
    from hsimap.training._sampling import PatchSampler


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a run trains and is validated on."""

    train: Sequence[FoldView]
    validation: Sequence[FoldView]
    sampler: PatchSampler
    mean: Tensor
    """``(band,)``: mean of the training windows, storage units."""
    std: Tensor
    """``(band,)``: their standard deviation."""
    wavelength_nm: Tensor | None = None
    """``(band,)``: centres of the bands in nm; None = not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoints:
    """Where checkpoints go, and whose they are."""

    folder: Path
    identity: str
    """Digest of the recipe; a run goes on from its own checkpoints only."""


@dataclass(slots=True, kw_only=True)
class Position:
    """How far a run is."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done in the present epoch."""
    best_score: float = float("-inf")
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)
    """State of the network at the best epoch."""
    finished: bool = False
    seconds: float = 0.0
    """Time spent in training and validation."""
    cpu_seconds: float = 0.0
    """Processor time of all threads of this process, opening and measuring included."""


class Fit:
    """One run: everything that changes while it trains.

    Parameters
    ----------
    fabric : Fabric
        Devices, processes and precision.
    objective : Objective
        Network, losses and balance.
    material : Material
        Training and validation folds.
    settings : TrainingSettings
        The recipe's ``training`` section.
    checkpoints : Checkpoints
        Where and as whose the run is saved.
    """

    def __init__(
        self,
        fabric: Fabric,
        objective: Objective,
        material: Material,
        *,
        settings: TrainingSettings,
        checkpoints: Checkpoints,
    ) -> None:
        self.fabric, self.objective, self.material = fabric, objective, material
        self.settings, self.checkpoints = settings, checkpoints
        self.position = Position()
        steps = material.sampler.steps
        optimiser = make_optimiser(objective, settings)
        self.scheduler = LambdaLR(
            optimiser,
            lambda step: rate_factor(
                step,
                warmup=settings.warmup_epochs * steps,
                stair=steps if settings.warmup == "epochs" else 1,
                total=settings.epochs * steps,
                schedule=settings.schedule,
            ),
        )
        self.model, self.optimiser = fabric.setup(objective, optimiser)
        self.average = WeightAverage(objective.network, settings.average)
        self._loader = self._open_loader()
        self._waited = 0.0
        self._saved = self._clock = time.monotonic()
        self._cpu = time.process_time()

    def run(self, log: Log) -> Position:
        """Train until the last epoch or until the validation fold stops improving.

        A first SIGINT, SIGTERM or SIGHUP lets the step end, saves the run, and then acts.
        """
        at, settings = self.position, self.settings
        self._clock, self._cpu = time.monotonic(), time.process_time()
        with closing(self._loader), Interruption() as stop:
            while at.epoch < settings.epochs and not at.finished:
                start, self._waited = time.monotonic(), 0.0
                losses = self._train_epoch(stop)
                waiting = self._waited / max(time.monotonic() - start, 1e-9)
                at.epoch, at.step = at.epoch + 1, 0
                log.write(at.epoch, {"loss": losses, "rate": self._rate, "data_waiting": waiting})
                if at.epoch % settings.validate_every == 0 or at.epoch == settings.epochs:
                    self._validate(log)
                log.show(at.epoch, f"best {at.best_score:.3f} at epoch {at.best_epoch}")
                self._checkpoint(now=False)
        return at

    def _train_epoch(self, stop: Interruption) -> dict[str, float]:
        """Take the epoch's remaining steps; return the mean loss of each task where labelled."""
        names = [task.name for task in self.objective.network.spec.tasks]
        totals = torch.zeros((2, len(names)), device=self.fabric.device)
        self.objective.train()
        for batch in self._batches():
            loss, losses, present = self.model(batch.image, batch.valid, batch.targets)
            self.fabric.backward(loss)
            if self.settings.clip_norm:
                self.fabric.clip_gradients(
                    self.model, self.optimiser, max_norm=self.settings.clip_norm
                )
            self.optimiser.step()
            self.optimiser.zero_grad()
            self.scheduler.step()
            self.average.update(self.objective.network)
            self.position.step += 1
            totals += torch.stack([losses, present])
            self._checkpoint(now=stop.asked)
            if stop.asked:
                raise StoppedError
        self.objective.balance.end_epoch()
        return dict(zip(names, (totals[0] / totals[1]).tolist(), strict=True))

    def _batches(self) -> Iterator[Batch]:
        """Yield the rest of the epoch's batches, and count the time that they are waited for."""
        at = self.position
        with closing(self._loader.epoch(at.epoch, first=at.step)) as batches:  # type: ignore[type-var]
            while True:
                start = time.monotonic()
                batch = next(batches, None)
                if batch is None:
                    return
                batch = batch.to(self.fabric.device)
                self._waited += time.monotonic() - start
                yield batch

    def _open_loader(self) -> Loader:
        material, device = self.material, self.fabric.device
        source = BatchSource(
            views=material.train,
            sampler=material.sampler,
            augment=self.settings.augment,
            statistics=(material.mean, material.std),
            seed=self.settings.seed,
            wavelength_nm=material.wavelength_nm,
            rank=self.fabric.global_rank,
            world=self.fabric.world_size,
        )
        workers = count_workers(self.settings, device)
        return Loader(source, workers=workers, pin=device.type == "cuda")

    def _validate(self, log: Log) -> None:
        """Score the averaged network on the validation fold; keep it if it is the best so far."""
        at, network = self.position, self.objective.network
        with self.average.swapped_in(network):
            scores = score_views(
                network,
                self.material.validation,
                trim=network.spec.patch // 2,
                device=self.fabric.device,
            )
            # Running statistics differ between processes; all must stop at the same epoch.
            score = float(self.fabric.broadcast(selection_score(scores)))
            if score > at.best_score or not at.best:
                at.best_score, at.best_epoch = score, at.epoch
                at.best = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        log.write(at.epoch, {"validation": scores, "score": score})
        patience = self.settings.patience
        at.finished = patience is not None and at.epoch - at.best_epoch >= patience

    @property
    def _rate(self) -> float:
        return float(self.scheduler.get_last_lr()[0])

    def _checkpoint(self, *, now: bool) -> None:
        """Save the run if asked to or if the last checkpoint is old."""
        clock, cpu = time.monotonic(), time.process_time()
        self.position.seconds += clock - self._clock
        self.position.cpu_seconds += cpu - self._cpu
        self._clock, self._cpu = clock, cpu
        due = clock - self._saved >= self.settings.checkpoint_seconds
        if (now or due) and self.fabric.is_global_zero:
            steps = self.position.epoch * self.material.sampler.steps + self.position.step
            save_checkpoint(self.checkpoints.folder, steps, self.state())
            self._saved = clock

    def state(self) -> dict[str, Any]:
        """Return all that decides how the run goes on; tensors, numbers, texts, lists and dicts."""
        at = self.position
        return {
            "objective": self.objective.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": self.average.state_dict(),
            "position": {name: getattr(at, name) for name in Position.__slots__},
            "random": random_state(),
            "identity": self.checkpoints.identity,
            "threads": torch.get_num_threads(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.objective.load_state_dict(state["objective"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.average.load_state_dict(state["average"])
        self.position = Position(**state["position"])
        restore_random_state(state["random"])


def make_optimiser(objective: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; weight decay acts on kernels only.

    Biases, norms and the s of the balance take none, and parameters that are set in other ways
    than by the gradient of the total are left out.
    """
    learned = [p for p in objective.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    match settings.optimiser:
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, betas=settings.betas)
        case "adam":
            return torch.optim.Adam(groups, lr=rate, betas=settings.betas)
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum)


def random_state() -> dict[str, Any]:
    """Return the state of every generator that training draws from without a seed of its own."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def restore_random_state(state: dict[str, Any]) -> None:
    """Undo what was drawn since :func:`random_state`."""
    torch.set_rng_state(state["cpu"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])

"""Batches read ahead of the training, by a thread or by processes; the same ones either way."""

from __future__ import annotations

import signal
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hsimap.streams import available_cpus, prefetch
from hsimap.training._batches import Batch, disturb, load_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hsimap.recipes import AugmentSettings, TrainingSettings
    from hsimap.training._folds import FoldView
    from hsimap.training._sampling import PatchSampler

_MOST_WORKERS: Final = 8
_AHEAD: Final = 2
"""Batches that each process reads ahead."""
Key = tuple[int, int]
"""Epoch and step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSource:
    """Makes any batch of a run from its epoch and step alone."""

    views: Sequence[FoldView]
    """Training fold of each scene."""
    sampler: PatchSampler
    augment: AugmentSettings
    statistics: tuple[torch.Tensor, torch.Tensor]
    """Mean and standard deviation of each band, ``(band,)``, storage units."""
    seed: int
    wavelength_nm: torch.Tensor | None = None
    """Centre of each band, ``(band,)``; None = not known."""
    rank: int = 0
    """Which of ``world`` processes trains on it; each gets its part of the patches."""
    world: int = 1

    def load(self, epoch: int, step: int) -> Batch:
        """Return one batch, on the CPU."""
        draws = self.sampler.batch(epoch, step)[self.rank :: self.world]
        batch = load_batch(draws, self.views)
        entropy = np.random.SeedSequence((self.seed, epoch, step, self.rank))
        random = torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))
        image = disturb(
            batch.image,
            self.augment,
            statistics=self.statistics,
            random=random,
            wavelength_nm=self.wavelength_nm,
        )
        return Batch(image=image, valid=batch.valid, targets=batch.targets)


class Loader:
    """Batches of one epoch after the other.

    Parameters
    ----------
    source : BatchSource
        Makes them.
    workers : int
        Processes that read; 0 = a thread of this process.
    pin : bool
        Put batches of processes into pinned memory, from which a GPU fetches faster.
    """

    def __init__(self, source: BatchSource, *, workers: int, pin: bool) -> None:
        self._source = source
        self._keys = _Keys()
        self._processes: DataLoader[Batch] | None = None
        if workers:
            self._processes = DataLoader(
                _Batches(source),
                batch_size=None,
                sampler=self._keys,
                num_workers=workers,
                prefetch_factor=_AHEAD,
                persistent_workers=True,
                multiprocessing_context="spawn",  # a fork would copy GDAL's and CUDA's locks
                collate_fn=_same,
                worker_init_fn=_ignore_interrupts,
                pin_memory=pin,
                generator=torch.Generator(),  # else it draws from the one that training uses
            )

    def epoch(self, epoch: int, *, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from step ``first`` on, read ahead."""
        keys = [(epoch, step) for step in range(first, self._source.sampler.steps)]
        if self._processes is not None:
            self._keys.now = keys
            yield from self._processes
            return
        loaded = (self._source.load(*key) for key in keys)
        with closing(prefetch(loaded, depth=1)) as batches:
            yield from batches

    def close(self) -> None:
        """End the processes."""
        self._processes = None


def count_workers(settings: TrainingSettings, device: torch.device) -> int:
    """Return how many processes a device's batches are read by.

    ``auto`` is none on the CPU, whose cores compute; beside a GPU it is the cores over the
    devices, less one for the training itself, at most 8.
    """
    if settings.workers != "auto":
        return settings.workers
    if device.type == "cpu":
        return 0
    return max(min(available_cpus() // settings.devices - 1, _MOST_WORKERS), 0)


class _Keys(Sampler[Key]):
    """The steps of the present epoch."""

    def __init__(self) -> None:
        self.now: list[Key] = []

    def __iter__(self) -> Iterator[Key]:
        return iter(self.now)

    def __len__(self) -> int:
        return len(self.now)


class _Batches(Dataset[Batch]):
    """A source as torch's loader wants it."""

    def __init__(self, source: BatchSource) -> None:
        self._source = source

    def __getitem__(self, key: Key) -> Batch:
        return self._source.load(*key)


def _same(batch: object) -> Batch:
    return cast("Batch", batch)


def _ignore_interrupts(worker: int) -> None:
    """Leave Ctrl-C to the training process, which ends its step and saves the run first."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)

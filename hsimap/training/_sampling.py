"""Which patches a step trains on: a pure function of seed, epoch and step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hsimap.geometry import Window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hsimap.training._folds import FoldView


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One patch of a batch."""

    scene: int
    """Index of the scene."""
    window: Window
    """Where it lies; it may pass the scene's edge."""
    flip_rows: bool
    flip_cols: bool
    transpose: bool
    """Rows become columns, after the flips; with both flips all eight symmetries are reached."""

    def orient(self, array: NDArray[Any]) -> NDArray[Any]:
        """Flip and turn an array whose last axes are ``(y, x)``."""
        step_rows, step_cols = (-1 if self.flip_rows else 1), (-1 if self.flip_cols else 1)
        array = array[..., ::step_rows, ::step_cols]
        return array.swapaxes(-1, -2) if self.transpose else array


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingRules:
    """How patches are drawn."""

    patch: int
    """Side in pixels."""
    batch: int
    """Patches a step."""
    samples: int
    """Patches an epoch, rounded up to whole batches."""
    seed: int
    flips: bool
    """Mirror rows and columns at random."""
    turns: bool
    """Swap rows and columns at random, which together with flips gives quarter turns."""


class PatchSampler:
    """Draws patches that hold a labelled training pixel at a random place.

    The labelled pixels of all scenes are walked through in random order, again and again, so
    that each is aimed at equally often; or, given their shares, they are drawn with replacement.
    A batch depends on the seed, the epoch and the step only: a resumed run draws what an
    uninterrupted one would have drawn.

    Parameters
    ----------
    positions : sequence of ndarray
        For each scene ``(n, 2)`` row and column of the labelled training pixels.
    rules : SamplingRules
        Sizes, seed and augmentation.
    shares : ndarray, optional
        How often each pixel of all scenes, in their order, is aimed at, relative to the others.
    """

    def __init__(
        self,
        positions: Sequence[NDArray[np.int32]],
        rules: SamplingRules,
        *,
        shares: NDArray[np.float64] | None = None,
    ) -> None:
        index = [np.full(len(found), i, dtype=np.int32) for i, found in enumerate(positions)]
        self._pixels = np.concatenate(
            [np.stack([i, *found.T], axis=1) for i, found in zip(index, positions, strict=True)]
        )
        self._rules = rules
        self._edges = None if shares is None else np.cumsum(shares) / shares.sum()
        self._drawn: tuple[int, NDArray[np.int32], NDArray[np.int64]] | None = None

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-self._rules.samples // self._rules.batch)

    def batch(self, epoch: int, step: int) -> list[Draw]:
        """Return the patches of one step."""
        size = self._rules.batch
        pixels, random = self._epoch(epoch)
        chosen = slice(step * size, (step + 1) * size)
        return [self._draw(*pair) for pair in zip(pixels[chosen], random[chosen], strict=True)]

    def _epoch(self, epoch: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return for each patch of an epoch the pixel and (row offset, column offset, symmetry)."""
        if self._drawn is None or self._drawn[0] != epoch:
            rules = self._rules
            total = self.steps * rules.batch
            order = self._order(epoch, total)
            high = (rules.patch, rules.patch, 8)
            random = np.random.default_rng((rules.seed, 1, epoch)).integers(0, high, (total, 3))
            self._drawn = (epoch, self._pixels[order], random)
        return self._drawn[1:]

    def _order(self, epoch: int, total: int) -> NDArray[np.int64]:
        """Return the index of the pixel that each patch of an epoch aims at."""
        n, seed = len(self._pixels), self._rules.seed
        if self._edges is not None:
            random = np.random.default_rng((seed, 2, epoch)).random(total)
            return np.searchsorted(self._edges, random, side="right").clip(max=n - 1)
        # The walk over the pixels goes on from epoch to epoch: round k is one permutation.
        first, last = epoch * total // n, ((epoch + 1) * total - 1) // n
        rounds = [
            np.random.default_rng((seed, 0, k)).permutation(n) for k in range(first, last + 1)
        ]
        start = epoch * total - first * n
        return np.concatenate(rounds)[start : start + total]

    def _draw(self, pixel: NDArray[np.int32], random: NDArray[np.int64]) -> Draw:
        rules = self._rules
        scene, row, col = (int(value) for value in pixel)
        up, left, symmetry = (int(value) for value in random)
        return Draw(
            scene=scene,
            window=Window(row=row - up, col=col - left, height=rules.patch, width=rules.patch),
            flip_rows=rules.flips and bool(symmetry & 1),
            flip_cols=rules.flips and bool(symmetry & 2),
            transpose=rules.turns and bool(symmetry & 4),
        )


def balanced_shares(
    views: Sequence[FoldView], positions: Sequence[NDArray[np.int32]]
) -> NDArray[np.float64]:
    """Return how often to aim at each pixel so that rare classes are seen.

    A pixel is aimed at through one of its labels. Every categorical task gets the same share, and
    in it every class that occurs, and in that every pixel; pixels without a class keep the share
    that they have of all pixels.

    Parameters
    ----------
    views : sequence of FoldView
        The training fold of each scene.
    positions : sequence of ndarray
        For each scene ``(n, 2)`` row and column of labelled pixels.

    Returns
    -------
    ndarray
        ``(pixel,)`` over all scenes, in order; sums to 1.
    """
    found = [_classes_at(view, at) for view, at in zip(views, positions, strict=True)]
    shares = np.zeros(sum(map(len, positions)))
    unclassed = np.ones(shares.shape, dtype=bool)
    tasks = {
        name: np.concatenate([classes[name] for classes in found])
        for name in (found[0] if found else ())
    }
    for classes in tasks.values():
        known = classes >= 0
        unclassed &= ~known
        if known.any():
            counts = np.bincount(classes[known])
            shares[known] += 1 / (np.count_nonzero(counts) * counts[classes[known]])
    total = shares.sum()
    rest = unclassed.mean() if total else 1.0
    shares *= (1 - rest) / (total or 1.0)
    shares[unclassed] = 1 / len(shares)
    return shares


def _classes_at(view: FoldView, positions: NDArray[np.int32]) -> dict[str, NDArray[np.int64]]:
    """Return the class of each position by categorical task, -1 = none."""
    found: dict[str, NDArray[np.int64]] = {}
    for window in view.windows(max(view.shape)):
        rows, cols = (positions - (window.row, window.col)).T
        inside = (rows >= 0) & (rows < window.height) & (cols >= 0) & (cols < window.width)
        for name, values in view.targets(window).items():
            if values.dtype.kind != "f":
                classes = found.setdefault(name, np.full(len(positions), -1, dtype=np.int64))
                classes[inside] = values[rows[inside], cols[inside]]
    return found

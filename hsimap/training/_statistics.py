"""What is measured on the training fold before the first step, and on nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.errors import InputError
from hsimap.spectra import Spread, spread_of
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.training._folds import FoldView

_MOST_WINDOWS: Final = 4096
"""Windows whose pixels are read: 4 million spectra at a patch of 32."""

_MOST_PRODUCTS: Final = 1 << 18
"""Spectra whose products of bands are added up, about; more do not change them."""

_BINS: Final = 1 << 16
"""Of the histogram that percentiles are read from."""

_CONSTANT: Final = 1e-6
"""A spread below this share of the mean is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainStatistics:
    """Numbers of the training fold."""

    mean: tuple[float, ...]
    """``(band,)``, storage units of the model, over valid pixels of training windows."""
    std: tuple[float, ...]
    """``(band,)``; 1 where a band is constant."""
    low: tuple[float, ...]
    """``(band,)``: smallest value."""
    spread: Spread = field(repr=False)
    """How the valid pixels vary together, storage units of the model."""
    width: tuple[float, ...]
    """``(band,)``: largest minus smallest value; 1 where a band is constant."""
    scaling: Mapping[str, tuple[float, float]]
    """Continuous task to mean and standard deviation of its training labels."""
    extremes: Mapping[str, tuple[float, float]]
    """Continuous task to its least and its largest training label."""
    limits: Mapping[str, float]
    """Continuous task to the value above which its training labels count as that value; empty
    where the recipe sets no percentile."""
    class_counts: Mapping[str, tuple[int, ...]]
    """Categorical task to labelled training pixels of each class."""
    n_pixels: Mapping[str, int]
    """Task to labelled training pixels."""


def measure(
    views: Sequence[FoldView],
    kinds: Mapping[str, tuple[Kind, int]],
    *,
    patch: int,
    percent: float | None = None,
) -> TrainStatistics:
    """Measure bands and labels over the windows of the training fold.

    Parameters
    ----------
    views : sequence of FoldView
        The training fold of each scene.
    kinds : mapping
        Task name to its kind and number of channels.
    patch : int
        Side of the windows, in pixels.
    percent : float, optional
        Percentile of the labels of continuous tasks to find, for ``limits``.

    Raises
    ------
    InputError
        If a task has no training label, or no training pixel is valid.
    """
    bands, spread = _bands(views, patch)
    counts: dict[str, NDArray[np.int64]] = {}
    sums: dict[str, NDArray[np.float64]] = {}
    extremes: dict[str, tuple[float, float]] = {}
    for name, values in _labels(views):
        kind, channels = kinds[name]
        if kind is Kind.CATEGORICAL:
            counts.setdefault(name, np.zeros(channels, dtype=np.int64))
            counts[name] += np.bincount(values, minlength=channels)
        else:
            exact = values.astype(np.float64)
            sums.setdefault(name, np.zeros(3))
            sums[name] += (exact.size, exact.sum(), (exact**2).sum())
            low, high = extremes.get(name, (np.inf, -np.inf))
            extremes[name] = (
                float(exact.min(initial=low)), float(exact.max(initial=high)),
            )  # fmt: skip
    n_pixels = {
        name: int(counts[name].sum() if name in counts else sums[name][0]) for name in kinds
    }
    for name, n in n_pixels.items():
        if not n:
            raise InputError(
                f"task {name!r} has no label in the training fold; check its raster and the split"
            )
    return TrainStatistics(
        **bands,
        spread=spread,
        scaling={name: _mean_std(total) for name, total in sums.items()},
        extremes=extremes,
        limits={} if percent is None else percentiles(views, extremes, percent=percent),
        class_counts={name: tuple(found.tolist()) for name, found in counts.items()},
        n_pixels=n_pixels,
    )


def median_frequency(counts: Sequence[int]) -> NDArray[np.float32]:
    """Return class weights median(p) / p over the classes that occur; 0 for those that do not.

    Examples
    --------
    >>> median_frequency([100, 50, 0, 25]).tolist()
    [0.5, 1.0, 0.0, 2.0]
    """
    found = np.asarray(counts, dtype=np.float64)
    weights = np.zeros(found.shape)
    weights[found > 0] = np.median(found[found > 0]) / found[found > 0]
    return weights.astype(np.float32)


def inverse_frequency(counts: Sequence[int]) -> NDArray[np.float32]:
    """Return class weights 1 / p (arXiv 2407.16384, eq. 13); 0 for classes that do not occur.

    Examples
    --------
    >>> inverse_frequency([60, 30, 0, 30]).tolist()
    [2.0, 4.0, 0.0, 4.0]
    """
    found = np.asarray(counts, dtype=np.float64)
    weights = np.zeros(found.shape)
    weights[found > 0] = found.sum() / found[found > 0]
    return weights.astype(np.float32)


def percentiles(
    views: Sequence[FoldView], extremes: Mapping[str, tuple[float, float]], *, percent: float
) -> dict[str, float]:
    """Return a percentile of the training labels of each continuous task, in bounded memory.

    Labels are counted in 65536 bins between the extremes; the upper edge of the bin in which the
    percentile lies is returned, which is at most 1/65536 of the range too high.

    Parameters
    ----------
    views : sequence of FoldView
        The training fold of each scene.
    extremes : mapping
        Task to its least and largest training label.
    percent : float
        From 0 to 100.
    """
    counts = {name: np.zeros(_BINS, dtype=np.int64) for name in extremes}
    for name, values in _labels(views):
        if name in extremes:
            low, high = extremes[name]
            share = (values.astype(np.float64) - low) / ((high - low) or 1.0)
            bins = np.clip(np.ceil(share * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
            counts[name] += np.bincount(bins, minlength=_BINS)
    found = {}
    for name, (low, high) in extremes.items():
        rank = np.searchsorted(np.cumsum(counts[name]), counts[name].sum() * percent / 100)
        found[name] = low + (high - low) * (int(rank) + 1) / _BINS
    return found


def _bands(views: Sequence[FoldView], patch: int) -> tuple[dict[str, tuple[float, ...]], Spread]:
    windows = [(view, window) for view in views for window in view.windows(patch)]
    step = -(-len(windows) // _MOST_WINDOWS) or 1
    size = sum(window.height * window.width for _, window in windows[::step])
    thin = -(-size // _MOST_PRODUCTS) or 1
    n, total, squares = 0, np.zeros(1), np.zeros(1)
    low, high = np.array([np.inf]), np.array([-np.inf])
    products = _Products()
    for view, window in windows[::step]:
        values, valid = view.read(window)
        pixels = view.to_network(values)[:, valid].astype(np.float64)  # (band, pixel)
        products.add(pixels[:, -n % thin :: thin])
        n += pixels.shape[1]
        total, squares = total + pixels.sum(axis=1), squares + (pixels**2).sum(axis=1)
        low = np.minimum(low, pixels.min(axis=1, initial=np.inf))
        high = np.maximum(high, pixels.max(axis=1, initial=-np.inf))
    if not n:
        raise InputError("no pixel of the training windows is valid; check nodata and the split")
    mean = total / n
    std = np.sqrt(np.maximum(squares / n - mean**2, 0))
    std[std <= _CONSTANT * np.abs(mean)] = 1.0
    width = np.where(high > low, high - low, 1.0)
    found = {"mean": mean, "std": std, "low": low, "width": width}
    spread = spread_of(mean, products.covariance())
    return {name: tuple(values.tolist()) for name, values in found.items()}, spread


class _Products:
    """Adds up products of bands about the first pixels' mean, so that few digits are lost."""

    def __init__(self) -> None:
        self._n = 0
        self._origin = self._sum = self._products = np.zeros(0)

    def add(self, pixels: NDArray[np.float64]) -> None:
        """Add ``(band, pixel)``."""
        if not pixels.size:
            return
        if not self._n:
            self._origin = pixels.mean(axis=1, keepdims=True)
            self._sum, self._products = np.zeros(1), np.zeros((1, 1))
        moved = pixels - self._origin
        self._n += moved.shape[1]
        self._sum = self._sum + moved.sum(axis=1)
        self._products = self._products + moved @ moved.T

    def covariance(self) -> NDArray[np.float64]:
        """Return ``(band, band)``."""
        mean = self._sum / self._n
        found: NDArray[np.float64] = self._products / self._n - np.outer(mean, mean)
        return found


def _labels(views: Sequence[FoldView]) -> Iterator[tuple[str, NDArray[Any]]]:
    for view in views:
        for window in view.windows(max(view.shape)):
            for name, values in view.targets(window).items():
                known = np.isfinite(values) if values.dtype.kind == "f" else values >= 0
                yield name, values[known]


def _mean_std(sums: NDArray[np.float64]) -> tuple[float, float]:
    n, total, squares = (float(value) for value in sums)
    if not n:
        return 0.0, 1.0
    mean = total / n
    std = max(squares / n - mean**2, 0.0) ** 0.5
    return mean, std if std > _CONSTANT * abs(mean) else 1.0

"""How far apart the spectra of two classes lie: Jeffries-Matusita and transformed divergence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hsimap.tasks import Task

_MOST_COMPONENTS: Final = 10
_PIXELS_A_COMPONENT: Final = 10
"""Pixels of a class that each component of its covariance stands on, at least."""
_RIDGE: Final = 1e-9
"""Added to the variances, in shares of their mean: a component may be constant in a class."""
_A_PAIR: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability:
    """Distances between the classes of a task, from normal distributions fitted to them."""

    task: Task
    classes: tuple[int, ...]
    """Channels that have pixels enough; the order of the axes."""
    jeffries_matusita: NDArray[np.float64]
    """``(class, class)``, 0 to 2: 2 (1 - exp(-B)), B = Bhattacharyya distance."""
    transformed_divergence: NDArray[np.float64]
    """``(class, class)``, 0 to 2: 2 (1 - exp(-D / 8)), D = divergence."""
    components: int
    """Principal components of the pixels that the distances were taken in."""
    variance: float
    """Share of the variance that they hold."""

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        return [self.task.classes[k].name for k in self.classes]

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "classes": self.names,
            "jeffries_matusita": self.jeffries_matusita.tolist(),
            "transformed_divergence": self.transformed_divergence.tolist(),
            "components": self.components,
            "variance": self.variance,
        }


class ClassMoments:
    """Counts, means and covariances of the spectra of each class, summed as pixels come.

    Parameters
    ----------
    n_classes, n_bands : int
        Sizes.
    """

    def __init__(self, n_classes: int, n_bands: int) -> None:
        self.n = np.zeros(n_classes)
        self._sums = np.zeros((n_classes, n_bands))
        self._products = np.zeros((n_classes, n_bands, n_bands))
        self._shift: NDArray[np.float64] | None = None

    def add(self, target: NDArray[np.integer], spectra: NDArray[np.floating]) -> None:
        """Add ``(n,)`` channel indices and ``(band, n)`` spectra."""
        if not target.size:
            return
        if self._shift is None:  # keeps the products small, which keeps their digits
            self._shift = spectra.mean(axis=1, dtype=np.float64)
        centred = spectra.astype(np.float64) - self._shift[:, None]
        for k in np.unique(target):
            own = centred[:, target == k]
            self.n[k] += own.shape[1]
            self._sums[k] += own.sum(axis=1)
            self._products[k] += own @ own.T

    def of(self, classes: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return ``(class, band)`` means, shifted alike, and covariances of ``(band, band)``."""
        chosen = list(classes)
        n = self.n[chosen]
        mean = self._sums[chosen] / n[:, None]
        outer = mean[:, :, None] * mean[:, None, :]
        covariance = (self._products[chosen] - n[:, None, None] * outer) / (n - 1)[:, None, None]
        return mean, covariance

    def pooled(self) -> NDArray[np.float64]:
        """Return the ``(band, band)`` covariance of all pixels."""
        n, sums = self.n.sum(), self._sums.sum(axis=0)
        covariance: NDArray[np.float64] = (
            self._products.sum(axis=0) - np.outer(sums, sums) / n
        ) / (n - 1)
        return covariance


def separability(task: Task, moments: ClassMoments) -> Separability | None:
    """Return the distances between all classes of a task that have pixels enough.

    The spectra are projected on their principal components first, at most ten and no more than a
    tenth of the pixels of the smallest class, since covariances of all bands would be singular.

    Parameters
    ----------
    task : Task
        A categorical task.
    moments : ClassMoments
        Of the spectra of its labelled pixels.

    Returns
    -------
    Separability or None
        None with fewer than two classes of at least twenty pixels.
    """
    least = 2 * _PIXELS_A_COMPONENT
    classes = tuple(int(k) for k in np.flatnonzero(moments.n >= least))
    if len(classes) < _A_PAIR:
        return None
    values, vectors = np.linalg.eigh(moments.pooled())
    room = int(moments.n[list(classes)].min()) // _PIXELS_A_COMPONENT
    k = max(1, min(_MOST_COMPONENTS, len(values), room))
    axes = vectors[:, ::-1][:, :k]
    mean, covariance = moments.of(classes)
    mean, covariance = mean @ axes, axes.T @ covariance @ axes
    traces = np.trace(covariance, axis1=1, axis2=2)[:, None, None] / k
    covariance = covariance + _RIDGE * np.maximum(traces, _RIDGE) * np.eye(k)
    n = len(classes)
    jm, td = np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(i):
            pair = (mean[i], mean[j], covariance[i], covariance[j])
            jm[i, j] = jm[j, i] = 2 * -np.expm1(-bhattacharyya(*pair))
            td[i, j] = td[j, i] = 2 * -np.expm1(-divergence(*pair) / 8)
    total = values.sum()
    return Separability(
        task=task,
        classes=classes,
        jeffries_matusita=jm,
        transformed_divergence=td,
        components=k,
        variance=float(values[::-1][:k].sum() / total) if total > 0 else 1.0,
    )


def bhattacharyya(
    mean: NDArray[np.float64],
    other_mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    other_covariance: NDArray[np.float64],
) -> float:
    """Return the Bhattacharyya distance of two normal distributions.

    d' inv((A + B) / 2) d / 8 + ln(|(A + B) / 2| / sqrt(|A| |B|)) / 2 with d the difference of the
    ``(k,)`` means and A, B the ``(k, k)`` covariances.
    """
    d, middle = mean - other_mean, (covariance + other_covariance) / 2
    logs = [np.linalg.slogdet(m)[1] for m in (middle, covariance, other_covariance)]
    return float(d @ np.linalg.solve(middle, d) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2)


def divergence(
    mean: NDArray[np.float64],
    other_mean: NDArray[np.float64],
    covariance: NDArray[np.float64],
    other_covariance: NDArray[np.float64],
) -> float:
    """Return the divergence of two normal distributions.

    tr((A - B)(inv B - inv A)) / 2 + d' (inv A + inv B) d / 2, names as in :func:`bhattacharyya`:
    the sum of both Kullback-Leibler divergences.
    """
    d = mean - other_mean
    first, second = np.linalg.inv(covariance), np.linalg.inv(other_covariance)
    shape = np.trace((covariance - other_covariance) @ (second - first)) / 2
    return float(shape + d @ (first + second) @ d / 2)

"""How sure a model is: widths of intervals and temperatures, as measured on held-out units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from hsimap.tasks import Strict

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Record(Strict):
    model_config = ConfigDict(allow_inf_nan=False)


class Intervals(_Record):
    """Prediction intervals of a continuous task: value ± a half width that depends on the value."""

    edges: tuple[float, ...] = ()
    """Rising; bin k holds the values from edge k - 1 on and below edge k."""
    half_widths: dict[str, tuple[float, ...]] = Field(min_length=1)
    """Level in percent, as "90", to one half width a bin, in the task's unit."""
    units: tuple[float, ...]
    """Calibration units of each bin; one whose pixels fall into several counts in parts."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        n = len(self.edges) + 1
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"edges must rise, got {list(self.edges)}")
        for level, widths in self.half_widths.items():
            if not level.isdecimal() or not 0 < int(level) < 100:  # noqa: PLR2004  # percent
                raise ValueError(f"interval level must be a whole percentage, got {level!r}")
            if len(widths) != n or min(widths) < 0:
                raise ValueError(f"level {level} needs {n} half widths of 0 or more, got {widths}")
        if len(self.units) != n:
            raise ValueError(f"units needs {n} numbers, got {len(self.units)}")
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """Levels in percent, rising."""
        return tuple(sorted(int(level) for level in self.half_widths))

    def bounds(
        self, values: NDArray[Any], *, level: int, clip: tuple[float, float] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the lower and the upper bounds of values.

        Parameters
        ----------
        values : ndarray
            Any shape, in the task's unit; NaN gives NaN.
        level : int
            In percent, one of :attr:`levels`.
        clip : tuple of float, optional
            The task's range.

        Returns
        -------
        tuple of ndarray
            ``float32`` of the same shape, with low <= value <= high.
        """
        exact = np.asarray(values, dtype=np.float64)
        widths = np.asarray(self.half_widths[str(level)])
        half = widths[np.searchsorted(np.asarray(self.edges), exact, side="right")]
        low, high = exact - half, exact + half
        if clip is not None:
            low, high = np.clip(low, *clip), np.clip(high, *clip)
        narrow = np.asarray(values, dtype=np.float32)
        return (
            np.minimum(low.astype(np.float32), narrow),
            np.maximum(high.astype(np.float32), narrow),
        )


class Sharpness(_Record):
    """What temperature scaling did to the probabilities of a categorical task."""

    units: int = Field(ge=1)
    """Calibration units; each counts once."""
    nll_before: float
    """Mean negative log-likelihood at temperature 1."""
    nll_after: float
    ece_before: float
    """Expected calibration error at temperature 1, over 15 bins of the highest probability."""
    ece_after: float


class Calibration(_Record):
    """What was measured on the validation fold after training."""

    unit: Literal["stand", "block"]
    """What is taken as exchangeable with what will be mapped."""
    intervals: dict[str, Intervals] = Field(default_factory=dict)
    """By continuous task; one with too few units is left out."""
    temperature: dict[str, float] = Field(default_factory=dict)
    """By categorical task: logits are divided by it before the softmax."""
    sharpness: dict[str, Sharpness] = Field(default_factory=dict)
    """By categorical task."""

"""The figures of one task: scores by pixel and by stand, and what the plots are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hsimap.evaluation._calibration import error_of_sums
from hsimap.evaluation._scores import class_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hsimap.evaluation._tasks import TaskScores
    from hsimap.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How often the truth lies in the intervals of one level."""

    n: int
    """Pixels."""
    units: int
    """Stands or blocks that they lie in."""
    by_unit: float
    """Share of the covered pixels of a unit, averaged over the units: what the level promises."""
    by_unit_error: float
    """Standard error of that mean."""
    by_pixel: float
    """Share of the covered pixels of all."""
    width: float
    """Mean width over the pixels, in the task's unit."""

    @classmethod
    def of(cls, sums: NDArray[np.float64]) -> Coverage:
        """Build it of ``(unit, 3)`` pixels, covered pixels and widths, summed."""
        n, covered, width = sums.T
        total = n.sum()
        with np.errstate(invalid="ignore"):
            shares = covered / n
            units = len(shares)
            spread = shares.std(ddof=1) / np.sqrt(units) if units > 1 else np.nan
            return cls(
                n=int(total),
                units=int((n > 0).sum()),
                by_unit=float(shares.mean()),
                by_unit_error=float(spread),
                by_pixel=float(covered.sum() / total),
                width=float(width.sum() / total),
            )

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDetail:
    """Of a categorical task, over pixels."""

    auc: NDArray[np.float64]
    """``(class,)``: area under the ROC curve, one class against the rest."""
    auc_error: NDArray[np.float64]
    """``(class,)``: the most that the bins of the probabilities can have cost."""
    reliability: NDArray[np.float64]
    """``(bin, 3)``: pixels, sum of the highest probability, hits."""
    nll: float
    """Mean negative log-likelihood."""
    brier: float
    """Mean squared distance of the probabilities from the truth, summed over the classes."""

    @property
    def ece(self) -> float:
        """Expected calibration error of the highest probability."""
        return error_of_sums(self.reliability)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueDetail:
    """Of a continuous task, over pixels."""

    span: tuple[float, float]
    """What the histograms cover."""
    joint: NDArray[np.float64]
    """``(true, mapped)`` pixels, equal bins over the span; beyond it counts at its ends."""
    errors: NDArray[np.float64]
    """``(bin,)`` pixels by mapped minus true, equal bins over plus and minus the span's width."""
    coverage: Mapping[int, Coverage]
    """By level in percent; empty where the model states no intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEvaluation:
    """How well a model maps one task over a fold."""

    task: Task
    pixel: TaskScores
    stand: tuple[TaskScores, NDArray[np.float64]] | None
    """Scores by stand, and ``(class,)`` areas under the curve or ``(2, stand)`` true and mapped
    means; None without stands."""
    detail: ClassDetail | ValueDetail

    def levels(self) -> dict[str, TaskScores]:
        """Return the scores by level: pixel and, where there are stands, stand."""
        return {"pixel": self.pixel} | ({} if self.stand is None else {"stand": self.stand[0]})

    def scores(self, level: str) -> dict[str, float]:
        """Return all scores of a level, areas under the curve and calibration error included."""
        if level == "stand" and self.stand is None:
            return {}
        found = dict(self.levels()[level].scores)
        if isinstance(self.detail, ClassDetail):
            areas = self.detail.auc
            if level == "stand" and self.stand is not None:
                areas = self.stand[1]
            found["macro_auc"] = _mean_known(areas)
            if level == "pixel":
                found |= {"ece": self.detail.ece, "nll": self.detail.nll,
                          "brier": self.detail.brier}  # fmt: skip
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        record: dict[str, Any] = {"kind": self.task.kind.value, "unit": self.task.unit}
        for level, scores in self.levels().items():
            record[level] = scores.as_dict() | self.scores(level)
        if isinstance(self.detail, ClassDetail):
            record["classes"] = self.per_class()
            record["pixel"]["macro_auc_error"] = _mean_known(self.detail.auc_error)
            record["reliability"] = self.detail.reliability.tolist()
        elif self.detail.coverage:
            record["intervals"] = {
                str(level): coverage.as_dict() for level, coverage in self.detail.coverage.items()
            }
        return record

    def per_class(self) -> list[dict[str, Any]]:
        """Return code, name, support, precision, recall, F1 and area of each class, by pixel."""
        counts = np.array(self.pixel.confusion or [], dtype=np.float64)
        table = class_table(counts)
        areas = self.detail.auc if isinstance(self.detail, ClassDetail) else ()
        return [
            {
                "code": label.code,
                "name": label.name,
                "support": int(counts[k].sum()),
                **{name: float(values[k]) for name, values in table.items()},
                "auc": float(areas[k]),
            }
            for k, label in enumerate(self.task.classes)
        ]


def _mean_known(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")

"""What overlapping lines say of the same ground: the honest figure of repeatability."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from itertools import combinations
from math import sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.products import sync_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.flightlines._lines import Variable

TABLE: Final = "agreement.csv"
ALL: Final = "all"
_HEAD: Final = (
    "line_a",
    "line_b",
    "variable",
    "unit",
    "pairs",
    "agreement",
    "rmsd",
    "bias",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One line's own answer in a window."""

    line: int
    values: NDArray[np.float64]
    """``(y, x)``: codes or values."""
    valid: NDArray[np.bool_]


@dataclass(slots=True)
class Sums:
    """Counts of the pairs of lines over all pixels that both see."""

    found: dict[tuple[int, int, str], list[float]] = field(default_factory=dict)
    """Two lines and a variable to pixels, equal classes or squared differences, differences."""

    def add(self, key: tuple[int, int, str], numbers: Sequence[float]) -> None:
        """Add to a pair's counts."""
        held = self.found.setdefault(key, [0.0, 0.0, 0.0])
        for i, number in enumerate(numbers):
            held[i] += number

    def merge(self, other: Sums) -> None:
        """Add all of another's counts."""
        for key, numbers in other.found.items():
            self.add(key, numbers)

    def save(self, path: Path) -> None:
        """Write the counts as JSON and wait until they are durable."""
        path.write_text(json.dumps([[*key, *n] for key, n in self.found.items()]))
        sync_path(path)

    @classmethod
    def load(cls, path: Path) -> Sums:
        """Read what :meth:`save` wrote."""
        sums = cls()
        for one, other, name, *numbers in json.loads(path.read_text()):
            sums.add((one, other, name), numbers)
        return sums


def compare(variable: Variable, seen: Sequence[Seen], sums: Sums) -> NDArray[np.float32]:
    """Compare each pair of lines; add the counts and return the map.

    Parameters
    ----------
    variable : Variable
        Classes or values.
    seen : sequence of Seen
        The lines that see the window, in the order of their numbers.
    sums : Sums
        Takes the counts.

    Returns
    -------
    ndarray
        ``(y, x) float32``: of classes the share of pairs that agree, of values the root mean square
        of the pairs' differences; NaN where fewer than two lines see the pixel.
    """
    shape = seen[0].values.shape
    pairs, total = np.zeros(shape), np.zeros(shape)
    for one, other in combinations(seen, 2):
        both = one.valid & other.valid
        if not both.any():
            continue
        off = np.where(both, other.values - one.values, 0.0)
        hit = both & (off == 0) if variable.is_classes else off * off
        pairs += both
        total += hit
        counts = (float(both.sum()), float(hit.sum()), float(off.sum()))
        sums.add((one.line, other.line, variable.name), counts)
    mean = np.where(pairs > 0, total / np.maximum(pairs, 1), np.nan)
    return (mean if variable.is_classes else np.sqrt(mean)).astype(np.float32)


def tabulate(
    sums: Sums, variables: Iterable[Variable], names: Sequence[str]
) -> list[dict[str, object]]:
    """Return a row a variable over all pairs, then a row a pair and variable.

    Parameters
    ----------
    sums : Sums
        The counts.
    variables : iterable of Variable
        In the order of the rows.
    names : sequence of str
        Name of each line.
    """
    known = list(variables)
    over_all = Sums()
    for (_, _, name), numbers in sorted(sums.found.items()):
        over_all.add((-1, -1, name), numbers)
    rows = []
    for found in (over_all, sums):
        for pair in sorted({key[:2] for key in found.found}):
            for variable in known:
                key = (*pair, variable.name)
                if key in found.found:
                    told = (ALL, ALL) if pair[0] < 0 else (names[pair[0]], names[pair[1]])
                    rows.append(
                        dict(zip(_HEAD, (*told, *_row(variable, found.found[key])), strict=True))
                    )
    return rows


def _row(variable: Variable, numbers: Sequence[float]) -> tuple[object, ...]:
    n, hits, off = numbers
    head = (variable.name, variable.task.unit, int(n))
    if variable.is_classes:
        return (*head, _short(hits / n), None, None)
    return (*head, None, _short(sqrt(hits / n)), _short(off / n))


def _short(value: float) -> float:
    """Return six digits: what rounding in another order of sums could change is left out."""
    return float(f"{value:.6g}") + 0.0


def as_csv(rows: Sequence[dict[str, object]]) -> str:
    """Return the table as text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _HEAD, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

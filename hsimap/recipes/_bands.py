"""Which bands a recipe means."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from hsimap.errors import UsageError

_PART: Final = re.compile(r"\s*([0-9]+)?\s*(:)?\s*([0-9]+)?\s*")


def _checked(bands: BandSelection) -> BandSelection:
    parse_selection(bands)
    return bands


def parse_selection(bands: str | int | tuple[int, ...]) -> tuple[tuple[int, int | None], ...]:
    """Return half-open runs ``(first, end)``; end None = to the last band.

    Raises
    ------
    UsageError
        If the text is no selection.
    """
    if isinstance(bands, int):
        bands = (bands,)
    runs: list[tuple[int, int | None]] = []
    for part in bands.split(",") if isinstance(bands, str) else map(str, bands):
        match = _PART.fullmatch(part)
        first, colon, last = match.groups() if match else (None, None, None)
        end = int(last) if last else None
        if colon is None:
            end = int(first) + 1 if first and not last else 0
        start = int(first or 0)
        if end is not None and end <= start:
            raise UsageError(
                f'bands must be written as "0:110" or "3,5,10:20" (counted from 0, the end left'
                f" out), got {part.strip()!r}"
            )
        runs.append((start, end))
    return tuple(runs)


BandSelection = Annotated[
    str | int | Annotated[tuple[int, ...], Field(strict=False)], AfterValidator(_checked)
]
"""Bands counted from 0: ``"0:110"`` (half-open), ``"3,5,10:20"``, a number or a list."""


def select_bands(bands: str | int | tuple[int, ...], *, n: int, key: str) -> tuple[int, ...]:
    """Return the bands that a recipe's ``bands`` or ``bad_bands`` names.

    Parameters
    ----------
    bands : str, int or tuple of int
        As in the recipe.
    n : int
        Bands of the scene.
    key : str
        What the selection is called in errors, as ``input.bands``.

    Returns
    -------
    tuple of int
        Sorted, each once, counted from 0.

    Raises
    ------
    UsageError
        If the text is no selection, or it names a band that the scene does not have.

    Examples
    --------
    >>> select_bands("3,5,8:10,12:", n=14, key="input.bands")
    (3, 5, 8, 9, 12, 13)
    """
    found: set[int] = set()
    for start, end in parse_selection(bands):
        stop = n if end is None else end
        if stop > n or start >= n:
            raise UsageError(
                f"{key} names band {max(stop - 1, start)}; the scene's {n} bands are 0 to {n - 1}"
            )
        found.update(range(start, stop))
    return tuple(sorted(found))

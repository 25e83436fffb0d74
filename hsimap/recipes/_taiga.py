"""What the header of TAIGA's label raster says of its bands, held against a recipe.

The raster is an ENVI file whose ``band descriptions`` are JSON without the outermost braces: by
band a ``type``, ``values`` (code to class) or ``unit`` (factor from the stored number, unit). Any
label raster with such a header is checked; others are left alone.
"""

from __future__ import annotations

import json
import re
from math import isclose
from typing import TYPE_CHECKING, Any, Final

from hsimap.errors import UsageError
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hsimap.labels import LabelSpec
    from hsimap.recipes._files import SceneFiles
    from hsimap.tasks import Task

_FIELD: Final = re.compile(r"^band descriptions[ \t]*=[ \t]*(\{.*)$", re.MULTILINE)
_LARGEST: Final = 1 << 20
"""Bytes; the published header has 3 KB."""


def band_descriptions(raster: Path) -> tuple[dict[str, Any], ...]:
    """Return what an ENVI header says of each band; empty if it has no ``band descriptions``.

    The published header lacks the last brace; it is put back.

    Parameters
    ----------
    raster : Path
        The data file.

    Raises
    ------
    UsageError
        If there are band descriptions that are no JSON.
    """
    header = raster.with_name(raster.name + ".hdr")
    if not header.is_file() or header.stat().st_size > _LARGEST:
        return ()
    found = _FIELD.search(header.read_text(encoding="utf-8", errors="replace"))
    if found is None:
        return ()
    text = found.group(1).strip()
    text += "}" * max(0, text.count("{") - text.count("}"))
    try:
        bands = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{header}: 'band descriptions' is no JSON: {error}") from None
    return tuple({"name": name, **band} for name, band in bands.items())


def check_descriptions(tasks: tuple[Task, ...], files: SceneFiles) -> tuple[str, ...]:
    """Hold the labels of a scene against the headers of their rasters.

    Parameters
    ----------
    tasks : tuple of Task
        Of the recipe.
    files : SceneFiles
        Of one scene.

    Returns
    -------
    tuple of str
        Band and meaning of each task whose header tells, a sentence each.

    Raises
    ------
    UsageError
        If a band holds another kind of variable, or another scale, than the recipe says.
    """
    notes = []
    for task in tasks:
        spec = files.labels.get(task.name)
        if spec is None or spec.raster is None or not isinstance(spec.band, int):
            continue
        bands = band_descriptions(files.root / spec.raster)
        if bands:
            notes.append(_checked(task, spec, bands))
    return tuple(notes)


def _checked(task: Task, spec: LabelSpec, bands: tuple[dict[str, Any], ...]) -> str:
    number = int(spec.band or 0)
    if number > len(bands):
        raise UsageError(f"{spec.raster} describes {len(bands)} bands and no band {number}")
    band = bands[number - 1]
    for what, said, stated in _contradictions(task, spec, band):
        raise UsageError(
            f"labels of {task.name!r}: {spec.raster} says of band {number} ({band['name']}) that"
            f" its {what} is {stated}; the recipe says {said}"
        )
    return f"{task.name}: band {number} of {spec.raster}, {band['name']}"


def _contradictions(
    task: Task, spec: LabelSpec, band: dict[str, Any]
) -> Iterator[tuple[str, object, object]]:
    """Yield (property, what the recipe says, what the header states)."""
    kind = "categorical" if task.kind is Kind.CATEGORICAL else "continuous"
    if band.get("type") != kind:
        yield "type", kind, band.get("type")
    elif kind == "continuous":
        factor = float(band.get("unit", [1.0])[0])
        scale = 1.0 if spec.scale is None else spec.scale
        if not isclose(scale, factor, rel_tol=1e-6):
            yield "scale", scale, factor
    elif not set(map(str, task.codes.tolist())) <= set(band.get("values", {})):
        yield "set of codes", task.codes.tolist(), list(band.get("values", {}))

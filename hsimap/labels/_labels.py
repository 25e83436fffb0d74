"""Labels of one task on a scene's grid."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from hsimap.errors import InputError, UsageError
from hsimap.labels._features import as_codes, as_ids, as_numbers, read_features
from hsimap.labels._raster import BandReader
from hsimap.labels._vector import VectorBand
from hsimap.tasks import Kind, encode_classes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hsimap.geometry import Grid, Window
    from hsimap.labels._specs import LabelSpec, StandSpec
    from hsimap.tasks import Task


class Labels:
    """Windows of the labels of one task. Made by :func:`open_labels`.

    Parameters
    ----------
    task : Task
        What is labelled.
    reader : BandReader or VectorBand
        What holds the labels.
    spec : LabelSpec
        What its values mean.
    """

    def __init__(self, task: Task, reader: BandReader | VectorBand, spec: LabelSpec) -> None:
        self.task = task
        self._reader = reader
        self._scale, self._offset = reader.scale, reader.offset
        if spec.scale is not None:
            self._scale, self._offset = spec.scale, 0.0
        ignored = (spec.ignore,) if isinstance(spec.ignore, int) else spec.ignore
        self._unlabelled = (0, *ignored)
        self._limits = task.range if spec.clip else None
        self.notes: tuple[str, ...] = reader.notes
        """What was assumed or is unusual, a sentence each."""

    @property
    def path(self) -> Path:
        """The file that holds them."""
        return self._reader.path

    def read(self, window: Window) -> NDArray[Any]:
        """Return the labels of a window, which may pass the edge.

        Returns
        -------
        ndarray
            ``(y, x)``: int64 channel index, -1 = no label, of a categorical task; float32 value in
            the task's unit, NaN = no label, of a continuous one. Values outside the task's range
            are kept, or set to its ends where the spec clips.

        Raises
        ------
        InputError
            If the file is damaged there or holds a code that is no class.
        """
        stored, valid = self._reader.read(window)
        if self.task.kind is Kind.CONTINUOUS:
            values = stored.astype(np.float64) * self._scale + self._offset
            if self._limits is not None:
                values = values.clip(*self._limits)
            return np.where(valid, values, np.nan).astype(np.float32)
        stored[~valid] = 0
        try:
            index = encode_classes(self.task, stored, unlabelled=self._unlabelled)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        index[~valid] = -1
        return index

    def check(self) -> None:
        """Read all of it: raises on an undeclared code, notes values outside the task's range.

        Raises
        ------
        InputError
            As :meth:`read`.
        """
        low, high = self.task.range or (-np.inf, np.inf)
        outside = found = 0
        for window in self._reader.strips():
            values = self.read(window)
            if values.dtype.kind == "f":
                found += int(np.isfinite(values).sum())
                outside += int(((values < low) | (values > high)).sum())
            else:
                found += int((values >= 0).sum())
        if outside:
            note = (
                f"{outside} of the {found} labels of {self.task.name!r} in {self.path.name} lie"
                f" outside its range {low:g} to {high:g}; they are kept, maps are clipped"
            )
            self.notes += (note,)
        if not found:
            self.notes += (f"{self.path.name} holds no label of {self.task.name!r}",)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def open_labels(task: Task, spec: LabelSpec, *, grid: Grid, root: Path) -> Labels:
    """Open the labels of a task and check all of them.

    Parameters
    ----------
    task : Task
        A categorical or continuous task.
    spec : LabelSpec
        File, band, nodata and scale.
    grid : Grid
        The scene's grid; shape, transform (to 1e-6 px) and, where both state it, CRS must agree.
    root : Path
        The folder that relative paths start from.

    Returns
    -------
    Labels

    Raises
    ------
    UsageError
        If there is no such file or band, or the spec does not fit the kind of task.
    InputError
        If the file is damaged, lies on another grid, or holds a code that is no class, anywhere.
    """
    if task.kind not in {Kind.CATEGORICAL, Kind.CONTINUOUS}:
        raise UsageError(f"task {task.name!r} is {task.kind.value}; a raster cannot label it")
    _check_spec(task, spec)
    reader = _open_source(task, spec, grid=grid, root=root)
    with ExitStack() as undo:
        undo.callback(reader.close)
        _check_nodata(task, reader)
        labels = Labels(task, reader, spec)
        labels.check()
        undo.pop_all()
    return labels


def _open_source(task: Task, spec: LabelSpec, *, grid: Grid, root: Path) -> BandReader | VectorBand:
    if spec.vector is None:
        return BandReader(
            root / str(spec.raster), spec.band, grid=grid, prefer=task.name, nodata=spec.nodata
        )
    features = read_features(
        root / spec.vector, grid=grid, field=spec.field, layer=spec.layer, buffer=spec.buffer
    )
    coded = task.kind is Kind.CATEGORICAL
    features = as_codes(features, spec.classes) if coded else as_numbers(features)
    return VectorBand(features, grid=grid, rule=spec.rule, min_coverage=spec.min_coverage)


def _check_spec(task: Task, spec: LabelSpec) -> None:
    """Refuse settings of the other kind of task."""
    if task.kind is Kind.CATEGORICAL:
        for name, given in (("scale", spec.scale is not None), ("clip", spec.clip)):
            if given:
                raise UsageError(
                    f"labels of {task.name!r}: {name} is for continuous tasks; leave it out"
                )
        return
    if spec.classes is not None:
        raise UsageError(f"labels of {task.name!r}: classes is for categorical tasks; leave it out")
    if spec.ignore != ():
        raise UsageError(
            f"labels of {task.name!r}: ignore is for categorical tasks; use nodata for one value"
        )
    if spec.clip and task.range is None:
        raise UsageError(f"labels of {task.name!r}: clip needs the task's range; state it")


def _check_nodata(task: Task, reader: BandReader | VectorBand) -> None:
    if reader.nodata is not None and reader.nodata in task.codes.tolist():
        raise InputError(
            f"{reader.path} declares {reader.nodata:g} as nodata, which is a class of"
            f" {task.name!r}; state another `nodata:` for it in the recipe"
        )


def read_stands(spec: StandSpec, *, grid: Grid, root: Path) -> NDArray[np.int32]:
    """Read stand ids.

    Parameters
    ----------
    spec : StandSpec
        File and band.
    grid : Grid
        The scene's grid.
    root : Path
        The folder that relative paths start from.

    Returns
    -------
    ndarray
        ``(y, x) int32``: id, 0 = no stand, or one that is excluded.

    Raises
    ------
    UsageError
        If there is no such file or band.
    InputError
        If it lies on another grid or holds anything but whole numbers from 0 to 2**31 - 1.
    """
    stands = np.zeros((grid.height, grid.width), np.int32)
    excluded = [] if spec.exclude is None else read_ids(root / spec.exclude)
    reader = _open_stands(spec, grid=grid, root=root)
    try:
        for window in reader.strips():
            values, valid = reader.read(window)
            known = values[valid]
            bad = (known < 0) | (known > np.iinfo(np.int32).max) | (known != np.floor(known))
            if bad.any():
                raise InputError(
                    f"{reader.path} holds the stand id {known[bad][0]!s}; ids are whole numbers"
                    f" from 0 (no stand) to {np.iinfo(np.int32).max}"
                )
            stands[window.slices][valid] = np.where(np.isin(known, excluded), 0, known)
    finally:
        reader.close()
    return stands


def _open_stands(spec: StandSpec, *, grid: Grid, root: Path) -> BandReader | VectorBand:
    if spec.vector is None:
        return BandReader(root / str(spec.raster), spec.band, grid=grid)
    features = read_features(
        root / spec.vector, grid=grid, field=spec.field, layer=spec.layer, buffer=spec.buffer
    )
    return VectorBand(as_ids(features), grid=grid, rule=spec.rule, min_coverage=spec.min_coverage)


def read_ids(path: Path) -> list[int]:
    """Read stand ids from a text file, one a line; a line that is no whole number is skipped.

    Raises
    ------
    UsageError
        If there is no such file, or no id in it.
    """
    if not path.is_file():
        raise UsageError(f"list of stands {path} does not exist; check the path and the folder")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    ids = [int(line) for line in lines if line.strip().isdecimal()]
    if not ids:
        raise UsageError(f"list of stands {path} holds no id; write one whole number a line")
    return ids

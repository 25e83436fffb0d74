"""Map the labelled parts of a fold with any runtime, strip by strip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from hsimap.evaluation._tasks import square_blocks
from hsimap.geometry import Window, round_up
from hsimap.mapping.engine import Engine
from hsimap.mapping.flags import Flagged
from hsimap.mapping.tiling import TilePlan
from hsimap.tasks import Kind, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hsimap.bundle import BundleManifest
    from hsimap.runtimes import Runtime
    from hsimap.tasks import Output, Task

_LARGEST: Final = 256
"""Kept side of a tile of the prediction, in pixels."""


class Fold(Protocol):
    """What one fold of a scene may see; :class:`hsimap.training.FoldView` is one."""

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in pixels."""

    def read(self, window: Window) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
        """Return ``(band, y, x)`` stored values and ``(y, x)`` True = valid and shown."""

    def to_network(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Convert stored values to float32 in the model's storage units."""

    def targets(self, window: Window) -> dict[str, NDArray[Any]]:
        """Return the labels of the fold by task, ``(y, x)``; -1 or NaN = none."""

    def windows(self, side: int) -> Iterator[Window]:
        """Yield the cells of a plain grid that hold pixels of the fold."""

    def foreign(self, window: Window) -> NDArray[np.bool_]:
        """Return ``(y, x)``: True where a pixel belongs to another fold."""


class FoldScene(Protocol):
    """A labelled scene; :class:`hsimap.training.LabelledScene` is one."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def folds(self) -> NDArray[np.uint8]:
        """``(y, x)``: 0 none, 1 training, 2 validation, 3 test."""

    @property
    def block(self) -> int:
        """Side in pixels of the squares that standard errors are resampled over."""

    @property
    def stands(self) -> NDArray[np.int32] | None:
        """``(y, x)``: stand id, 0 = none."""

    def view(self, fold: int) -> Fold:
        """Return what one fold may see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How a network wants to be run, in pixels."""

    outputs: tuple[Output, ...]
    alignment: int
    patch: int
    trim: int
    """Context of a tile on each side."""

    @classmethod
    def of(cls, manifest: BundleManifest) -> Geometry:
        """Return what a bundle states."""
        return cls(
            outputs=manifest.outputs,
            alignment=manifest.alignment,
            patch=manifest.patch,
            trim=manifest.tile.trim,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldStrip:
    """Rows of a scene with the network's numbers and the labels of a fold."""

    rows: slice
    values: Mapping[str, NDArray[np.float32]]
    """Task to ``(channel, y, x)``: class probabilities, or values in physical units."""
    valid: NDArray[np.bool_]
    """``(y, x)``: mapped."""
    targets: Mapping[str, NDArray[Any]]
    """Task to ``(y, x)``: channel index with -1 = none, or value with NaN = none."""


def map_fold(view: Fold, runtime: Runtime, geometry: Geometry) -> Iterator[FoldStrip]:
    """Map the strips of a scene that hold pixels of a fold, as the mapping engine does.

    Parameters
    ----------
    view : Fold
        The scene as the fold sees it.
    runtime : Runtime
        The network; it is not closed.
    geometry : Geometry
        Outputs and tile rules of the network. Tiles do not fade into each other here.

    Yields
    ------
    FoldStrip
        From top to bottom; outputs of a stride above 1 are repeated to the scene's resolution.
    """
    plan = fold_plan(view.shape, geometry)
    outputs = [output for output in geometry.outputs if output.scope is Scope.PIXEL]
    engine = Engine(plan, Flagged(view), runtime=runtime, outputs=outputs)
    for strip in engine.strips(wanted_strips(plan, view)):
        window = plan.strip(strip.index)
        shown = {
            output.task: _full(strip.values[output.name], output.stride, window)
            for output in outputs
            if output.name == output.task
        }
        yield FoldStrip(
            rows=window.slices[0],
            values=shown,
            valid=strip.valid,
            targets=view.targets(window),
        )


def fold_plan(shape: tuple[int, int], geometry: Geometry) -> TilePlan:
    """Return the tile grid that a fold is scored on: at most 256 px kept, no ramp."""
    step = geometry.alignment
    kept = min(round_up(max(shape), step), round_up(_LARGEST, step))
    trim = round_up(max(geometry.trim, (geometry.patch - kept + 1) // 2), step)
    return TilePlan(height=shape[0], width=shape[1], kept=kept, trim=trim, ramp=0, alignment=step)


def wanted_strips(plan: TilePlan, view: Fold) -> list[int]:
    """Return the strips that hold pixels of a fold, in rising order."""
    strips = {
        row // plan.kept
        for window in view.windows(plan.kept)
        for row in (window.row, window.row + window.height - 1)
    }
    return sorted(strips)


def labelled(task: Task, target: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where there is a label."""
    known: NDArray[np.bool_] = target >= 0 if task.kind is Kind.CATEGORICAL else np.isfinite(target)
    return known


def block_ids(scenes: Sequence[FoldScene]) -> list[NDArray[np.int64]]:
    """Return for each scene ``(y, x)`` ids of its squares, which differ between scenes."""
    blocks, offset = [], 0
    for scene in scenes:
        squares = square_blocks((scene.folds.shape[0], scene.folds.shape[1]), size=scene.block)
        blocks.append(squares + offset)
        offset = int(blocks[-1].max()) + 1
    return blocks


def stand_ids(scenes: Sequence[FoldScene]) -> list[NDArray[np.int64] | None]:
    """Return for each scene ``(y, x)`` ids of its stands, 0 = none, which differ between scenes."""
    stands: list[NDArray[np.int64] | None] = []
    offset = 0
    for scene in scenes:
        if scene.stands is None:
            stands.append(None)
            continue
        stands.append(np.where(scene.stands > 0, scene.stands.astype(np.int64) + offset, 0))
        offset += int(scene.stands.max())
    return stands


def unit_ids(scenes: Sequence[FoldScene]) -> tuple[list[NDArray[np.int64]], str]:
    """Return for each scene ``(y, x)`` ids of its exchangeable units, -1 = none, and their name.

    Units are stands where every scene has them, else the squares of the split.
    """
    stands = stand_ids(scenes)
    known = [ids for ids in stands if ids is not None]
    if len(known) == len(scenes):
        return [np.where(ids > 0, ids, -1) for ids in known], "stand"
    return block_ids(scenes), "block"


def _full(values: NDArray[np.float32], stride: int, window: Window) -> NDArray[np.float32]:
    if stride == 1:
        return values
    repeated = values.repeat(stride, axis=1).repeat(stride, axis=2)
    return repeated[:, : window.height, : window.width]

"""Is a reduced precision good enough: compare its maps with those of float32 on held-out pixels."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hsimap.bundle import INT8, ONNX, Acceptance
from hsimap.errors import InputError
from hsimap.geometry import Window, round_up
from hsimap.mapping.adapter import SceneAdapter
from hsimap.runtimes import (
    default_runtime,
    instruction_set,
    measure_activations,
    open_runtime,
    quantise,
    reduced_routes,
)
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.bundle import Bundle
    from hsimap.mapping.prepare import Batch
    from hsimap.runtimes import Route
    from hsimap.scenes import Scene
    from hsimap.tasks import Output

    Results = dict[str, NDArray[np.float32]]
AGREEMENT: Final = 0.995
"""Least share of pixels of equal class."""
RMSE: Final = 0.02
"""Largest root mean square of the difference, in standard deviations of the output."""
P999: Final = 0.10
"""Largest 99.9th percentile of the difference, in standard deviations of the output."""
_ENOUGH: Final = 1_000_000
_SIDE: Final = 256
_CALIBRATION: Final = 16
"""Blocks that the quantiser sees; every fourth one, at most this many."""
_EVERY: Final = 4


def export_routes(
    bundle: Bundle, scene: Scene | None, *, waive: bool = False
) -> tuple[Bundle, float]:
    """Make the files of reduced precision, measure every route, and write both into the bundle.

    Parameters
    ----------
    bundle : Bundle
        The model; its folder is replaced in one step.
    scene : Scene or None
        Where pixels to calibrate on and, others, to compare on are from; None = only the memory of
        a forward is measured.
    waive : bool
        Allow what falls short; each record says so.

    Returns
    -------
    Bundle
        With its acceptance records.
    float
        Speed in float32, in millions of pixels a second; 0 without a scene.

    Raises
    ------
    InputError
        If the scene holds too few valid pixels.
    """
    changes: dict[str, object] = {**measure_activations(bundle)}
    if scene is None:
        return bundle.rewrite(changes), 0.0
    blocks = _Blocks(bundle, scene)
    if ONNX in bundle.manifest.files:
        graph = quantise(bundle.onnx or b"", blocks.calibration())
        bundle = bundle.rewrite(changes, {INT8: graph})
    routes = reduced_routes(bundle)
    speed, found = _compare(bundle, routes, blocks, waive=waive)
    kept = [r for r in bundle.manifest.acceptance if r.cpu != instruction_set()]
    return bundle.rewrite(changes | {"acceptance": (*kept, *found)}), speed


class _Blocks:
    """Squares of a scene on a grid; every fourth is for calibration, the rest are held out."""

    def __init__(self, bundle: Bundle, scene: Scene) -> None:
        manifest = bundle.manifest
        self.name = scene.name
        self._adapter = SceneAdapter(scene, manifest.input)
        self._side = round_up(max(_SIDE, manifest.patch), manifest.alignment)
        rows, cols = (-(-n // self._side) for n in (scene.grid.height, scene.grid.width))
        cells = [(row, col) for row in range(rows) for col in range(cols)]
        # Spread over the scene in a fixed order, as neighbours look alike.
        cells = [cells[i] for i in np.random.default_rng(0).permutation(len(cells))]
        self._seen = cells[::_EVERY][:_CALIBRATION]
        self._held = [cell for cell in cells if cell not in set(self._seen)]

    def _read(self, cells: Sequence[tuple[int, int]]) -> Iterator[Batch]:
        side = self._side
        for row, col in cells:
            window = Window(row=row * side, col=col * side, height=side, width=side)
            values, valid = self._adapter.read(window)
            if valid.any():
                yield self._adapter.to_network(values)[None], valid.astype(np.float32)[None, None]

    def calibration(self) -> Iterator[Batch]:
        """Yield ``(image, valid)`` for the quantiser."""
        return self._read(self._seen)

    def held_out(self) -> Iterator[Batch]:
        """Yield the others until there are enough valid pixels."""
        count = 0
        for image, valid in self._read(self._held):
            yield image, valid
            count += int(valid.sum())
            if count >= _ENOUGH:
                return


class Differences:
    """Gathers how far a route's maps are from those of float32.

    Parameters
    ----------
    outputs : sequence of Output
        What the network gives.
    """

    def __init__(self, outputs: Sequence[Output]) -> None:
        self._outputs = outputs
        self._found: dict[str, list[NDArray[Any]]] = defaultdict(list)
        self._reference: dict[str, list[NDArray[Any]]] = defaultdict(list)
        self.pixels = 0

    def add(self, reference: Results, got: Results, valid: NDArray[np.float32]) -> None:
        """Take in one batch; ``valid`` is ``(1, 1, y, x)``, 1 = compared."""
        self.pixels += int(valid.sum())
        for output in self._outputs:
            s = output.stride
            shown = valid[0, 0, ::s, ::s] > 0
            a, b = (results[output.name][0][:, shown] for results in (reference, got))
            if output.kind is Kind.CATEGORICAL:
                self._found[output.name].append(a.argmax(axis=0) == b.argmax(axis=0))
            else:
                self._found[output.name].append(np.abs(a - b).ravel())
                self._reference[output.name].append(a.ravel())

    def figures(self) -> dict[str, dict[str, float]]:
        """Return ``agreement``, or ``rmse`` and ``p999`` in standard deviations, by output."""
        figures = {}
        for output in self._outputs:
            found = np.concatenate(self._found[output.name])
            if output.kind is Kind.CATEGORICAL:
                figures[output.name] = {"agreement": float(found.mean())}
                continue
            std = max(float(np.concatenate(self._reference[output.name]).std()), 1e-12)
            rmse = float(np.sqrt(np.square(found, dtype=np.float64).mean()))
            p999 = float(np.quantile(found, 0.999))
            figures[output.name] = {"rmse": rmse / std, "p999": p999 / std}
        return figures


def faults_of(figures: dict[str, dict[str, float]]) -> tuple[str, ...]:
    """Return what falls short of the limits, a phrase each; a number that is none falls short."""
    faults = []
    for name, found in figures.items():
        if "agreement" in found and not found["agreement"] >= AGREEMENT:
            faults.append(f"{name}: agreement {found['agreement']:.4f} < {AGREEMENT}")
        for key, limit in (("rmse", RMSE), ("p999", P999)):
            if key in found and not found[key] <= limit:
                faults.append(f"{name}: {key} {found[key]:.3f} std > {limit}")
    return tuple(faults)


def _compare(
    bundle: Bundle, routes: Sequence[Route], blocks: _Blocks, *, waive: bool
) -> tuple[float, list[Acceptance]]:
    """Run float32 and every route over the held-out blocks; block by block, so that none waits."""
    outputs = bundle.manifest.outputs
    full = open_runtime(bundle, runtime=default_runtime(bundle), device="cpu")
    others = [
        open_runtime(bundle, runtime=r.runtime, precision=r.precision, device="cpu") for r in routes
    ]
    differences = [Differences(outputs) for _ in routes]
    seconds, pixels = [0.0] * (len(routes) + 1), 0
    for number, (image, valid) in enumerate(blocks.held_out()):
        results = []
        for i, runtime in enumerate([full, *others]):
            started = time.perf_counter()
            results.append(runtime.forward(image, valid))
            seconds[i] += (time.perf_counter() - started) * (number > 0)  # the first warms up
        pixels += valid.size * (number > 0)
        for difference, result in zip(differences, results[1:], strict=True):
            difference.add(results[0], result, valid)
    for runtime in (full, *others):
        runtime.close()
    if not pixels:
        raise InputError(f"{blocks.name} holds too few valid pixels to compare; give a larger one")
    speeds = [pixels / 1e6 / max(s, 1e-9) for s in seconds]
    found = [
        _record(route, difference, blocks.name, speed=speed, waive=waive)
        for route, difference, speed in zip(routes, differences, speeds[1:], strict=True)
    ]
    return speeds[0], found


def _record(
    route: Route, difference: Differences, scene: str, *, speed: float, waive: bool
) -> Acceptance:
    figures = difference.figures()
    faults = faults_of(figures)
    verdict = "accepted" if not faults else "waived" if waive else "refused"
    return Acceptance.model_validate(
        {
            "runtime": route.runtime,
            "precision": route.precision,
            "cpu": instruction_set(),
            "verdict": verdict,
            "pixels": difference.pixels,
            "scene": scene,
            "tasks": figures,
            "faults": faults,
            "mpx_per_s": speed,
        }
    )

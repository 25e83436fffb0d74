"""Is a faster route good enough: compare its maps with those of float32 on held-out pixels."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from hsimap.bundle import INT8, ONNX, Acceptance
from hsimap.errors import InputError
from hsimap.geometry import Window, round_up
from hsimap.mapping.adapter import SceneAdapter
from hsimap.runtimes import (
    FULL,
    Route,
    default_runtime,
    measure_activations,
    open_runtime,
    other_routes,
    processor,
    quantise,
)
from hsimap.tasks import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from hsimap.bundle import Bundle, BundleManifest
    from hsimap.mapping.prepare import Batch
    from hsimap.runtimes import Runtime
    from hsimap.scenes import Scene
    from hsimap.tasks import Output

    Results = dict[str, NDArray[np.float32]]
    Points = dict[str, dict[str, float]]
    Compared = tuple[NDArray[np.generic], NDArray[np.float32], NDArray[np.float32]]
AGREEMENT: Final = 0.995
"""Least share of pixels of equal class."""
RMSE: Final = 0.02
"""Largest root mean square of the difference, in standard deviations of the output."""
P999: Final = 0.10
"""Largest 99.9th percentile of the difference, in standard deviations of the output."""
POINTS: Final = 0.5
"""Most that a validation score may lose, in points: hundredths of a score whose best is 1."""
ENOUGH: Final = 1_000_000
"""Pixels that are compared, where there are so many."""
_SIDE: Final = 256
CALIBRATION: Final = 16
"""Squares that the quantiser sees, at most."""
_EVERY: Final = 4
"""One square of so many is for calibration."""


class Samples(Protocol):
    """Real pixels to calibrate on, and others to compare on."""

    @property
    def name(self) -> str:
        """Where they are from."""

    def calibration(self) -> Iterator[Batch]:
        """Yield ``(image, valid)``, ``(1, band, y, x) float32`` and ``(1, 1, y, x)``."""

    def held_out(self) -> Iterator[Compared]:
        """Yield ``(image, valid, compared)``, none of them used for calibration or training."""


def export_routes(
    bundle: Bundle,
    samples: Samples | None,
    *,
    scores: Callable[[Runtime], Points] | None = None,
    device: str = "auto",
    waive: bool = False,
) -> tuple[Bundle, float]:
    """Make the files of reduced precision, measure every route, and write both into the bundle.

    Parameters
    ----------
    bundle : Bundle
        The model; its folder is replaced in one step.
    samples : Samples or None
        Pixels to calibrate and to compare on; None = only the memory of a forward is measured.
    scores : callable, optional
        Gives the validation scores of a running model, task to scores whose best is 1.
    device : str
        cpu, cuda, or auto: a GPU if there is one.
    waive : bool
        Allow what falls short; each record says so.

    Returns
    -------
    Bundle
        With its acceptance records.
    float
        Speed in float32, in millions of pixels a second; 0 without samples.

    Raises
    ------
    InputError
        If the samples hold no valid pixel to compare.
    """
    changes: dict[str, object] = {**measure_activations(bundle)}
    if samples is None:
        return bundle.rewrite(changes), 0.0
    if ONNX in bundle.manifest.files:
        graph = quantise(bundle.onnx or b"", samples.calibration())
        bundle = bundle.rewrite(changes, {INT8: graph})
    trial = _Trial(bundle, samples, device=device, waive=waive)
    found = trial.records(scores)
    kept = [r for r in bundle.manifest.acceptance if r.cpu != processor(device)]
    return bundle.rewrite(changes | {"acceptance": (*kept, *found)}), trial.speeds[0]


def square_side(manifest: BundleManifest) -> int:
    """Return the side of a square of samples in pixels: no less than a patch, and aligned."""
    return round_up(max(_SIDE, manifest.patch), manifest.alignment)


def until_enough(batches: Iterable[Compared]) -> Iterator[Compared]:
    """Yield batches that have pixels to compare, until there are ``ENOUGH`` of those."""
    count = 0
    for image, valid, compared in batches:
        if not compared.any():
            continue
        yield image, valid, compared
        count += int(compared.sum())
        if count >= ENOUGH:
            return


class SceneSamples:
    """Squares of a scene on a grid; every fourth is for calibration, the rest are held out.

    Parameters
    ----------
    bundle : Bundle
        Says in which bands and units, and how large a square is at least.
    scene : Scene
        Any that the model maps.
    """

    def __init__(self, bundle: Bundle, scene: Scene) -> None:
        manifest = bundle.manifest
        self.name = scene.name
        self._adapter = SceneAdapter(scene, manifest.input)
        self._side = square_side(manifest)
        rows, cols = (-(-n // self._side) for n in (scene.grid.height, scene.grid.width))
        cells = [(row, col) for row in range(rows) for col in range(cols)]
        # Spread over the scene in a fixed order, as neighbours look alike.
        cells = [cells[i] for i in np.random.default_rng(0).permutation(len(cells))]
        self._seen = cells[::_EVERY][:CALIBRATION]
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

    def held_out(self) -> Iterator[Compared]:
        """Yield ``(image, valid, valid)`` of the others until there are enough valid pixels."""
        return until_enough((image, valid, valid) for image, valid in self._read(self._held))


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


def faults_of(figures: dict[str, dict[str, float]], points: Points) -> tuple[str, ...]:
    """Return what falls short of the limits, a phrase each; a number that is none falls short.

    Parameters
    ----------
    figures : dict
        As :meth:`Differences.figures` gives them.
    points : dict
        Task to the change of each validation score, in points.
    """
    faults = []
    for name, found in figures.items():
        if "agreement" in found and not found["agreement"] >= AGREEMENT:
            faults.append(f"{name}: agreement {found['agreement']:.4f} < {AGREEMENT}")
        for key, limit in (("rmse", RMSE), ("p999", P999)):
            if key in found and not found[key] <= limit:
                faults.append(f"{name}: {key} {found[key]:.3f} std > {limit}")
    for name, found in points.items():
        for key, change in found.items():
            if not change >= -POINTS:
                faults.append(f"{name}: {key} {change:+.2f} points < -{POINTS}")
    return tuple(faults)


def lost_points(full: Points, reduced: Points) -> Points:
    """Return how many points each score changes by, reduced minus full; negative = worse."""
    return {
        task: {name: 100 * (reduced[task][name] - value) for name, value in found.items()}
        for task, found in full.items()
    }


class _Trial:
    """Runs float32 and every route over the held-out pixels; square by square, so that none waits.

    ``speeds`` are in millions of pixels a second, float32 first.
    """

    def __init__(self, bundle: Bundle, samples: Samples, *, device: str, waive: bool) -> None:
        self._samples, self._waive, self._processor = samples, waive, processor(device)
        self._routes = other_routes(bundle, device=device)
        full = Route(default_runtime(bundle), FULL)
        self._runtimes = [
            open_runtime(bundle, runtime=r.runtime, precision=r.precision, device=device)
            for r in (full, *self._routes)
        ]
        self._differences = [Differences(bundle.manifest.outputs) for _ in self._routes]
        self.speeds: list[float] = []

    def records(self, scores: Callable[[Runtime], Points] | None) -> list[Acceptance]:
        """Return the acceptance record of every route."""
        try:
            self._compare()
            points: list[Points | None] = [None] * len(self._routes)
            if scores is not None and self._routes:
                full, *reduced = (scores(runtime) for runtime in self._runtimes)
                points = [lost_points(full, found) for found in reduced]
        finally:
            for runtime in self._runtimes:
                runtime.close()
        return [self._record(index, found) for index, found in enumerate(points)]

    def _compare(self) -> None:
        seconds, pixels = [0.0] * len(self._runtimes), 0
        for number, (image, valid, compared) in enumerate(self._samples.held_out()):
            results = []
            for i, runtime in enumerate(self._runtimes):
                if not number:
                    runtime.forward(image, valid)  # warms up
                started = time.perf_counter()
                results.append(runtime.forward(image, valid))
                seconds[i] += time.perf_counter() - started
            pixels += valid.size
            for difference, result in zip(self._differences, results[1:], strict=True):
                difference.add(results[0], result, compared)
        if not pixels:
            name = self._samples.name
            raise InputError(f"{name} holds no valid pixel to compare; give a larger one")
        self.speeds = [pixels / 1e6 / max(s, 1e-9) for s in seconds]

    def _record(self, index: int, points: Points | None) -> Acceptance:
        route, difference = self._routes[index], self._differences[index]
        figures = difference.figures()
        faults = faults_of(figures, points or {})
        verdict = "accepted" if not faults else "waived" if self._waive else "refused"
        return Acceptance.model_validate(
            {
                "runtime": route.runtime,
                "precision": route.precision,
                "cpu": self._processor,
                "verdict": verdict,
                "pixels": difference.pixels,
                "scene": self._samples.name,
                "tasks": figures,
                "faults": faults,
                "metrics": "not measured" if points is None else points,
                "mpx_per_s": self.speeds[index + 1],
            }
        )

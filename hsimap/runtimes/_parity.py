"""Two routes through the same network must give the same numbers on shapes it was not made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from hsimap.errors import VerificationError
from hsimap.tasks import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from hsimap.runtimes._interface import Contract
    from hsimap.tasks import Output

    Forward = Callable[[NDArray[np.float32], NDArray[np.float32]], dict[str, NDArray[np.float32]]]

TOLERANCE: Final = 1e-4
"""Largest difference: of a probability, or of a value over the span of its output."""
_VALID_SHARE: Final = 0.8
_FLOOR: Final = 1e-2
"""A span below this part of the largest magnitude counts as this part: float32 cannot do better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """How far two routes through a network differ."""

    shapes: tuple[tuple[int, int, int], ...]
    """``(batch, y, x)`` of each trial."""
    max_error: dict[str, float]
    """Output name to its largest difference over all trials; see ``TOLERANCE`` for the unit."""
    tolerance: float

    @property
    def worst(self) -> float:
        """The largest difference of all outputs."""
        return max(self.max_error.values())


def parity_shapes(contract: Contract) -> tuple[tuple[int, int, int], ...]:
    """Return the ``(batch, y, x)`` of five trials, the smallest legal input among them."""
    step = contract.alignment
    least = -(-contract.patch // step)
    trials = (
        (1, least, least),
        (3, least, least + 1),
        (1, least + 3, least),
        (2, least + 1, least + 4),
        (1, 2 * least + 1, least + 2),
    )
    return tuple((batch, rows * step, cols * step) for batch, rows, cols in trials)


def export_shape(contract: Contract) -> tuple[int, int, int]:
    """Return the ``(batch, y, x)`` that a graph is traced on, which is none of the trials."""
    step = contract.alignment
    least = -(-contract.patch // step)
    return 2, (least + 1) * step, (least + 2) * step


def random_input(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw an image and a mask: noise with a gradient, holes, a nodata border, a void member.

    Parameters
    ----------
    rng : Generator
        Source of the numbers.
    shape : tuple
        ``(batch, y, x)``.
    mean, std : ndarray
        ``(band,)`` typical stored values and their spread.

    Returns
    -------
    tuple
        ``(batch, band, y, x) float32`` with absurd values where invalid, and
        ``(batch, 1, y, x) float32``.
    """
    batch, height, width = shape
    noise = rng.normal(size=(batch, len(mean), height, width))
    noise += np.linspace(-1, 1, width) + rng.normal(size=(batch, len(mean), 1, 1))
    image = mean[:, None, None] + std[:, None, None] * noise
    valid = rng.random((batch, 1, height, width)) < _VALID_SHARE
    valid[0] = True
    valid[-1, :, : height // 3] = False
    valid[1:-1] = False
    absurd = mean[:, None, None] - 1e3 * std[:, None, None]
    return np.where(valid, image, absurd).astype(np.float32), valid.astype(np.float32)


def check_parity(
    contract: Contract,
    reference: Forward,
    candidate: Forward,
    *,
    stored: tuple[Sequence[float], Sequence[float]],
    tolerance: float = TOLERANCE,
    trials: slice = slice(None),
) -> ParityReport:
    """Run two routes on the trials and compare every output.

    Parameters
    ----------
    contract : Contract
        Shapes and outputs.
    reference, candidate : callable
        ``(image, valid)`` to outputs by name.
    stored : tuple
        ``(band,)`` mean and spread of stored values.
    tolerance : float
        Limit of the difference.
    trials : slice
        Which of the shapes are tried.

    Returns
    -------
    ParityReport

    Raises
    ------
    VerificationError
        Naming output and shape, if a number is not finite or differs by more than the tolerance.
    """
    rng = np.random.default_rng(0)
    mean, std = (np.asarray(part, dtype=np.float32) for part in stored)
    shapes = parity_shapes(contract)[trials]
    errors = {output.name: 0.0 for output in contract.outputs}
    for shape in shapes:
        image, valid = random_input(rng, shape, mean=mean, std=std)
        expected, got = reference(image, valid), candidate(image, valid)
        for output in contract.outputs:
            error = _difference(output, expected[output.name], got[output.name])
            if not error <= tolerance:
                raise VerificationError(
                    f"output {output.name!r} differs by {error:.2g} between the network and its"
                    f" graph on (batch, y, x) = {shape}, limit {tolerance:g}; the network holds an"
                    f" operation that does not export for every shape (adaptive pooling?)"
                )
            errors[output.name] = max(errors[output.name], error)
    return ParityReport(shapes=shapes, max_error=errors, tolerance=tolerance)


def _difference(output: Output, expected: NDArray[np.float32], got: NDArray[np.float32]) -> float:
    if expected.shape != got.shape or not (np.isfinite(expected).all() and np.isfinite(got).all()):
        return np.inf
    scale = 1.0
    if output.role is not Role.PROBABILITY:
        floor = max(_FLOOR * float(np.abs(expected).max()), 1e-12)
        scale = max(float(np.ptp(expected)), floor)
    return float(np.abs(expected.astype(np.float64) - got).max()) / scale


def measure_reach(
    contract: Contract,
    forward: Forward,
    *,
    reach: int,
    side: int,
    stored: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> float:
    """Return how much outputs at the centre change with pixels beyond a reach.

    Parameters
    ----------
    contract : Contract
        Shapes and outputs.
    forward : callable
        ``(image, valid)`` to outputs by name.
    reach : int
        One-sided, in pixels.
    side : int
        Side of the trial, in pixels, a multiple of the alignment.
    stored : tuple
        ``(band,)`` mean and spread of stored values.

    Returns
    -------
    float
        Largest change over the outputs, as a part of each output's span.
    """
    rng = np.random.default_rng(1)
    mean, std = (part[:, None, None] for part in stored)
    noise = rng.normal(size=(2, 1, contract.n_bands, side, side))
    image, other = (mean + std * noise).astype(np.float32)
    step = contract.alignment
    first = side // 2 // step * step
    near = slice(max(0, first - reach), first + step + reach)
    other[:, :, near, near] = image[:, :, near, near]
    valid = np.ones((1, 1, side, side), dtype=np.float32)
    a, b = forward(image, valid), forward(other, valid)
    worst = 0.0
    for output in contract.outputs:
        centre = slice(first // output.stride, (first + step) // output.stride)
        change = np.abs(a[output.name] - b[output.name])[:, :, centre, centre].max()
        worst = max(worst, float(change) / max(float(np.ptp(a[output.name])), 1e-12))
    return worst

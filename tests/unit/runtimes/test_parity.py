"""The gate itself must see a difference, and the machine must be told rightly."""

import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import VerificationError
from hsimap.runtimes import Contract
from hsimap.runtimes._host import instruction_set, keep_freed_memory
from hsimap.runtimes._parity import check_parity, export_shape, measure_reach, parity_shapes
from hsimap.streams import available_cpus
from hsimap.tasks import Kind, Output, Role

CLASSES = Output(task="cover", kind=Kind.CATEGORICAL, channels=2, role=Role.PROBABILITY)
VALUE = Output(task="height", kind=Kind.CONTINUOUS, channels=1)
CONTRACT = Contract(n_bands=2, outputs=(CLASSES, VALUE), alignment=2, patch=4)
STORED = ([0.0, 0.0], [1.0, 1.0])
Arrays = dict[str, np.ndarray]


@given(alignment=st.integers(1, 64), patch=st.integers(1, 300))
def test_trials_are_legal_many_and_not_the_traced_shape(alignment: int, patch: int) -> None:
    contract = Contract(n_bands=1, outputs=(VALUE,), alignment=alignment, patch=patch)
    trials = parity_shapes(contract)
    assert len({trial[1:] for trial in trials}) >= 4
    assert export_shape(contract)[1:] not in {trial[1:] for trial in trials}
    for _, height, width in (*trials, export_shape(contract)):
        assert height % alignment == width % alignment == 0
        assert min(height, width) >= patch


def forward(image: np.ndarray, valid: np.ndarray) -> Arrays:
    value = 100 + 5 * np.where(valid > 0, image[:, :1], 0)
    probability = 1 / (1 + np.exp(-np.where(valid > 0, image[:, 1:], 0)))
    both = np.concatenate([probability, 1 - probability], axis=1)
    return {"cover": both.astype(np.float32), "height": value.astype(np.float32)}


def _wrong(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Arrays]:
    def candidate(image: np.ndarray, valid: np.ndarray) -> Arrays:
        results = forward(image, valid)
        if image.shape[2:] == parity_shapes(CONTRACT)[-1][1:]:  # on one shape only
            results[name] = change(results[name])
        return results

    return candidate


def test_equal_routes_pass() -> None:
    report = check_parity(CONTRACT, forward, forward, stored=STORED)
    assert report.worst == 0
    assert len(report.shapes) == 5


@pytest.mark.parametrize(
    "candidate",
    [
        _wrong("cover", lambda array: array + np.float32(3e-4)),
        _wrong("height", lambda array: array + np.float32(1e-4) * np.ptp(array) * 3),
        _wrong("height", lambda array: array[:, :, ::-1]),
        _wrong("height", lambda array: np.where(array == array.max(), np.nan, array)),
        _wrong("cover", lambda array: array[:, :, 1:]),
    ],
    ids=["probability", "value", "flipped", "nan", "shape"],
)
def test_a_difference_on_one_shape_is_seen(candidate: Callable[..., Arrays]) -> None:
    with pytest.raises(VerificationError, match=r"output '(cover|height)' differs by"):
        check_parity(CONTRACT, forward, candidate, stored=STORED)


def test_reach_is_measured() -> None:
    def blur(image: np.ndarray, valid: np.ndarray) -> Arrays:
        width = 3
        padded = np.pad(image, ((0, 0), (0, 0), (width, width), (width, width)))
        moved = [np.roll(padded, shift, axis=3) for shift in range(-width, width + 1)]
        mean = np.mean(moved, axis=0)[:, :, width:-width, width:-width]
        return forward(mean.astype(np.float32), valid)

    stored = (np.zeros(2, np.float32), np.ones(2, np.float32))
    near, far = (
        measure_reach(CONTRACT, blur, reach=reach, side=24, stored=stored) for reach in (2, 3)
    )
    assert near > 0.01
    assert far == 0


def test_the_machine() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
    assert instruction_set() == instruction_set().strip() != ""
    assert keep_freed_memory() in {True, False}

"""What is blended and encoded on a device has the bytes of what is done on the host."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import Pointwise, output, plans, source

from hsimap.arrays import here, there
from hsimap.geometry import Grid
from hsimap.mapping.encoding import encode
from hsimap.mapping.engine import Engine
from hsimap.mapping.flags import with_confidence
from hsimap.products import Layer
from hsimap.tasks import ClassLabel, Kind, Task, main_output

GRID = Grid(height=8, width=8, transform=(1, 0, 0, 0, -1, 0), crs=None)
SPECIES = Task(
    name="species",
    kind=Kind.CATEGORICAL,
    classes=tuple(ClassLabel(code=k, name=f"s{k}", color="#000000") for k in (2, 5, 9)),
)
HEIGHT = Task(name="height", kind=Kind.CONTINUOUS, unit="m")


class Apart(torch.Tensor):
    """A tensor that the host cannot look into before it is sent there, as one on a GPU."""

    def __array__(self, *args, **kwargs):
        raise TypeError("this tensor is on the device")

    def to(self, device=None, *args, **kwargs):
        before = () if device is None else (device,)
        found = super().to(*before, *args, **kwargs)
        return found.as_subclass(torch.Tensor) if device == "cpu" else found


def apart(array):
    return torch.from_numpy(np.array(array)).as_subclass(Apart)


class OnDevice:
    """Leaves the results of another runtime on the device."""

    def __init__(self, runtime):
        self.runtime = runtime

    def forward(self, image, valid):
        return {name: apart(one) for name, one in self.runtime.forward(image, valid).items()}


class Two:
    def forward(self, image, valid):
        one = Pointwise().forward(image, valid)["s1"] * np.float32(1.3)
        return {"s1": one, "s2": np.cos(one[:, :1, ::2, 1::2])}


@given(plan=plans(step=2), seed=st.integers(0, 9), share=st.sampled_from([0.02, 0.2, 0.8]))
def test_squares_of_a_device_are_those_of_the_host(plan, seed, share):
    outputs = [output(1, channels=2), output(2)]
    runs = [
        Engine(plan, source(plan, seed=seed, share=share), runtime=runtime, outputs=outputs)
        for runtime in (Two(), OnDevice(Two()))
    ]
    rows = range(plan.n_rows)
    for host, device in zip(*(run.squares(rows) for run in runs), strict=True):
        for name, values in host.values.items():
            assert here(device.values[name]).tobytes() == values.tobytes()


def layer(task, kind, dtype, bands=("a",), nodata=255.0):
    return Layer(
        name=task.name, kind=kind, grid=GRID, task=task, bands=bands, dtype=dtype, nodata=nodata
    )


@pytest.mark.parametrize(
    "made",
    [
        layer(SPECIES, "classes", "uint8"),
        layer(HEIGHT, "values", "float32", nodata=float("nan")),
        layer(SPECIES, "probabilities", "uint16", bands=("2", "5", "9"), nodata=65535),
        layer(SPECIES, "probabilities", "uint16", nodata=65535),
    ],
    ids=lambda made: f"{made.kind}-{len(made.bands)}",
)
@given(seed=st.integers(0, 99))
def test_what_is_stored_does_not_depend_on_where_it_was_made(made, seed):
    rng = np.random.default_rng(seed)
    channels = 1 if made.kind == "values" else 3
    values = rng.random((channels, 8, 8)).astype(np.float32).round(1)
    values[:, rng.random((8, 8)) < 0.1] = np.nan
    values[0, rng.random((8, 8)) < 0.1] = np.inf
    valid = rng.random((8, 8)) < 0.7
    found = encode(made, apart(values), valid)
    assert found.dtype == np.dtype(made.dtype)
    assert found.tobytes() == encode(made, values, valid).tobytes()


def test_low_confidence_is_told_from_shares_on_a_device():
    shares = np.float32([[[0.2, 0.6]], [[0.4, 0.3]], [[0.4, 0.1]]])
    flags = np.zeros((1, 2), np.uint8)
    outputs = [main_output(SPECIES)]
    host = with_confidence(flags, {"species": shares}, outputs)
    device = with_confidence(flags, {"species": apart(shares)}, outputs)
    assert host.tolist() == device.tolist() == [[32, 0]]


def test_a_host_array_stays_where_both_are_there():
    host = np.zeros(3, np.float32)
    assert there(host, host) is host
    assert here(host) is host
    moved = there(host, torch.zeros(1))
    assert isinstance(moved, torch.Tensor)
    assert there(moved, moved) is moved


def test_numpy_is_its_own_namespace_and_no_stand_in_is_loaded():
    code = (
        "import sys, numpy as np; from hsimap.arrays import copy, namespace, zeros;"
        "a = np.ones((2, 3), np.float32); assert namespace(a) is np; b = copy(a); b += 1;"
        "assert a.sum() == 6 and zeros((2,), a).dtype == np.float32;"
        "assert 'array_api_compat.numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

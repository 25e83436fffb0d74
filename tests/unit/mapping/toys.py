"""Sources on arrays and toy networks whose maps are known."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from hsimap.mapping.tiling import TilePlan
from hsimap.tasks import Kind, Output


class Pixels:
    """A source on an array: outside is 0 and invalid."""

    def __init__(self, values, valid):
        self.values, self.valid = values, valid
        self.reads = []

    def read_flagged(self, window):
        self.reads.append(window)
        bands, height, width = self.values.shape
        values = np.zeros((bands, window.height, window.width), self.values.dtype)
        valid = np.zeros((window.height, window.width), dtype=bool)
        inner = window.clip(height=height, width=width)
        target = inner.shift(rows=-window.row, cols=-window.col).slices
        values[(..., *target)] = self.values[(..., *inner.slices)]
        valid[target] = self.valid[inner.slices]
        return values, np.where(valid, 0, 1).astype(np.uint8)

    def to_network(self, values):
        return values.astype(np.float32)


class Mask:
    """An area that is any set of pixels."""

    def __init__(self, wanted):
        self.wanted = wanted

    def touches(self, window):
        return bool(self.wanted[window.slices].any())

    def read(self, window):
        return self.wanted[window.slices]


class Adapter:
    """A scene adapter on an array."""

    def __init__(self, pixels, *, is_stored=False):
        self.pixels, self.n_bands, self.dtype = pixels, len(pixels.values), pixels.values.dtype
        self.is_stored, self.network_bands = is_stored, len(pixels.values)

    def read_flagged(self, window, out):
        values, flags = self.pixels.read_flagged(window)
        out[...] = values
        return out, flags

    def to_network(self, values, out):
        out[...] = self.pixels.to_network(values)
        return out


class Constant:
    def __init__(self, value, strides):
        self.value, self.strides, self.runs = value, strides, 0

    def forward(self, image, valid):
        self.runs += 1
        shape = image.shape[2:]
        return {
            f"s{s}": np.full((1, 1, shape[0] // s, shape[1] // s), self.value, np.float32)
            for s in self.strides
        }


class Pointwise:
    def forward(self, image, valid):
        return {"s1": np.tanh(image[:, :2] * np.float32(0.01)) + image[:, 1:]}


class Box:
    """A box filter of the given radius over the valid pixels: an exact receptive field."""

    def __init__(self, radius):
        self.radius = radius

    def forward(self, image, valid):
        total = np.zeros_like(image[:, :1], dtype=np.float64)
        padded = np.pad(image[:, :1] * valid, ((0, 0), (0, 0), *[(self.radius,) * 2] * 2))
        side = 2 * self.radius + 1
        for dy, dx in itertools.product(range(side), range(side)):
            total += padded[:, :, dy : dy + image.shape[2], dx : dx + image.shape[3]]
        return {"s1": total.astype(np.float32)}


def output(stride=1, channels=1):
    return Output(task=f"s{stride}", kind=Kind.CONTINUOUS, channels=channels, stride=stride)


@st.composite
def plans(draw, step=None):
    step = step or draw(st.integers(1, 4))
    kept = draw(st.integers(1, 5)) * step
    return TilePlan(
        height=draw(st.integers(1, 40)),
        width=draw(st.integers(1, 40)),
        kept=kept,
        trim=draw(st.integers(0, 2)) * step,
        ramp=draw(st.integers(0, kept // step)) * step,
        alignment=step,
    )


def source(plan, *, seed=0, bands=3, share=0.8):
    rng = np.random.default_rng(seed)
    values = rng.integers(-3000, 9000, (bands, plan.height, plan.width)).astype(np.int16)
    return Pixels(values, rng.random((plan.height, plan.width)) < share)

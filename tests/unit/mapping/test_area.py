"""Part of a scene has the bits of the whole, and no tile is run that the part does not need."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from toys import Constant, Mask, output, plans, source

from hsimap.geometry import Window
from hsimap.mapping.engine import Engine
from hsimap.mapping.flags import UNWANTED


@st.composite
def windows(draw, plan, step):
    row, col = (draw(st.integers(0, (n - 1) // step)) * step for n in (plan.height, plan.width))
    height, width = (
        draw(st.integers(1, n - start)) for n, start in ((plan.height, row), (plan.width, col))
    )
    return Window(row=row, col=col, height=height, width=width)


def maps_of(plan, engine, stride):
    """Put the squares of a plan where they stand in its maps."""
    height, width = plan.map_shape
    name = f"s{stride}"
    values = np.full((1, -(-height // stride), -(-width // stride)), np.nan, np.float32)
    flags = np.full((height, width), 77, np.uint8)
    for square in engine.squares(range(plan.n_rows)):
        foot = square.tile.footprint
        whole = Window(
            row=foot.row, col=foot.col, height=square.flags.shape[0], width=square.flags.shape[1]
        )
        place = plan.in_maps(whole)
        skip = (place.row + plan.skip_rows - foot.row, place.col + plan.skip_cols - foot.col)
        flags[place.slices] = square.flags[skip[0] :, skip[1] :][: place.height, : place.width]
        rows = slice(place.row // stride, -(-(place.row + place.height) // stride))
        cols = slice(place.col // stride, -(-(place.col + place.width) // stride))
        part = square.values[name][:, skip[0] // stride :, skip[1] // stride :]
        if place.height and place.width:
            values[:, rows, cols] = part[:, : rows.stop - rows.start, : cols.stop - cols.start]
    return values, flags


class Tilted:
    """A forward that depends on its whole tile, so that neighbours differ where they fade."""

    def forward(self, image, valid):
        shown = image[:, :1] * valid
        return {"s1": (shown * np.float32(0.3) + np.float32(shown.mean())).astype(np.float32)}


class Coarse:
    """The same at half the resolution."""

    def forward(self, image, valid):
        return {"s2": np.ascontiguousarray(Tilted().forward(image, valid)["s1"][:, :, ::2, ::2])}


@given(plan=plans(), seed=st.integers(0, 9), share=st.sampled_from([0.2, 0.9]), data=st.data())
def test_a_part_has_the_bits_of_the_whole_map(plan, seed, share, data):
    pixels = source(plan, seed=seed, share=share)
    window = data.draw(windows(plan, 1))
    part = plan.part(window)
    found = Engine(part, pixels, runtime=Tilted(), outputs=[output()])
    whole = Engine(plan, pixels, runtime=Tilted(), outputs=[output()])
    values, flags = maps_of(part, found, 1)
    expected, truth = maps_of(plan, whole, 1)
    np.testing.assert_array_equal(flags, truth[window.slices])
    valid = flags & 3 == 0
    assert values[0][valid].tobytes() == expected[0][window.slices][valid].tobytes()


@given(plan=plans(step=2), seed=st.integers(0, 9), data=st.data())
def test_a_part_of_a_coarser_output_has_the_bits_of_the_whole(plan, seed, data):
    pixels = source(plan, seed=seed, share=1.0)
    window = data.draw(windows(plan, 2))
    part = plan.part(window)
    found = maps_of(part, Engine(part, pixels, runtime=Coarse(), outputs=[output(2)]), 2)[0]
    whole = maps_of(plan, Engine(plan, pixels, runtime=Coarse(), outputs=[output(2)]), 2)[0]
    rows, cols = (slice(s.start // 2, -(-s.stop // 2)) for s in window.slices)
    assert found.tobytes() == whole[:, rows, cols].tobytes()


@given(plan=plans(), seed=st.integers(0, 99), at_once=st.integers(1, 4), data=st.data())
def test_inside_an_area_is_the_whole_map_and_outside_nothing(plan, seed, at_once, data):
    pixels = source(plan, seed=seed)
    rng = np.random.default_rng(seed)
    wanted = np.zeros((plan.height, plan.width), dtype=bool)
    for _ in range(data.draw(st.integers(1, 3))):
        row, col = rng.integers(plan.height), rng.integers(plan.width)
        wanted[row : row + rng.integers(1, 9), col : col + rng.integers(1, 9)] = True
    rows, cols = np.flatnonzero(wanted.any(axis=1)), np.flatnonzero(wanted.any(axis=0))
    window = Window(
        row=int(rows[0]), col=int(cols[0]),
        height=int(rows[-1] - rows[0] + 1), width=int(cols[-1] - cols[0] + 1),
    )  # fmt: skip
    part, area = plan.part(window), Mask(wanted)
    found = Engine(part, pixels, runtime=Tilted(), outputs=[output()], area=area, at_once=at_once)
    values, flags = maps_of(part, found, 1)
    whole = Engine(plan, pixels, runtime=Tilted(), outputs=[output()])
    expected, truth = maps_of(plan, whole, 1)
    inside = wanted[window.slices]
    np.testing.assert_array_equal(flags[inside], truth[window.slices][inside])
    assert (flags[~inside] == UNWANTED).all()
    valid = flags & 3 == 0
    assert values[0][valid].tobytes() == expected[0][window.slices][valid].tobytes()
    runtime = Constant(1.0, strides=(1,))
    list(Engine(part, pixels, runtime=runtime, outputs=[output()], area=area).squares(
        range(part.n_rows)
    ))  # fmt: skip
    needed = sum(
        bool((wanted & pixels.valid)[plan.tile(row, col).footprint.slices].any())
        for row in range(plan.n_rows)
        for col in range(plan.n_cols)
    )
    assert runtime.runs == needed


@given(plan=plans(), data=st.data())
def test_a_part_begins_at_a_tile_and_ends_where_it_is_asked_to(plan, data):
    window = data.draw(windows(plan, 1))
    part = plan.part(window)
    assert part.map_shape == (window.height, window.width)
    assert part.row % plan.kept == part.col % plan.kept == 0
    first = part.tile(0, 0)
    assert first.read == plan.tile(part.row // plan.kept, part.col // plan.kept).read
    rows = window.row - part.row
    assert rows < plan.kept + plan.ramp
    assert part.in_scene(Window(row=part.skip_rows, col=part.skip_cols, height=1, width=1)) == (
        Window(row=window.row, col=window.col, height=1, width=1)
    )

"""The engine against whole-image forwards, on generated scenes and toy networks."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toys import Adapter, Box, Constant, Pointwise, output, plans, source

from hsimap.mapping.engine import Engine, groups_of, read_groups, rows_needed
from hsimap.mapping.recycling import RecyclingSource
from hsimap.mapping.tiling import READ_AHEAD, TilePlan


def whole(engine, plan, name):
    strips = list(engine.strips(range(plan.n_rows)))
    values = np.concatenate([strip.values[name] for strip in strips], axis=1)
    return values, np.concatenate([strip.valid for strip in strips])


@given(plan=plans(step=2), value=st.floats(-1e6, 1e6, width=32))
def test_a_constant_forward_gives_that_constant_at_every_pixel_of_every_stride(plan, value):
    pixels = source(plan, share=1.0)
    runtime = Constant(value, strides=(1, 2))
    engine = Engine(plan, pixels, runtime=runtime, outputs=[output(1), output(2)])
    for stride in (1, 2):
        values, _ = whole(engine, plan, f"s{stride}")
        assert values.shape == (1, -(-plan.height // stride), -(-plan.width // stride))
        np.testing.assert_array_equal(values, np.float32(value))


@given(plan=plans(), seed=st.integers(0, 99))
def test_a_pointwise_network_gives_its_exact_values_wherever_a_pixel_is_valid(plan, seed):
    pixels = source(plan, seed=seed)
    engine = Engine(plan, pixels, runtime=Pointwise(), outputs=[output(channels=2)])
    values, valid = whole(engine, plan, "s1")
    expected = Pointwise().forward(pixels.values.astype(np.float32)[None], None)["s1"][0]
    np.testing.assert_array_equal(valid, pixels.valid)
    np.testing.assert_array_equal(values[:, valid], expected[:, valid])


@given(plan=plans(), seed=st.integers(0, 99))
def test_tiled_equals_whole_once_the_trim_reaches_the_receptive_field(plan, seed):
    pixels = source(plan, seed=seed)
    runtime = Box(plan.trim)
    engine = Engine(plan, pixels, runtime=runtime, outputs=[output()])
    values, valid = whole(engine, plan, "s1")
    image, mask = pixels.values.astype(np.float32)[None], pixels.valid[None, None]
    expected = runtime.forward(image, mask)["s1"][0]
    np.testing.assert_array_equal(values[:, valid], expected[:, valid])


@given(plan=plans(), seed=st.integers(0, 9), data=st.data())
def test_any_run_of_strips_has_the_bytes_of_the_whole(plan, seed, data):
    pixels = source(plan, seed=seed)
    engine = Engine(plan, pixels, runtime=Box(2), outputs=[output()])
    full = {s.index: s.values["s1"].tobytes() for s in engine.strips(range(plan.n_rows))}
    wanted = sorted(data.draw(st.sets(st.integers(0, plan.n_rows - 1), min_size=1)))
    part = {s.index: s.values["s1"].tobytes() for s in engine.strips(wanted)}
    assert part == {index: full[index] for index in wanted}


@given(
    plan=plans(step=2), seed=st.integers(0, 9), share=st.sampled_from([0.05, 0.8]), data=st.data()
)
def test_squares_are_the_strips_cut_in_pieces(plan, seed, share, data):
    pixels = source(plan, seed=seed, share=share)
    outputs = [output(1, channels=2), output(2)]

    class Two:
        def forward(self, image, valid):
            one = Pointwise().forward(image, valid)["s1"] * np.float32(1.3)
            return {"s1": one, "s2": np.cos(one[:, :1, ::2, 1::2])}

    engine = Engine(plan, pixels, runtime=Two(), outputs=outputs)
    strips = {strip.index: strip for strip in engine.strips(range(plan.n_rows))}
    wanted = sorted(data.draw(st.sets(st.integers(0, plan.n_rows - 1), min_size=1)))
    seen = []
    for square in engine.squares(wanted):
        tile, strip = square.tile, strips[square.tile.row]
        seen.append((tile.row, tile.col))
        columns = slice(tile.footprint.col, tile.footprint.col + square.valid.shape[1])
        np.testing.assert_array_equal(square.valid, strip.valid[:, columns])
        for name, stride in (("s1", 1), ("s2", 2)):
            part = slice(columns.start // stride, -(-columns.stop // stride))
            expected = strip.values[name][:, :, part]
            assert square.values[name].tobytes() == expected.tobytes()
    assert seen == [(row, col) for row in wanted for col in range(plan.n_cols)]


@given(
    plan=plans(step=2),
    batch=st.integers(1, 5),
    share=st.sampled_from([0.02, 0.1, 0.8]),
    data=st.data(),
)
def test_several_tiles_in_a_forward_give_the_bytes_of_one_at_a_time(plan, batch, share, data):
    pixels = source(plan, share=share)
    outputs = [output(1, channels=2), output(2)]

    class Two:
        def __init__(self):
            self.shapes, self.tiles = [], 0

        def forward(self, image, valid):
            self.shapes.append(image.shape)
            shown = valid.any(axis=(1, 2, 3))
            assert shown[: shown.sum()].all()
            assert not image[~shown].any()  # what fills up a batch holds nothing
            self.tiles += shown.sum()
            one = Pointwise().forward(image, valid)["s1"] * np.float32(1.3)
            return {"s1": one, "s2": np.cos(Box(1).forward(image, valid)["s1"][:, :, ::2, 1::2])}

    wanted = sorted(data.draw(st.sets(st.integers(0, plan.n_rows - 1), min_size=1)))
    found, runs, done = [], [], []
    for size in (1, batch):
        run, tiles = Two(), []
        recycled = RecyclingSource(Adapter(pixels), READ_AHEAD)
        engine = Engine(
            replace(plan, batch=size), recycled, runtime=run, outputs=outputs,
            on_tile=lambda tiles=tiles: tiles.append(1),
        )  # fmt: skip
        squares = list(engine.squares(wanted))
        found.append([
            (s.tile.row, s.tile.col, s.flags.tobytes(), *(v.tobytes() for v in s.values.values()))
            for s in squares
        ])  # fmt: skip
        runs.append(run)
        done.append(len(tiles))
    assert found[0] == found[1]
    assert done[0] == done[1] == plan.n_cols * len(rows_needed(plan, wanted))
    assert runs[0].tiles == runs[1].tiles
    assert {shape[0] for shape in runs[1].shapes} <= {batch}
    rows = len(rows_needed(plan, wanted))
    assert len(runs[1].shapes) <= -(-runs[1].tiles // batch) + rows * (batch > 1)
    strips = Engine(replace(plan, batch=batch), pixels, runtime=Two(), outputs=outputs)
    single = Engine(plan, pixels, runtime=Two(), outputs=outputs)
    for name in ("s1", "s2"):
        assert whole(strips, plan, name)[0].tobytes() == whole(single, plan, name)[0].tobytes()


@given(plan=plans(), data=st.data())
def test_a_run_of_strips_recomputes_at_most_one_tile_row(plan, data):
    first = data.draw(st.integers(0, plan.n_rows - 1))
    last = data.draw(st.integers(first, plan.n_rows - 1))
    rows = rows_needed(plan, range(first, last + 1))
    assert len(rows) - (last + 1 - first) == (1 if first and plan.ramp else 0)


@given(plan=plans(), seed=st.integers(0, 9), at_once=st.integers(1, 6))
def test_tiles_read_in_one_piece_into_recycled_memory_have_the_bytes_of_single_ones(
    plan, seed, at_once
):
    pixels = source(plan, seed=seed)
    single = Engine(plan, pixels, runtime=Box(2), outputs=[output()])
    recycled = RecyclingSource(Adapter(pixels), READ_AHEAD)
    pieces = Engine(plan, recycled, runtime=Box(2), outputs=[output()], at_once=at_once)
    for found, expected in zip(whole(pieces, plan, "s1"), whole(single, plan, "s1"), strict=True):
        assert found.tobytes() == expected.tobytes()


@given(plan=plans(), at_once=st.integers(1, 6), growing=st.booleans())
def test_no_sample_is_read_twice_within_a_tile_row(plan, at_once, growing):
    pixels = source(plan)
    parts = groups_of(plan, 0, at_once, growing=growing)
    groups = list(read_groups(pixels, plan, parts))
    assert [group[0] for group in groups] == parts
    assert len(parts[0]) == 1 or not growing
    assert [tile for group in groups for tile in group[0]] == list(plan.row_tiles(0))
    assert all(len(group[0]) <= at_once for group in groups)
    hits = np.zeros(plan.n_cols * plan.side + 2 * plan.trim, dtype=int)
    for window in pixels.reads:
        hits[window.col + plan.trim : window.col + plan.trim + window.width] += 1
    assert hits.max() == 1


def test_tiles_without_a_valid_pixel_are_not_run():
    plan = TilePlan(height=8, width=32, kept=8, trim=4, ramp=4, alignment=4)
    pixels = source(plan, share=1.0)
    pixels.valid[:, :12] = False
    runtime = Constant(1.0, strides=(1,))
    engine = Engine(plan, pixels, runtime=runtime, outputs=[output()])
    values, valid = whole(engine, plan, "s1")
    assert runtime.runs == 3
    np.testing.assert_array_equal(values[0][valid], 1)


class Slow:
    """Looks at its image some time after it was given, as a network does that takes a while."""

    def __init__(self):
        self.running, self.most = 0, 0

    def forward(self, image, valid):
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(float(image[0, 0].astype(np.float64).sum() % 7) * 3e-4)
        result = Box(2).forward(image, valid)
        self.running -= 1
        return result


@pytest.mark.parametrize("is_stored", [True, False])
@given(
    plan=plans(), seed=st.integers(0, 9), streams=st.integers(2, 3), at_once=st.integers(1, 4),
    data=st.data(),
)  # fmt: skip
def test_forwards_side_by_side_have_the_bytes_of_one_after_another(
    is_stored, plan, seed, streams, at_once, data
):
    wanted = sorted(data.draw(st.sets(st.integers(0, plan.n_rows - 1), min_size=1)))
    found, pixels, slow = [], source(plan, seed=seed, share=0.6), Slow()
    for n, runtime in ((1, Box(2)), (streams, slow)):
        recycled = RecyclingSource(
            Adapter(pixels, is_stored=is_stored), READ_AHEAD, streams=n, cuts=at_once > 1,
            columns=plan.side + (at_once - 1) * plan.kept,
        )  # fmt: skip
        engine = Engine(
            plan, recycled, runtime=runtime, outputs=[output()], at_once=at_once, streams=n
        )
        found.append([
            (s.tile, s.flags.tobytes(), s.values["s1"][:, s.valid].tobytes())
            for s in engine.squares(wanted)
        ])  # fmt: skip
    assert found[0] == found[1]
    assert slow.most <= streams


def test_forwards_run_side_by_side():
    plan = TilePlan(height=8, width=64, kept=8, trim=4, ramp=4, alignment=4)
    together = threading.Barrier(2)

    class Both(Box):
        def forward(self, image, valid):
            together.wait(10)  # broken if they are run one by one
            return super().forward(image, valid)

    engine = Engine(
        plan, RecyclingSource(Adapter(source(plan, share=1.0)), READ_AHEAD, streams=2),
        runtime=Both(2), outputs=[output()], streams=2,
    )  # fmt: skip
    assert len(list(engine.squares([0]))) == plan.n_cols

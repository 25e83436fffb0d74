"""What a plan costs, and that a better tile grid comes before wide pieces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from affine import Affine

from hsimap.bundle import ONNX, BundleFields, FileEntry
from hsimap.bundle._manifest import complete
from hsimap.errors import ResourceError
from hsimap.geometry import Grid
from hsimap.mapping.memory import Reading, estimate_memory
from hsimap.mapping.settings import MapSettings, plan_map
from hsimap.scenes import Storage

GIB = 1 << 30


def manifest(activation: float | None = 480.0, trim: int = 72):
    """Taiga ``tiny`` on 128 bands: 3 class maps, 10 values."""
    kinds = [("categorical", n) for n in (4, 2, 3)] + [("continuous", 1)] * 10
    tasks, outputs = [], []
    for i, (kind, n) in enumerate(kinds):
        role = "probability" if n > 1 else "value"
        codes = (
            [{"code": c + 1, "name": f"c{c}", "color": "#102030"} for c in range(n)]
            if n > 1
            else []
        )
        tasks.append({"name": f"t{i}", "kind": kind, "classes": codes})
        outputs.append({"task": f"t{i}", "kind": kind, "channels": n, "role": role})
    fields = BundleFields.model_validate(
        {
            "name": "m", "input": {"n_bands": 128}, "tasks": tasks, "outputs": outputs,
            "alignment": 8, "reach": 195, "patch": 64, "activation_bytes_per_px": activation,
            "tile": {"trim": trim, "ramp": 8, "max_tile": 1024},
        }
    )  # fmt: skip
    return complete(fields, {})


def grid(height: int = 4096, width: int = 4096) -> Grid:
    return Grid(height=height, width=width, transform=Affine.identity(), crs=None)


def test_a_large_scene_costs_little_overlap_at_the_default_budget() -> None:
    plan = plan_map(grid(), manifest(), MapSettings(), itemsize=2)
    assert plan.tiles.ratio <= 1.35
    assert plan.memory_bytes <= 4 * GIB


def test_the_tile_grid_comes_before_wide_pieces() -> None:
    little = plan_map(grid(), manifest(), MapSettings(memory=4 * GIB), itemsize=2)
    much = plan_map(grid(), manifest(), MapSettings(memory=16 * GIB), itemsize=2)
    assert little.tiles.ratio <= 1.03 * 1.02 * much.tiles.ratio
    for plan in (little, much):
        piece = plan.at_once * plan.tiles.kept * plan.tiles.side * (128 * 2 + 1)
        assert plan.at_once == 1 or piece <= 512 << 20


@pytest.mark.parametrize("budget", [GIB, 3 * GIB // 2, 2 * GIB, 4 * GIB, 8 * GIB])
def test_a_plan_keeps_to_its_budget(budget: int) -> None:
    plan = plan_map(grid(), manifest(), MapSettings(memory=budget), itemsize=2)
    assert plan.memory_bytes <= budget
    pieces = -(-plan.tiles.n_cols // plan.at_once)
    assert pieces == 1 or plan.tiles.n_cols > (plan.at_once - 1) * pieces  # of one size


def test_a_raw_file_needs_no_cache_and_the_same_tiles() -> None:
    layouts = (Storage(driver=driver, interleave="bil", block=(1, 4096), compression="none")
               for driver in ("ENVI", "GeoTIFF"))  # fmt: skip
    raw, tiff = (
        plan_map(grid(), manifest(), MapSettings(), itemsize=2, storage=one) for one in layouts
    )
    assert raw.tiles == tiff.tiles
    assert raw.memory_bytes < tiff.memory_bytes


@pytest.mark.parametrize(("block", "widest"), [(64, 1), (256, 1), (512, 2), (1024, 4)])
def test_a_piece_is_no_wider_than_a_block_where_the_decoder_goes_on_by_itself(
    block: int, widest: int
) -> None:
    settings = MapSettings(memory=16 * GIB, tile=256)
    stored = Storage(driver="GeoTIFF", interleave="pixel", block=(block, block),
                     compression="deflate")  # fmt: skip
    keeping, plain = (
        plan_map(grid(), manifest(), settings, itemsize=2, storage=replace(stored, keeps=keeps))
        for keeps in (True, False)
    )
    assert keeping.block_rows
    assert keeping.at_once == widest
    assert plain.at_once > 1
    assert keeping.tiles == plain.tiles


def test_a_budget_that_is_too_small_is_refused_with_the_need() -> None:
    with pytest.raises(ResourceError, match=r"needs about \d+ MiB"):
        plan_map(grid(), manifest(), MapSettings(memory=GIB // 8), itemsize=2)


def test_memory_does_not_grow_with_the_length_of_a_scene() -> None:
    plans = [plan_map(grid(rows, 1024), manifest(), MapSettings(tile=512), itemsize=2)
             for rows in (4096, 32768)]  # fmt: skip
    assert plans[0].memory_bytes == plans[1].memory_bytes


def test_wide_pieces_are_in_the_estimate() -> None:
    tiles = plan_map(grid(), manifest(), MapSettings(), itemsize=2).tiles
    one, two, many = (
        estimate_memory(tiles, manifest(), MapSettings(), reading=Reading(itemsize=2, at_once=n))
        for n in (1, 2, 999)
    )
    piece = tiles.side * tiles.kept * 128 * 2
    assert two - one >= 2 * piece  # the one in use and the one that is read
    cut_out = tiles.side**2 * 128 * 2
    assert two - one >= 2 * piece + cut_out
    assert many - one <= 1.1 * (2 * (tiles.n_cols - 1) * piece + cut_out)


def test_rows_of_blocks_are_kept_where_they_fit_and_do_not_change_the_tiles() -> None:
    storage = Storage(driver="GeoTIFF", interleave="pixel", block=(256, 256), compression="zstd")
    for budget, fits in ((2 * GIB, False), (8 * GIB, True), (16 * GIB, True)):
        settings = MapSettings(memory=budget)
        plain = plan_map(grid(), manifest(), settings, itemsize=2)
        kept = plan_map(grid(), manifest(), settings, itemsize=2, storage=storage)
        assert kept.tiles == plain.tiles
        assert kept.memory_bytes <= budget
        more = kept.memory_bytes - plain.memory_bytes
        assert kept.block_rows == fits
        assert not fits or kept.at_once < plain.at_once or more >= 256 * 4096 * 128 * 2


@pytest.mark.parametrize(
    "layout", [("ENVI", "none", 256), ("GeoTIFF", "none", 256), ("GeoTIFF", "zstd", 4096)]
)
def test_other_layouts_keep_no_rows_of_blocks(layout: tuple[str, str, int]) -> None:
    driver, compression, side = layout
    storage = Storage(
        driver=driver, interleave="pixel", block=(side, side), compression=compression
    )
    settings = MapSettings(memory=64 * GIB)
    assert not plan_map(grid(), manifest(), settings, itemsize=2, storage=storage).block_rows


def test_a_batch_is_in_the_estimate_and_in_the_computed_pixels() -> None:
    one, four = (
        plan_map(grid(), manifest(), MapSettings(tile=512, batch=n, memory=16 * GIB), itemsize=2)
        for n in (1, 3)
    )
    area = four.tiles.side**2
    assert four.memory_bytes - one.memory_bytes >= 2 * area * (480 + 128 * 4)
    assert (four.tiles.n_cols, four.tiles.batch) == (8, 3)
    assert four.tiles.ratio == pytest.approx(one.tiles.ratio * 9 / 8)
    assert four.describe()["tiles_per_forward"] == 3


def test_a_batch_is_no_longer_than_a_row_and_the_memory_bounds_its_tiles() -> None:
    plan = plan_map(grid(600, 600), manifest(), MapSettings(batch=9), itemsize=2)
    assert plan.tiles.batch <= plan.tiles.n_cols
    wide = plan_map(grid(), manifest(), MapSettings(batch=4), itemsize=2)
    assert wide.memory_bytes <= 4 * GIB
    assert wide.tiles.side < plan_map(grid(), manifest(), MapSettings(), itemsize=2).tiles.side


def test_what_a_gpu_computes_takes_none_of_the_host_s_memory() -> None:
    host, gpu = (
        plan_map(grid(), manifest(), MapSettings(tile=512, device=d), itemsize=2)
        for d in ("cpu", "cuda")
    )
    assert host.memory_bytes - gpu.memory_bytes >= 480 * host.tiles.side**2


def with_graph(activation: float = 480.0, trim: int = 72):
    file = FileEntry(size=1, sha256="0" * 64)
    return manifest(activation, trim).model_copy(update={"files": {ONNX: file}})


@pytest.mark.parametrize(
    ("options", "streams"),
    [
        ({}, 2),
        ({"threads": 6}, 6),
        ({"threads": 1}, 1),
        ({"runtime": "onnx"}, 2),
        ({"runtime": "torch"}, 1),
        ({"runtime": "openvino"}, 1),
        ({"compiled": True}, 1),
        ({"batch": 2}, 1),
        ({"device": "cuda"}, 1),
    ],
)
def test_forwards_run_side_by_side_where_the_runtime_can(options: dict, streams: int) -> None:
    settings = MapSettings(**{"threads": 2, "memory": 64 * GIB, **options})
    assert plan_map(grid(), with_graph(), settings, itemsize=2).streams == streams
    assert plan_map(grid(), manifest(), settings, itemsize=2).streams == 1  # no graph for them


def test_forwards_run_side_by_side_where_that_costs_few_pixels() -> None:
    settings = MapSettings(threads=4, memory=3 * GIB // 2)
    light, heavy = (
        plan_map(grid(), with_graph(need, trim), settings, itemsize=2)
        for need, trim in ((100.0, 8), (4000.0, 72))
    )
    assert light.streams > heavy.streams == 1
    one = plan_map(grid(), with_graph(100.0, 8), replace(settings, threads=1), itemsize=2)
    assert one.tiles.ratio <= light.tiles.ratio
    for plan in (light, heavy, one):
        assert plan.memory_bytes <= settings.memory
        assert plan.describe()["forwards_side_by_side"] == plan.streams

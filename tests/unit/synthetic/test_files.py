import hashlib
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hsimap.config import load_yaml
from hsimap.errors import UsageError
from hsimap.geometry import Window
from hsimap.scenes import open_scene
from hsimap.synthetic import CLASS_TASKS, TASKS, VALUE_TASKS, write_sample

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_sample(tmp_path_factory.mktemp("sample"), size=80, seed=3)


def test_the_same_seed_and_size_give_the_same_bytes(paths, tmp_path):
    again = write_sample(str(tmp_path / "new" / "folder"), size=80, seed=3)
    for name, path in paths.items():
        assert path.read_bytes() == again[name].read_bytes(), name
    other = write_sample(tmp_path, size=80, seed=4)
    assert other["scene"].read_bytes() != paths["scene"].read_bytes()


def test_our_reader_understands_the_scene(paths):
    scene = open_scene(paths["scene"])
    assert scene.bands.n == 128
    assert scene.bands.wavelength_nm[0] == 400
    assert scene.bands.wavelength_nm[-1] == 1000
    assert set(scene.bands.fwhm_nm) == {4.7}
    assert scene.scale == pytest.approx(1e-4)
    assert scene.nodata == 0
    assert scene.dtype == np.int16
    assert scene.notes == ()
    _, valid = scene.read(Window(row=0, col=0, height=80, width=80))
    with rasterio.open(paths["stand_id"]) as file:
        np.testing.assert_array_equal(valid, file.read(1) > 0)


def test_every_layer_is_tiled_declared_and_on_one_grid(paths):
    grids = set()
    for name, path in paths.items():
        with rasterio.open(path) as file:
            grids.add((file.transform, file.crs.to_epsg(), file.shape))
            assert file.compression.value == "DEFLATE", name
            assert set(file.block_shapes) == {(64, 64)}, name
            assert file.nodata is not None, name
            assert file.res == (0.7, 0.7)
    assert len(grids) == 1
    assert grids.pop()[1] == 3067
    with rasterio.open(paths["classes"]) as file:
        assert file.descriptions == CLASS_TASKS
        for band, name in enumerate(CLASS_TASKS, start=1):
            assert set(np.unique(file.read(band)).tolist()) <= {0, *TASKS[name]["classes"]}
    with rasterio.open(paths["variables"]) as file:
        assert file.descriptions == VALUE_TASKS
        assert file.units == tuple(TASKS[name]["unit"] for name in VALUE_TASKS)
        assert np.isnan(file.nodata)


def test_the_smallest_scene_is_written(tmp_path):
    paths = write_sample(tmp_path, size=16, seed=0)
    with rasterio.open(paths["scene"]) as file:
        assert (file.read() > 0).any()


@pytest.mark.parametrize(("size", "seed", "word"), [(15, 0, "size"), (64, -1, "seed")])
def test_values_out_of_range_are_refused(tmp_path, size, seed, word):
    with pytest.raises(UsageError, match=word):
        write_sample(tmp_path / "none", size=size, seed=seed)
    assert not (tmp_path / "none").exists()


def test_the_demo_recipe_names_the_generators_tasks():
    recipe = load_yaml(ROOT / "pipelines" / "boreal_demo.yaml")
    for name, task in TASKS.items():
        stated = {key: value for key, value in recipe["tasks"][name].items() if key != "title"}
        assert stated == task, name
    assert set(recipe["tasks"]) == set(TASKS)
    assert all(scene["sample"]["seed"] != 0 for scene in recipe["scenes"])


def test_shipped_sample_is_whole_and_small():
    folder = ROOT / "sample_data"
    lines = (folder / "sha256.txt").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split() for line in lines)}
    assert set(listed) == {path.name for path in folder.glob("*.tif")}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8_000_000


def test_shipped_sample_holds_every_class():
    with rasterio.open(ROOT / "sample_data" / "classes.tif") as file:
        for band, name in enumerate(CLASS_TASKS, start=1):
            codes, counts = np.unique(file.read(band), return_counts=True)
            assert set(codes.tolist()) == {0, *TASKS[name]["classes"]}
            assert counts.min() > 500

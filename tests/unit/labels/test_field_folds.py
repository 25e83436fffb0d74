"""Folds by a field of vector features: a stand is in one fold, in whatever scene it is seen."""

import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import CRS

from hsimap.config import validate
from hsimap.errors import UsageError
from hsimap.geometry import Grid
from hsimap.labels import (
    BlockSplit,
    SplitSpec,
    StandSpec,
    StandSplit,
    open_folds,
    read_stands,
    shared_stand_folds,
    stand_folds,
)

UTM = CRS.from_epsg(32633).to_wkt()
SIDE = 18


def grid(col=0.0, row=0.0, angle=0.0):
    place = Affine.translation(5e5 + 2 * col, 6.8e6 - 2 * row) @ Affine.rotation(angle)
    return Grid(height=20, width=24, transform=place @ Affine.scale(2, -2), crs=UTM)


@pytest.fixture(scope="module")
def stands(tmp_path_factory):
    """Squares of 18 m of 30 stands, some of two squares, with an id, a name and a fold's text."""
    path = tmp_path_factory.mktemp("field") / "stands.gpkg"
    rng = np.random.default_rng(3)
    corners = [(x, y) for y in range(0, 126, SIDE) for x in range(0, 144, SIDE)]
    shapes = [shapely.box(5e5 + x, 6.8e6 - y - SIDE, 5e5 + x + SIDE, 6.8e6 - y) for x, y in corners]
    ids = rng.integers(1, 31, len(shapes))
    names = np.array([f"stand {k}" for k in ids], dtype=object)
    part = np.array([("calibration", "validation", "test", "none")[k % 4] for k in ids], object)
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array(shapes)),
        [ids, names, part],
        fields=["stand_id", "name", "part"],
        geometry_type="Polygon",
        crs="EPSG:32633",
    )
    return path


def seen(spec, path, place):
    """Return each stand's set of folds in a scene."""
    folds = open_folds(spec, grid=place, root=path.parent)
    numbers = StandSpec(vector=path.name, field="stand_id")
    ids = read_stands(numbers, grid=place, root=path.parent)
    return {int(k): set(folds[ids == k].tolist()) for k in np.unique(ids[ids > 0])}


@given(
    seed=st.integers(0, 50),
    places=st.lists(
        st.tuples(st.floats(-5, 50), st.floats(-5, 40), st.sampled_from([0.0, 31.0])),
        min_size=2,
        max_size=3,
    ),
    field=st.sampled_from(["stand_id", "name"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12)
def test_a_stand_is_in_one_fold_in_every_scene(stands, seed, places, field):
    spec = SplitSpec(vector=stands.name, field=field, shares=(0.5, 0.25, 0.25), seed=seed)
    found = {}
    for place in places:
        for stand, folds in seen(spec, stands, grid(*place)).items():
            assert len(folds) == 1
            assert folds <= {1, 2, 3}
            assert found.setdefault(stand, folds) == folds


def test_shares_are_of_the_features_area(stands):
    place = Grid(height=70, width=90, transform=Affine(2, 0, 5e5 - 10, 0, -2, 6.8e6 + 10), crs=UTM)
    spec = SplitSpec(vector=stands.name, field="stand_id", shares=(0.5, 0.3, 0.2), seed=1)
    folds = open_folds(spec, grid=place, root=stands.parent)
    share = np.bincount(folds.ravel(), minlength=4)[1:] / (folds > 0).sum()
    np.testing.assert_allclose(share, (0.5, 0.3, 0.2), atol=0.12)  # a stand is 10 % at most
    other = open_folds(spec.model_copy(update={"seed": 2}), grid=place, root=stands.parent)
    assert not np.array_equal(folds, other)


def test_texts_of_a_field_are_codes_of_folds(stands):
    spec = SplitSpec(
        vector=stands.name, field="part", train="calibration", validation="validation", test="test"
    )
    for stand, folds in seen(spec, stands, grid(3, 2, 20.0)).items():
        assert folds == {(1, 2, 3, 0)[stand % 4]}
    with pytest.raises(UsageError, match=r"'calibration'.*name them"):
        open_folds(SplitSpec(vector=stands.name, field="part"), grid=grid(), root=stands.parent)
    with pytest.raises(UsageError, match="needs `vector:`"):
        open_folds(SplitSpec(field="part"), grid=grid(), root=stands.parent)


@given(
    order=st.permutations(range(3)), seed=st.integers(0, 99), parts=st.integers(1, 30),
    labelled=st.floats(0.3, 1),
)  # fmt: skip
def test_stands_of_many_scenes_are_dealt_together_in_any_order(order, seed, parts, labelled):
    rng = np.random.default_rng(seed)
    scenes = [rng.integers(0, parts + 5, (9, 11)).astype(np.int32) for _ in range(3)]
    counted = [rng.random((9, 11)) < labelled for _ in range(3)]
    split = StandSplit(seed=seed)
    found = shared_stand_folds(scenes, counted, split)
    turned = shared_stand_folds([scenes[k] for k in order], [counted[k] for k in order], split)
    for k, number in enumerate(order):
        np.testing.assert_array_equal(turned[k], found[number])
    ids, folds = np.concatenate(scenes, axis=None), np.concatenate(found, axis=None)
    assert all(len(set(folds[ids == k])) == 1 for k in np.unique(ids))
    assert not folds[ids == 0].any()
    one = shared_stand_folds(scenes[:1], counted[:1], split)
    np.testing.assert_array_equal(one[0], stand_folds(scenes[0], counted[0], split))


@pytest.mark.parametrize("patch", [8, 9, 15])
def test_no_window_round_a_pixel_of_one_fold_holds_one_of_another(patch):
    place = Grid(height=60, width=70, transform=Affine.identity(), crs=None)
    spec = SplitSpec(blocks=BlockSplit(size=20, buffer="patch", seed=5))
    folds = open_folds(spec, grid=place, root=None, patch=patch)
    reach = patch // 2
    for fold in (1, 2, 3):
        for row, col in np.argwhere(folds == fold)[::7]:
            near = folds[
                max(row - reach, 0) : row + reach + 1, max(col - reach, 0) : col + reach + 1
            ]
            assert set(near.ravel().tolist()) <= {0, fold}
    with pytest.raises(UsageError, match="larger than 40 px"):
        open_folds(spec, grid=place, root=None, patch=40)
    with pytest.raises(UsageError, match="needs the patch"):
        open_folds(spec, grid=place, root=None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"vector": "a.gpkg", "blocks": {"size": 9}}, ["vector of a split belong to field"]),
        ({"raster": "a", "shares": [1, 0, 0]}, ["shares of a split belong to field"]),
        ({"field": "a", "raster": "b"}, ["got raster and field"]),
        ({"field": "a", "shares": [1, 0, 0], "train": "x"}, ["train, validation and test belong"]),
        ({"field": "a", "band": 1}, ["band belongs"]),
        ({"blocks": {"size": 9, "buffer": "half"}}, ["`blocks.buffer"]),
        ({"blocks": {"size": 9, "buffer": -1}}, ["not be negative"]),
    ],
)
def test_wrong_splits(data, words):
    with pytest.raises(UsageError) as caught:
        validate(SplitSpec, data, source="r.yaml")
    assert all(word in str(caught.value) for word in words)

import warnings

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Grid, Window
from hsimap.labels._features import as_codes, as_numbers, read_features
from hsimap.labels._vector import VectorBand

UTM = pyproj.CRS.from_epsg(32633)
ROTATED = Grid(
    height=60,
    width=80,
    transform=Affine.translation(400_000, 5_800_000) @ Affine.rotation(-27) @ Affine.scale(2, -2),
    crs=UTM.to_wkt(),
)
PLAIN = Grid(height=20, width=30, transform=Affine.identity(), crs=None)


def write(path, shapes, *, crs="EPSG:4326", **fields):
    kinds = {shape.geom_type for shape in shapes}
    kind = kinds.pop() if len(kinds) == 1 else "Unknown"
    arrays = [np.asarray(values) for values in fields.values()]
    wkb = shapely.to_wkb(np.array(shapes, dtype=object))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        pyogrio.raw.write(
            path, wkb, arrays, fields=list(fields), geometry_type=kind, crs=crs, driver="GPKG"
        )
    return path


def crowns(grid, n, *, seed=0):
    """Rounded polygons over a grid, in its CRS."""
    rng = np.random.default_rng(seed)
    spots = rng.uniform([0, 0], [grid.width, grid.height], (n, 2))
    places = [grid.transform @ tuple(spot) for spot in spots]
    return [
        shapely.affinity.rotate(shapely.Point(place).buffer(rng.uniform(4, 14), quad_segs=3), angle)
        for place, angle in zip(places, rng.uniform(0, 90, n), strict=True)
    ]


def to_wgs84(shapes):
    change = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    return [
        shapely.transform(s, lambda xy: np.stack(change.transform(*xy.T), axis=1)) for s in shapes
    ]


def fine_majority(shapes, codes, grid, *, times=18):
    """The area oracle: count sub-pixels by their centres, in the polygons' own CRS."""
    step = (np.arange(grid.width * times) + 0.5) / times
    down = (np.arange(grid.height * times) + 0.5) / times
    col, row = np.meshgrid(step, down)
    x, y = grid.transform @ (col, row)
    lon, lat = pyproj.Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x, y)
    fine = np.zeros(col.shape, dtype=int)
    for shape, code in zip(shapes, codes, strict=True):
        fine[shapely.contains_xy(shape, lon, lat)] = code
    cells = fine.reshape(grid.height, times, grid.width, times)
    shares = np.stack([(cells == code).mean(axis=(1, 3)) for code in range(codes.max() + 1)])
    best = shares[1:].argmax(axis=0) + 1
    return np.where(shares[1:].max(axis=0) >= 0.5, best, 0), shares


def test_majority_through_another_crs_and_a_rotated_affine_agrees_with_finer_pixels(tmp_path):
    shapes = to_wgs84(crowns(ROTATED, 40))
    codes = np.arange(40) % 3 + 1
    path = write(tmp_path / "crowns.gpkg", shapes, species=codes)
    features = as_codes(read_features(path, grid=ROTATED, field="species"), None)
    values, valid = VectorBand(features, grid=ROTATED).read(ROTATED.window)
    expected, _ = fine_majority(shapes, codes, ROTATED)
    assert valid.mean() > 0.3
    assert (np.where(valid, values, 0) == expected).mean() >= 0.995


@given(row=st.integers(-5, 60), col=st.integers(-5, 80), h=st.integers(1, 30), w=st.integers(1, 30))
@pytest.mark.parametrize("rule", ["majority", "centre", "all_touched"])
def test_a_window_is_a_part_of_the_whole(tmp_path_factory, rule, row, col, h, w):
    path = tmp_path_factory.getbasetemp() / "crowns.gpkg"
    if not path.exists():
        write(path, crowns(ROTATED, 25, seed=3), crs="EPSG:32633", v=np.arange(25) / 4)
    band = VectorBand(
        as_numbers(read_features(path, grid=ROTATED, field="v")), grid=ROTATED, rule=rule
    )
    whole, known = band.read(ROTATED.window)
    window = Window(row=row, col=col, height=h, width=w)
    values, valid = band.read(window)
    inside = window.clip(height=60, width=80)
    place = inside.shift(rows=-row, cols=-col).slices
    np.testing.assert_array_equal(values[place], whole[inside.slices])
    np.testing.assert_array_equal(valid[place], known[inside.slices])
    valid[place] = False
    assert not valid.any()


def box_features(tmp_path, boxes, values, **kwargs):
    shapes = [shapely.box(*box) for box in boxes]
    path = write(tmp_path / "boxes.gpkg", shapes, crs=None, v=values)
    return as_numbers(read_features(path, grid=PLAIN, field="v", **kwargs))


def test_the_rules_differ_on_pixels_that_are_partly_covered(tmp_path):
    features = box_features(tmp_path, [(1.6, 0, 3.6, 1)], [7.0])
    row = Window(row=0, col=0, height=1, width=5)
    found = {
        rule: VectorBand(features, grid=PLAIN, rule=rule).read(row)[1][0].tolist()
        for rule in ("majority", "centre", "all_touched")
    }
    assert found["majority"] == [False, False, True, True, False]
    assert found["centre"] == [False, False, True, True, False]
    assert found["all_touched"] == [False, True, True, True, False]
    strict = VectorBand(features, grid=PLAIN, min_coverage=0.7).read(row)[1][0].tolist()
    loose = VectorBand(features, grid=PLAIN, min_coverage=0.3).read(row)[1][0].tolist()
    assert strict == [False, False, True, False, False]
    assert loose == [False, True, True, True, False]


def test_small_polygons_of_one_value_add_up_in_a_pixel(tmp_path):
    boxes = [(0, 0, 0.3, 1), (0.3, 0, 0.6, 1), (0.6, 0, 1, 1)]
    band = VectorBand(box_features(tmp_path, boxes, [1.0, 1.0, 2.0]), grid=PLAIN)
    values, valid = band.read(Window(row=0, col=0, height=1, width=1))
    assert valid[0, 0]
    assert values[0, 0] == 1


def test_the_later_of_two_that_overlap_lies_on_top_and_it_is_said(tmp_path):
    features = box_features(tmp_path, [(0, 0, 4, 4), (2, 0, 6, 4)], [1.0, 2.0])
    values, _ = VectorBand(features, grid=PLAIN).read(Window(row=0, col=0, height=1, width=6))
    assert values[0].tolist() == [1, 1, 2, 2, 2, 2]
    assert "1 pairs of polygons" in " ".join(features.notes)


def test_a_point_labels_its_pixel_and_the_most_frequent_wins(tmp_path):
    spots = [(0.5, 0.5), (3.1, 2.9), (3.2, 2.1), (3.9, 2.5)]
    path = write(
        tmp_path / "p.gpkg", [shapely.Point(s) for s in spots], crs=None, v=[5.0, 1.0, 1.0, 2.0]
    )
    band = VectorBand(as_numbers(read_features(path, grid=PLAIN, field="v")), grid=PLAIN)
    values, valid = band.read(PLAIN.window)
    assert np.argwhere(valid).tolist() == [[0, 0], [2, 3]]
    assert values[valid].tolist() == [5, 1]


def test_a_negative_buffer_shrinks_and_a_vanished_feature_is_said(tmp_path):
    boxes = [(0, 0, 10, 10), (12, 0, 13, 1)]
    features = box_features(tmp_path, boxes, [1.0, 2.0], buffer=-2)
    _, valid = VectorBand(features, grid=PLAIN).read(PLAIN.window)
    assert valid.sum() == 36
    assert "1 of 2 features of boxes.gpkg are gone" in " ".join(features.notes)


def test_broken_polygons_are_mended(tmp_path):
    bowtie = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4)])
    path = write(tmp_path / "bow.gpkg", [bowtie], crs=None, v=[1.0])
    band = VectorBand(as_numbers(read_features(path, grid=PLAIN, field="v")), grid=PLAIN)
    _, valid = band.read(PLAIN.window)
    assert 4 <= valid.sum() <= 12
    assert not valid[:, 5:].any()


def test_texts_become_codes_and_unknown_ones_are_named(tmp_path):
    shapes = [shapely.box(0, 0, 2, 2), shapely.box(2, 0, 4, 2)]
    names = np.array(["pine", "spruce"], dtype=object)
    path = write(tmp_path / "t.gpkg", shapes, crs=None, species=names)
    features = read_features(path, grid=PLAIN, field="species")
    assert as_codes(features, {"pine": 1, "spruce": 2}).values.tolist() == [1, 2]
    with pytest.raises(InputError, match=r"'spruce'.*does not name"):
        as_codes(features, {"pine": 1})
    with pytest.raises(InputError, match="no number"):
        as_codes(features, None)


def test_numbers_are_features_without_a_field(tmp_path):
    features = read_features(
        write(tmp_path / "n.gpkg", [shapely.box(0, 0, 2, 2)] * 2, crs=None, v=[0.5, 0.5]),
        grid=PLAIN,
        field=None,
    )
    assert features.values.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"field": "colour"}, UsageError, "no field 'colour'; it has v"),
        ({"layer": "other"}, UsageError, "no layer 'other'"),
        ({"grid": ROTATED}, InputError, r"boxes.gpkg states no coordinate reference system"),
    ],
)
def test_a_wrong_question_is_answered(tmp_path, change, error, words):
    path = write(tmp_path / "boxes.gpkg", [shapely.box(0, 0, 2, 2)], crs=None, v=[1.0])
    with pytest.raises(error, match=words):
        read_features(path, **({"grid": PLAIN, "field": "v"} | change))


def test_files_that_cannot_label_are_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_features(tmp_path / "none.gpkg", grid=PLAIN, field=None)
    (tmp_path / "bad.gpkg").write_bytes(b"nothing")
    with pytest.raises(InputError, match="no readable vector file"):
        read_features(tmp_path / "bad.gpkg", grid=PLAIN, field=None)
    line = write(tmp_path / "line.gpkg", [shapely.LineString([(0, 0), (1, 1)])], crs=None, v=[1.0])
    with pytest.raises(InputError, match="holds lines"):
        read_features(line, grid=PLAIN, field="v")
    far = write(tmp_path / "far.gpkg", [shapely.box(500, 0, 501, 1)], crs=None, v=[1.0])
    with pytest.raises(InputError, match="lies on the scene"):
        VectorBand(read_features(far, grid=PLAIN, field="v"), grid=PLAIN)
    degrees = Grid(
        height=4, width=4, transform=Affine.identity(), crs=pyproj.CRS.from_epsg(4326).to_wkt()
    )
    path = write(tmp_path / "deg.gpkg", [shapely.box(0, 0, 2, 2)], v=[1.0])
    with pytest.raises(UsageError, match="projected CRS"):
        read_features(path, grid=degrees, field="v", buffer=1.0)

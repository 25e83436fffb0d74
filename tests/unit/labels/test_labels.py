"""Labels and stand ids: values, what is no label, what is refused."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from hsimap.errors import InputError, UsageError
from hsimap.geometry import Grid, Window
from hsimap.labels import LabelSpec, StandSpec, count_codes, open_labels, read_stands
from hsimap.tasks import task_from_mapping

CRS = rasterio.crs.CRS.from_epsg(32633)
COVER = task_from_mapping("cover", {"kind": "categorical", "classes": {4: "tree", 2: "roof"}})
HEIGHT = task_from_mapping("height", {"kind": "continuous", "unit": "m", "range": [0, 30]})
WHOLE = Window(row=0, col=0, height=23, width=17)
NORTH_UP = Affine(2, 0, 10, 0, -2, 50)


def codes(grid, choices=(0, 2, 4), dtype=np.uint8, seed=3):
    return np.random.default_rng(seed).choice(choices, (grid.height, grid.width)).astype(dtype)


def heights(grid, seed=3, dtype=np.float32):
    return np.random.default_rng(seed).uniform(0, 30, (grid.height, grid.width)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_codes_become_channels_in_the_order_of_the_classes(grid, write, tmp_path, dtype):
    stored = codes(grid, dtype=dtype)
    labels = open_labels(COVER, LabelSpec(raster=write("a.tif", stored)), grid=grid, root=tmp_path)
    found = labels.read(WHOLE)
    assert found.dtype == np.int64
    assert np.array_equal(found, np.select([stored == 4, stored == 2], [0, 1], -1))
    assert labels.notes == ()


def test_values_are_float32_and_nan_is_no_label(grid, write, tmp_path):
    stored = heights(grid)
    stored[3, 4], stored[5, 6], stored[7, 8] = np.nan, np.inf, -9999
    name = write("a.tif", stored, nodata=-9999)
    found = open_labels(HEIGHT, LabelSpec(raster=name), grid=grid, root=tmp_path).read(WHOLE)
    assert found.dtype == np.float32
    gone = np.zeros(stored.shape, bool)
    gone[3, 4] = gone[5, 6] = gone[7, 8] = True
    assert np.array_equal(np.isnan(found), gone)
    assert np.array_equal(found[~gone], stored[~gone])


@given(st.integers(-30, 30), st.integers(-30, 30), st.integers(0, 40), st.integers(0, 40))
def test_a_window_may_pass_the_edge(tmp_path_factory, row, col, height, width):
    folder = tmp_path_factory.getbasetemp() / "edge"
    values = np.arange(1, 1 + 23 * 17, dtype=np.float32).reshape(23, 17)
    transform = NORTH_UP
    if not folder.exists():
        folder.mkdir()
        with rasterio.open(
            folder / "a.tif", "w", driver="GTiff", count=1, height=23, width=17, dtype="float32",
            transform=transform,
        ) as file:  # fmt: skip
            file.write(values, 1)
    grid = Grid(height=23, width=17, transform=transform, crs=None)
    task = task_from_mapping("n", {"kind": "continuous"})
    labels = open_labels(task, LabelSpec(raster="a.tif"), grid=grid, root=folder)
    found = labels.read(Window(row=row, col=col, height=height, width=width))
    labels.close()
    padded = np.pad(values, 80, constant_values=np.nan)
    expected = padded[row + 80 : row + 80 + height, col + 80 : col + 80 + width]
    assert np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [({}, 0.5 + 0.01), ({"scale": 0.1}, 0.1), ({"scale": 2}, 2.0)],
)
def test_scale_of_the_recipe_replaces_that_of_the_file(grid, write, tmp_path, spec, expected):
    stored = np.full((23, 17), 1, np.int16)
    name = write("a.tif", stored, scales=[0.01], offsets=[0.5])
    labels = open_labels(HEIGHT, LabelSpec(raster=name, **spec), grid=grid, root=tmp_path)
    assert labels.read(WHOLE) == pytest.approx(expected)


def test_nodata_of_the_recipe_replaces_that_of_the_file(grid, write, tmp_path):
    stored = codes(grid, (2, 4, 9))
    name = write("a.tif", stored, nodata=2)
    with pytest.raises(InputError, match="declares 2 as nodata, which is a class of 'cover'"):
        open_labels(COVER, LabelSpec(raster=name), grid=grid, root=tmp_path)
    labels = open_labels(COVER, LabelSpec(raster=name, nodata=9), grid=grid, root=tmp_path)
    assert np.array_equal(labels.read(WHOLE), np.select([stored == 4, stored == 2], [0, 1], -1))


@pytest.mark.parametrize("extreme", [-3.3999999521442643e38, -1.7976931348623157e308])
def test_extreme_nodata_of_float32_is_no_label(grid, write, tmp_path, extreme):
    with np.errstate(over="ignore"):
        stored = np.full((23, 17), extreme, np.float32)
    stored[0, 0] = 1
    name = write("a.tif", stored, nodata=extreme if extreme > -1e300 else None)
    spec = LabelSpec(raster=name, nodata=extreme)
    found = open_labels(HEIGHT, spec, grid=grid, root=tmp_path).read(WHOLE)
    assert np.isfinite(found).sum() == 1


def test_a_mask_marks_what_is_no_label(grid, write, tmp_path):
    mask = np.random.default_rng(0).random((23, 17)) < 0.5
    name = write("a.tif", codes(grid, (2, 4, 77)) * mask + ~mask * np.uint8(77), mask=mask)
    with pytest.raises(InputError, match="77"):  # some masked-in pixels hold the undeclared code
        open_labels(COVER, LabelSpec(raster=name), grid=grid, root=tmp_path)
    stored = np.where(mask, codes(grid, (2, 4)), 77).astype(np.uint8)
    name = write("b.tif", stored, mask=mask)
    found = open_labels(COVER, LabelSpec(raster=name), grid=grid, root=tmp_path).read(WHOLE)
    assert np.array_equal(found >= 0, mask)


def test_what_is_masked_is_no_label_even_if_0_is_a_class(grid, write, tmp_path):
    task = task_from_mapping("c", {"kind": "categorical", "classes": {0: "water", 1: "land"}})
    stored = codes(grid, (0, 1, 9))
    name = write("a.tif", stored, nodata=9)
    found = open_labels(task, LabelSpec(raster=name), grid=grid, root=tmp_path).read(WHOLE)
    assert np.array_equal(found, np.where(stored == 9, -1, stored.astype(int)))


@pytest.mark.parametrize("place", [(0, 0), (22, 16), (11, 3)])
def test_an_undeclared_code_anywhere_is_refused(grid, write, tmp_path, place, monkeypatch):
    monkeypatch.setattr("hsimap.labels._raster._SCAN_PIXELS", 40)
    stored = codes(grid)
    stored[place] = 7
    name = write("a.tif", stored)
    with pytest.raises(InputError) as caught:
        open_labels(COVER, LabelSpec(raster=name), grid=grid, root=tmp_path)
    message = str(caught.value)
    assert caught.value.exit_code == 10
    assert all(word in message for word in [str(tmp_path / name), "[7]", "'cover'", "[4, 2]"])
    assert "\n" not in message


def test_a_code_that_is_no_whole_number_is_refused(grid, write, tmp_path):
    stored = codes(grid, dtype=np.float32)
    stored[4, 4] = 2.5
    with pytest.raises(InputError, match=r"2\.5"):
        open_labels(COVER, LabelSpec(raster=write("a.tif", stored)), grid=grid, root=tmp_path)


def test_values_outside_the_range_are_kept_and_counted(grid, write, tmp_path, monkeypatch):
    monkeypatch.setattr("hsimap.labels._raster._SCAN_PIXELS", 40)
    stored = heights(grid)
    stored[2, 2], stored[9, 9], stored[10, 10] = 31, -1, np.nan
    labels = open_labels(HEIGHT, LabelSpec(raster=write("a.tif", stored)), grid=grid, root=tmp_path)
    assert labels.read(WHOLE)[2, 2] == 31
    assert len(labels.notes) == 1
    assert "2 of the 390 labels of 'height' in a.tif" in labels.notes[0]


def test_a_raster_without_labels_is_said(grid, write, tmp_path):
    name = write("a.tif", np.zeros((23, 17), np.uint8))
    labels = open_labels(COVER, LabelSpec(raster=name), grid=grid, root=tmp_path)
    assert labels.notes == ("a.tif holds no label of 'cover'",)


# --- bands ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("band", "index"), [(None, 1), ("height", 1), ("other", 0), (1, 0), (2, 1), (3, 2)]
)  # fmt: skip
def test_a_band_is_named_by_description_or_by_number_from_1(grid, write, tmp_path, band, index):
    stored = np.stack([heights(grid, seed) for seed in range(3)])
    name = write("a.tif", stored, names=["other", "height"])
    labels = open_labels(HEIGHT, LabelSpec(raster=name, band=band), grid=grid, root=tmp_path)
    assert np.array_equal(labels.read(WHOLE), stored[index])


@pytest.mark.parametrize(
    ("band", "words"),
    [
        (None, ["has 2 bands", "`band:`", "1 a", "2 a"]),
        (3, ["has no band 3", "1 a"]),
        ("b", ["has no band described 'b'", "1 a"]),
        ("a", ["has 2 band described 'a'"]),
    ],
)
def test_a_band_that_is_not_there_or_not_clear(grid, write, tmp_path, band, words):
    name = write("a.tif", np.zeros((2, 23, 17), np.float32), names=["a", "a"])
    with pytest.raises(UsageError) as caught:
        open_labels(HEIGHT, LabelSpec(raster=name, band=band), grid=grid, root=tmp_path)
    assert all(word in str(caught.value) for word in [str(tmp_path / name), *words])


@pytest.mark.parametrize("band", [0, -1])
def test_bands_are_counted_from_1(band):
    with pytest.raises(ValueError, match="counted from 1"):
        LabelSpec(raster="a.tif", band=band)


# --- the grid ------------------------------------------------------------------------------------


def test_another_shape_is_refused(grid, write, tmp_path):
    name = write("a.tif", np.zeros((23, 18), np.uint8))
    with pytest.raises(InputError, match="has 23 x 18 pixels and the scene 23 x 17"):
        open_labels(COVER, LabelSpec(raster=name), grid=grid, root=tmp_path)


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        (Affine.translation(1e-8, 0), True),
        (Affine.translation(0.01, 0), False),
        (Affine.translation(0, -1), False),
        (Affine.rotation(0.01), False),
        (Affine.scale(1.0001, 1), False),
        (Affine.scale(1, -1), False),
    ],
)
def test_another_transform_is_refused(grid, write, tmp_path, change, fits):
    name = write("a.tif", codes(grid), transform=grid.transform @ change)
    spec = LabelSpec(raster=name)
    if fits:
        open_labels(COVER, spec, grid=grid, root=tmp_path)
    else:
        with pytest.raises(InputError, match="px off the scene's grid"):
            open_labels(COVER, spec, grid=grid, root=tmp_path)


def test_a_known_other_crs_is_refused_and_an_absent_one_is_not(grid, write, tmp_path):
    name = write("a.tif", codes(grid), crs="EPSG:3067")
    spec = LabelSpec(raster=name)
    with pytest.raises(InputError, match=r"EPSG:3067 and the scene EPSG:32633"):
        open_labels(COVER, spec, grid=grid, root=tmp_path)
    assert open_labels(COVER, spec, grid=replace(grid, crs=None), root=tmp_path).notes == ()
    spec = LabelSpec(raster=write("b.tif", codes(grid), crs=None))
    assert open_labels(COVER, spec, grid=grid, root=tmp_path).notes == ()


def test_one_crs_in_another_dialect_fits(grid, write, tmp_path):
    esri = rasterio.crs.CRS.from_epsg(32633).to_wkt(version="WKT1_ESRI")
    assert esri != grid.crs
    spec = LabelSpec(raster=write("a.tif", codes(grid)))
    open_labels(COVER, spec, grid=replace(grid, crs=esri), root=tmp_path)


def test_the_code_of_a_crs_decides_where_texts_differ(grid, write, tmp_path):
    like = rasterio.crs.CRS.from_proj4("+proj=utm +zone=33 +ellps=WGS84 +units=m")
    assert like != CRS
    spec = LabelSpec(raster=write("a.tif", codes(grid), crs=like))
    assert open_labels(COVER, spec, grid=grid, root=tmp_path).notes == ()


def test_a_crs_without_a_code_is_taken_as_equal_and_said(grid, write, tmp_path):
    own = rasterio.crs.CRS.from_proj4("+proj=tmerc +lat_0=0 +lon_0=15.5 +x_0=500000 +units=m")
    spec = LabelSpec(raster=write("a.tif", codes(grid), crs=own))
    labels = open_labels(COVER, spec, grid=grid, root=tmp_path)
    assert labels.notes == (
        "the CRS of a.tif and of the scene are written differently; taken as equal",
    )
    spec = LabelSpec(raster=write("b.tif", codes(grid), crs="EPSG:4326"))
    with pytest.raises(InputError, match="EPSG:4326"):
        open_labels(COVER, spec, grid=replace(grid, crs=own.to_wkt()), root=tmp_path)


# --- files ---------------------------------------------------------------------------------------


def test_missing_and_damaged_files(grid, tmp_path):
    with pytest.raises(UsageError, match=r"none\.tif does not exist"):
        open_labels(COVER, LabelSpec(raster="none.tif"), grid=grid, root=tmp_path)
    with pytest.raises(UsageError, match="not a regular file"):
        open_labels(COVER, LabelSpec(raster="."), grid=grid, root=tmp_path)
    (tmp_path / "bad.tif").write_bytes(b"II*\0 and no more")
    with pytest.raises(InputError, match=r"bad\.tif is no readable"):
        open_labels(COVER, LabelSpec(raster="bad.tif"), grid=grid, root=tmp_path)


def test_a_disguised_vrt_is_refused(grid, write, tmp_path):
    write("a.tif", codes(grid))
    (tmp_path / "b.tif").write_text(
        '<VRTDataset rasterXSize="17" rasterYSize="23"><VRTRasterBand dataType="Byte" band="1">'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename></SimpleSource>'
        "</VRTRasterBand></VRTDataset>",
        encoding="utf-8",
    )
    with pytest.raises(InputError, match="no readable"):
        open_labels(COVER, LabelSpec(raster="b.tif"), grid=grid, root=tmp_path)


def test_a_sidecar_does_not_change_nodata(grid, write, tmp_path):
    stored = codes(grid, (2, 4))
    name = write("a.tif", stored)
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>2</NoDataValue></PAMRasterBand>'
        "</PAMDataset>",
        encoding="utf-8",
    )
    labels = open_labels(COVER, LabelSpec(raster=name), grid=grid, root=tmp_path)
    assert (labels.read(WHOLE) >= 0).all()


def test_envi_labels_and_a_truncated_one(grid, write, tmp_path):
    stored = codes(grid, dtype=np.int32)
    name = write("a.img", stored, driver="ENVI", transform=NORTH_UP, crs=None)
    north_up = replace(grid, transform=NORTH_UP, crs=None)
    spec = LabelSpec(raster=name)
    found = open_labels(COVER, spec, grid=north_up, root=tmp_path).read(WHOLE)
    assert np.array_equal(found >= 0, stored > 0)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-1])
    with pytest.raises(InputError, match="has 1563 bytes where its header says 1564"):
        open_labels(COVER, spec, grid=north_up, root=tmp_path)


def test_a_scale_does_not_fit_a_categorical_task(grid, write, tmp_path):
    spec = LabelSpec(raster=write("a.tif", codes(grid)), scale=2.0)
    with pytest.raises(UsageError, match="scale is for continuous tasks"):
        open_labels(COVER, spec, grid=grid, root=tmp_path)


def test_threads_read_the_same(grid, write, tmp_path):
    stored = heights(grid)
    labels = open_labels(HEIGHT, LabelSpec(raster=write("a.tif", stored)), grid=grid, root=tmp_path)
    wrong = []

    def look(seed):
        rows = np.random.default_rng(seed).integers(0, 20, 50)
        for row in rows.tolist():
            window = Window(row=row, col=2, height=3, width=9)
            if not np.array_equal(labels.read(window), stored[row : row + 3, 2:11]):
                wrong.append(row)

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- stands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_stand_ids(grid, write, tmp_path, dtype):
    stored = codes(grid, (0, 1, 65000), dtype)
    found = read_stands(StandSpec(raster=write("s.tif", stored)), grid=grid, root=tmp_path)
    assert found.dtype == np.int32
    assert np.array_equal(found, stored.astype(np.int32))


def test_declared_nodata_is_no_stand(grid, write, tmp_path):
    stored = codes(grid, (-1, 3), np.int32)
    name = write("s.tif", stored, nodata=-1)
    found = read_stands(StandSpec(raster=name), grid=grid, root=tmp_path)
    assert np.array_equal(found, np.where(stored == 3, 3, 0))


@pytest.mark.parametrize(
    ("bad", "dtype"), [(-2, np.int32), (1.5, np.float32), (2.0**31, np.float64)]
)
def test_a_stand_id_that_is_none(grid, write, tmp_path, bad, dtype):
    stored = codes(grid, (0, 1), dtype)
    stored[5, 5] = bad
    with pytest.raises(InputError, match="stand id"):
        read_stands(StandSpec(raster=write("s.tif", stored)), grid=grid, root=tmp_path)


# --- what a spec leaves out or clips --------------------------------------------------------------


def test_ignored_codes_are_no_label(grid, write, tmp_path):
    stored = codes(grid, (0, 2, 4, 6, 7))
    name = write("a.tif", stored)
    with pytest.raises(InputError, match=r"\[6, 7\]"):
        open_labels(COVER, LabelSpec(raster=name), grid=grid, root=tmp_path)
    with pytest.raises(InputError, match=r"\[7\]"):
        open_labels(COVER, LabelSpec(raster=name, ignore=6), grid=grid, root=tmp_path)
    spec = LabelSpec(raster=name, ignore=(6, 7))
    found = open_labels(COVER, spec, grid=grid, root=tmp_path).read(WHOLE)
    assert np.array_equal(found, np.select([stored == 4, stored == 2], [0, 1], -1))


def test_values_are_clipped_to_the_range_where_asked(grid, write, tmp_path):
    stored = (100 * heights(grid)).astype(np.int32) - 500
    stored[0, 0], stored[1, 1] = 3001, 0
    name = write("a.tif", stored)
    spec = LabelSpec(raster=name, scale=0.01, nodata=0, clip=True)
    labels = open_labels(HEIGHT, spec, grid=grid, root=tmp_path)
    found = labels.read(WHOLE)
    wanted = np.where(stored == 0, np.nan, (stored / 100).clip(0, 30))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found[0, 0] == 30
    assert labels.notes == ()


@pytest.mark.parametrize(
    ("task", "spec", "word"),
    [
        (COVER, {"clip": True}, "clip"),
        (COVER, {"scale": 2.0}, "scale"),
        (HEIGHT, {"ignore": 3}, "ignore"),
    ],
)
def test_settings_of_the_other_kind_of_task_are_refused(grid, write, tmp_path, task, spec, word):
    name = write("a.tif", codes(grid))
    with pytest.raises(UsageError, match=word):
        open_labels(task, LabelSpec(raster=name, **spec), grid=grid, root=tmp_path)


def test_a_clip_needs_a_range(grid, write, tmp_path):
    task = task_from_mapping("height", {"kind": "continuous"})
    spec = LabelSpec(raster=write("a.tif", heights(grid)), clip=True)
    with pytest.raises(UsageError, match="clip needs the task's range"):
        open_labels(task, spec, grid=grid, root=tmp_path)


def test_excluded_stands_are_none(grid, write, tmp_path):
    stored = codes(grid, (0, 1, 24127621, 65000), np.int32)
    (tmp_path / "bad.csv").write_text("standid\n24127621\n\n77\n")
    spec = StandSpec(raster=write("s.tif", stored), exclude="bad.csv")
    found = read_stands(spec, grid=grid, root=tmp_path)
    assert np.array_equal(found, np.where(stored == 24127621, 0, stored))


@pytest.mark.parametrize(("text", "word"), [(None, "does not exist"), ("standid\n", "no id")])
def test_a_list_of_stands_must_hold_ids(grid, write, tmp_path, text, word):
    if text is not None:
        (tmp_path / "bad.csv").write_text(text)
    spec = StandSpec(raster=write("s.tif", codes(grid, (0, 1), np.int32)), exclude="bad.csv")
    with pytest.raises(UsageError, match=word):
        read_stands(spec, grid=grid, root=tmp_path)


def test_codes_are_counted(grid, write, tmp_path):
    stored = codes(grid, (0, 2, 4, 6), np.int16)
    counts = count_codes(tmp_path / write("a.tif", stored), 1)
    assert counts == {code: int((stored == code).sum()) for code in (0, 2, 4, 6)}

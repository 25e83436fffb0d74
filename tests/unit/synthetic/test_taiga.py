"""The miniature is in the published files, names and encodings of TAIGA."""

import csv
import json

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from spectral.io import envi

from hsimap.errors import UsageError
from hsimap.synthetic import CLASS_TASKS, VALUE_TASKS, flight_line, write_taiga

SIZE, SEED = 224, 1
NAMES = [
    "fertility_class", "soil_class", "main_tree_species_class", "basal_area*100_[m2/ha]",
    "mean_dbh*100_[cm]", "stem_density_[1/ha]", "mean_height*100_[m]", "percentage_of_pine_[%]",
    "percentage_of_spruce_[%]", "percentage_of_birch_[%]", "woody_biomass_[t/ha]",
    "leaf_area_index*100", "effective_leaf_area_index*100", "standID",
]  # fmt: skip


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return write_taiga(tmp_path_factory.mktemp("taiga"), size=SIZE, seed=SEED)


@pytest.fixture(scope="module")
def raw(paths):
    image = np.memmap(paths["image"], "<i2", "r", shape=(128, SIZE, SIZE))
    labels = np.memmap(paths["labels"], "<i4", "r", shape=(SIZE, SIZE, 14))
    return image, labels


def test_the_names_are_the_published_ones(paths):
    assert {path.name for path in paths["image"].parent.iterdir()} == {
        "20170615_reflectance_mosaic_128b", "20170615_reflectance_mosaic_128b.hdr",
        "forestdata_stands", "forestdata_stands.hdr", "bad_stands_updated_15092020.csv",
        "taiga_forest_stand_data.csv",
    }  # fmt: skip


def test_another_reader_of_envi_understands_both(paths, raw):
    image, labels = (envi.open(f"{paths[name]}.hdr", paths[name]) for name in ("image", "labels"))
    assert np.array_equal(image.open_memmap(interleave="bsq"), raw[0])
    assert np.array_equal(labels.open_memmap(), raw[1])
    assert image.metadata["interleave"] == "bsq"
    assert labels.metadata["interleave"] == "bip"
    assert labels.metadata["data type"] == "3"
    assert labels.metadata["band names"] == NAMES
    assert len(image.bands.centers) == 128
    assert image.metadata["default bands"] == ["97", "65", "33"]


def test_the_header_has_json_short_of_its_last_brace(paths):
    header = paths["labels"].with_name("forestdata_stands.hdr").read_text()
    (line,) = (row for row in header.splitlines() if row.startswith("band descriptions"))
    text = line.split(" = ", 1)[1]
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)
    bands = json.loads(text + "}")
    assert list(bands) == NAMES
    assert bands["mean_dbh*100_[cm]"]["unit"] == [0.01, "cm"]
    assert bands["stem_density_[1/ha]"]["unit"] == [1.0, "1/ha"]
    assert bands["fertility_class"]["values"]["6"] == "Barren heath forest"
    assert bands["percentage_of_pine_[%]"]["range"] == [0, 100]


def test_stored_numbers_are_the_stands_values_times_the_factor(raw):
    labels = np.asarray(raw[1])
    forest = flight_line(size=SIZE, seed=SEED).stands
    some = labels[..., 13] > 0
    stand = labels[some][:, 13] - 24_126_500
    trees = labels[some][:, 11] > 0
    assert 0.01 < 1 - trees.mean() < 0.2
    factors = [100, 100, 1, 100, 1, 1, 1, 1, 100, 100]
    for k, factor in enumerate(factors):
        exact = forest.values()[k, stand].astype(float) * factor
        stored = labels[some][:, 3 + k]
        assert (stored[~trees] == 0).all()
        difference = exact[trees] - stored[trees]  # cut off, not rounded
        assert difference.min() > -1e-3
        assert difference.max() < 1
    assert len(factors) == len(VALUE_TASKS)
    for k, name in enumerate(CLASS_TASKS[1:], start=1):
        same = labels[some][:, k] == getattr(forest, name)[stand]
        assert same[trees].all()


def test_no_data_is_0_and_keeps_labels_away(raw):
    image, labels = raw
    missing = (image == 0).all(axis=0)
    assert np.array_equal(missing, (image == 0).any(axis=0))
    near = binary_dilation(missing, np.ones((21, 21)), border_value=1)
    assert (labels[near] == 0).all()
    assert (labels[..., 13] > 0).mean() > 0.2


def test_rare_classes_are_below_the_published_limit(raw):
    fertility = raw[1][..., 0]
    codes, counts = np.unique(fertility[fertility > 0], return_counts=True)
    shares = dict(zip(codes.tolist(), counts / counts.sum(), strict=True))
    assert set(shares) >= {1, 2, 3, 4, 5, 6}
    assert shares[1] < 0.05
    assert shares[6] < 0.05


def test_the_tables_name_stands_of_every_kind(paths, raw):
    seen = set(np.unique(raw[1][..., 13]).tolist()) - {0}
    bad = {int(line) for line in paths["bad_stands"].read_text().split()[1:]}
    with paths["stand_table"].open() as file:
        rows = list(csv.DictReader(file))
    folds = {int(row["standid"]): row["set"] for row in rows}
    assert len(folds) == len(rows)
    assert set(folds.values()) == {"training", "holdout"}
    assert list(rows[0])[:3] == ["standid", "basalarea", "stemdensity"]
    assert list(rows[0])[-1] == "set"
    assert not bad & set(folds)
    assert bad & seen
    assert seen - bad - set(folds)
    for fold in ("training", "holdout"):
        assert {stand for stand, name in folds.items() if name == fold} & seen
    share = list(folds.values()).count("training") / len(folds)
    assert share == pytest.approx(624 / 744, abs=0.06)


def test_the_same_seed_and_size_give_the_same_bytes(paths, tmp_path):
    again = write_taiga(tmp_path, size=SIZE, seed=SEED)
    for name, path in paths.items():
        assert path.read_bytes() == again[name].read_bytes(), name


@pytest.mark.parametrize(("size", "seed"), [(159, 1), (200, -1)])
def test_values_out_of_range_are_refused(tmp_path, size, seed):
    with pytest.raises(UsageError, match="TAIGA miniature"):
        write_taiga(tmp_path / "none", size=size, seed=seed)
    assert not (tmp_path / "none").exists()

"""A miniature of the TAIGA data record: the published files, names and encodings, simulated pixels.

The layout is that of the data record (DOI 10.23729/fe7ce882-8125-44e7-b0cf-ae652d7ed0d5) and of the
tables of stands that its authors published with their baseline. Only facts are taken over.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import maximum_filter

from hsimap.errors import UsageError
from hsimap.geometry import Window
from hsimap.synthetic._envi import RawFile, georeference, listed, spectral_fields
from hsimap.synthetic._files import ground
from hsimap.synthetic._optics import N_BANDS
from hsimap.synthetic._random import uniform
from hsimap.synthetic._scene import FlightLine, flight_line, make_block
from hsimap.synthetic._sensor import NODATA

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

IMAGE: Final = "20170615_reflectance_mosaic_128b"
LABELS: Final = "forestdata_stands"
BAD_STANDS: Final = "bad_stands_updated_15092020.csv"
STAND_TABLE: Final = "taiga_forest_stand_data.csv"
MIN_SIZE: Final = 160
"""Pixels of the side below which no stand of each kind is left."""
_FIRST_ID: Final = 24_126_500
_NEAR_NODATA: Final = 22
"""Side in pixels of the square around missing image pixels that carries no label."""
_TRAINING: Final = 624 / 744
"""Share of the stands of the table that train."""
_BAD: Final = 0.06
_UNLISTED: Final = 0.1
_FERTILITY: Final = (
    "None", "Herb-rich forest", "Herb-rich heath forest", "Mesic heath forest",
    "Sub-xeric heath forest", "Xeric heath forest", "Barren heath forest",
)  # fmt: skip
_SOIL: Final = ("None", "Mineral", "Organic")
_SPECIES: Final = ("None", "Scots pine", "Norway spruce", "birch and other broadleaves")
_CLASSES: Final = {
    "fertility_class": _FERTILITY,
    "soil_class": _SOIL,
    "main_tree_species_class": _SPECIES,
}
_VALUES: Final = (
    ("basal_area", 100, "m2/ha", None), ("mean_dbh", 100, "cm", None),
    ("stem_density", 1, "1/ha", None), ("mean_height", 100, "m", None),
    ("percentage_of_pine", 1, "%", 100), ("percentage_of_spruce", 1, "%", 100),
    ("percentage_of_birch", 1, "%", 100), ("woody_biomass", 1, "t/ha", None),
    ("leaf_area_index", 100, "", None), ("effective_leaf_area_index", 100, "", None),
)  # fmt: skip
"""(name, storage factor, unit, greatest value) of the continuous bands, in order."""
_STAND: Final = "standID"
_FOLIAGE_ROW, _STAND_ROW = 11, 13
_COLUMNS: Final = (
    "standid", "basalarea", "stemdensity", "dbh", "meanheight", "effLAI", "stembiomass",
    "woodybiomass", "pred_basalarea", "pred_meanheight", "pred_effLAI", "pred_stembiomass", "set",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StandLists:
    """What the tables say of the stands; arrays run over the stands of the layout."""

    bad: NDArray[np.bool_]
    training: NDArray[np.bool_]
    holdout: NDArray[np.bool_]


def write_taiga(folder: str | os.PathLike[str], *, size: int, seed: int) -> dict[str, Path]:
    """Write a miniature of the TAIGA data record.

    It has what a reader of the real files must get right: raw ENVI files without a suffix, values
    stored as whole numbers times 100, 0 for "no data", bad stands, stands without trees, stands in
    no list, and fertility classes so rare that the published preprocessing drops them.

    Parameters
    ----------
    folder : path
        Where to; made if it is not there. Files of the same names are replaced.
    size : int
        Side in pixels of 0.7 m, at least 160.
    seed : int
        Which forest, at least 0. The same size and seed give the same bytes.

    Returns
    -------
    dict
        Of paths: ``image``, ``labels``, ``bad_stands``, ``stand_table``.

    Raises
    ------
    UsageError
        If the size or the seed is out of range.
    """
    if size < MIN_SIZE or seed < 0:
        raise UsageError(
            f"a TAIGA miniature has a size of at least {MIN_SIZE} px and a seed from 0, got size"
            f" {size}, seed {seed}"
        )
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    line = flight_line(size=size, seed=seed)
    image = RawFile(
        path=place / IMAGE, shape=(N_BANDS, size, size), dtype="int16", interleave="bsq"
    )
    labels = RawFile(path=place / LABELS, shape=(14, size, size), dtype="int32", interleave="bip")
    where = georeference(ground(seed))
    image.create(where | spectral_fields(nodata=NODATA))
    labels.create(where | _label_fields())
    stands, carries = _write_image(line, image)
    table = stored_table(line, stands[carries])
    values = np.where(carries, table[:, stands], 0).astype(np.int32)
    labels.write(Window(row=0, col=0, height=size, width=size), values)
    paths = {"image": image.path, "labels": labels.path}
    lists = _lists(line, np.unique(stands[carries]))
    return paths | _write_tables(place, table, lists)


def _write_image(line: FlightLine, image: RawFile) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Write the image; return ``(y, x)`` stand indices and where labels are carried."""
    stands = np.zeros((line.size, line.size), dtype=np.int32)
    buffered = np.zeros(stands.shape, dtype=bool)
    missing = np.zeros(stands.shape, dtype=bool)
    for window in line.blocks():
        block = make_block(line, window)
        image.write(window, np.moveaxis(block.image, -1, 0))
        stands[window.slices] = np.maximum(block.stand_id - 1, 0)
        buffered[window.slices] = block.classes[0] > 0
        missing[window.slices] = (block.image == NODATA).all(axis=-1)
    near = maximum_filter(missing, _NEAR_NODATA, mode="constant", cval=True)
    return stands, buffered & ~near


def stored_table(line: FlightLine, labelled: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return ``(band, stand)`` stored whole numbers of every stand.

    The smallest stands among the labelled pixels are given rare values: fertility 1 and 6; one of
    the smaller ones has no trees.
    """
    values = line.stands.values().astype(np.float64)
    factors = np.array([factor for _, factor, _, _ in _VALUES])[:, None]
    stored = np.trunc(np.round(values * factors, 6)).astype(np.int32)
    index = np.arange(values.shape[1], dtype=np.int32)
    table = np.concatenate(
        [line.stands.classes().astype(np.int32), stored, (index + _FIRST_ID)[None]]
    )
    seen, counts = np.unique(labelled, return_counts=True)
    smallest = seen[np.argsort(counts, kind="stable")]
    for code, near in ((1, 2), (6, 5)):
        alike = [stand for stand in smallest if table[0, stand] == near] or list(smallest)
        table[0, alike[0]] = code
    bare = smallest[len(smallest) // 4]
    table[2:_STAND_ROW, bare] = 0
    return table


def _lists(line: FlightLine, seen: NDArray[np.int32]) -> StandLists:
    """Deal the stands out: bad, in no list, training, holdout; some of each are visible."""
    index = np.arange(len(line.layout.centre))
    chance = uniform(line.seed, 111, index)
    chance[seen[:4]] = (0.0, _BAD + 0.01, 0.5, 1.0)
    bad, unlisted = chance < _BAD, (chance >= _BAD) & (chance < _BAD + _UNLISTED)
    rank = (chance - _BAD - _UNLISTED) / (1 - _BAD - _UNLISTED)
    listed_ = ~bad & ~unlisted
    return StandLists(
        bad=bad, training=listed_ & (rank < _TRAINING), holdout=listed_ & (rank >= _TRAINING)
    )


def _label_fields() -> dict[str, str]:
    """Return the keys of the label header: names, and JSON without its outermost braces.

    The published header was made by cutting the first character and the last two off the JSON
    text, so that the last brace of the last band is missing.
    """
    bands: dict[str, dict[str, object]] = {}
    for name, values in _CLASSES.items():
        codes = {str(code): text for code, text in enumerate(values)}
        bands[name] = {"type": "categorical", "values": codes, "name": name}
    for name, factor, unit, most in _VALUES:
        full = name + (f"*{factor}" if factor > 1 else "") + (f"_[{unit}]" if unit else "")
        bands[full] = {
            "type": "continuous",
            "range": [0, most],
            "unit": [1 / factor, unit],
            "name": full,
        }
    bands[_STAND] = {"type": "categorical", "values": {"0": "N/A"}, "name": _STAND}
    return {
        "description": "{Standlevel forest variable data, simulated}",
        "data ignore value": "0",
        "band names": listed(bands),
        "band descriptions": "{" + json.dumps(bands)[1:-2] + "}",
    }


def _write_tables(place: Path, table: NDArray[np.int32], lists: StandLists) -> dict[str, Path]:
    bad, rows = place / BAD_STANDS, place / STAND_TABLE
    ids = table[_STAND_ROW]
    bad.write_text("\n".join(["standid", *map(str, ids[lists.bad]), ""]), encoding="utf-8")
    listed_ = np.flatnonzero((lists.training | lists.holdout) & (table[_FOLIAGE_ROW] > 0))
    with rows.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for stand in listed_:
            writer.writerow(_row(table[:, stand], training=bool(lists.training[stand])))
    return {"bad_stands": bad, "stand_table": rows}


def _row(stored: NDArray[np.int32], *, training: bool) -> list[object]:
    """Return a line of the table of stands; the predictions of its authors are left at 0."""
    area, dbh, density, height = stored[3] / 100, stored[4] / 100, stored[5], stored[6] / 100
    woody, effective = float(stored[10]), stored[12] / 100
    measured = [area, density, dbh, height, effective, round(0.8 * woody, 2), woody]
    return [stored[_STAND_ROW], *measured, *([0.0] * 4), "training" if training else "holdout"]

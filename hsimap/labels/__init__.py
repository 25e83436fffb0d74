"""Rasters of labels, stands and folds on a scene's grid."""

from hsimap.labels._area import Area, AreaSpec, parse_bbox
from hsimap.labels._coverage import coverage
from hsimap.labels._features import Features, FeatureTable, read_features, read_table
from hsimap.labels._folds import (
    block_folds,
    cell_folds,
    finish_folds,
    open_folds,
    shared_stand_folds,
    stand_folds,
    table_folds,
)
from hsimap.labels._labels import Labels, open_labels, read_stands
from hsimap.labels._raster import count_codes
from hsimap.labels._specs import (
    NO_FOLD,
    TEST,
    TRAIN,
    VALIDATION,
    BlockSplit,
    CellSplit,
    LabelSpec,
    SplitSpec,
    StandSpec,
    StandSplit,
    StandTable,
)

__all__ = [
    "NO_FOLD",
    "TEST",
    "TRAIN",
    "VALIDATION",
    "Area",
    "AreaSpec",
    "BlockSplit",
    "CellSplit",
    "FeatureTable",
    "Features",
    "LabelSpec",
    "Labels",
    "SplitSpec",
    "StandSpec",
    "StandSplit",
    "StandTable",
    "block_folds",
    "cell_folds",
    "count_codes",
    "coverage",
    "finish_folds",
    "open_folds",
    "open_labels",
    "parse_bbox",
    "read_features",
    "read_stands",
    "read_table",
    "shared_stand_folds",
    "stand_folds",
    "table_folds",
]

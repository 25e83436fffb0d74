"""How good a map is and how sure: scores, calibration, comparison, analysis of the labels."""

from __future__ import annotations

from hsimap.evaluation._auc import RocBins, exact_auc
from hsimap.evaluation._board import (
    Board,
    Place,
    Wanted,
    make_board,
    missing_runs,
    read_results,
)
from hsimap.evaluation._calibration import (
    LEVELS,
    UnitSample,
    calibration_error,
    conformal_quantile,
    fit_intervals,
    fit_temperature,
    unit_weights,
)
from hsimap.evaluation._compare import Comparison, Spread, compare_models
from hsimap.evaluation._dataset import Dataset, Distribution, SceneFolds, describe_dataset
from hsimap.evaluation._detail import ClassDetail, Coverage, TaskEvaluation, ValueDetail
from hsimap.evaluation._evaluate import ModelEvaluation, evaluate_model
from hsimap.evaluation._files import METRICS_JSON, compare_evaluations, write_tables, write_texts
from hsimap.evaluation._fold import (
    Fold,
    FoldScene,
    FoldStrip,
    Geometry,
    labelled,
    map_fold,
    unit_ids,
)
from hsimap.evaluation._pictures import Picture
from hsimap.evaluation._registration import LabelOffset, label_offset
from hsimap.evaluation._results import append_result
from hsimap.evaluation._samples import FoldSamples, validation_scores
from hsimap.evaluation._scores import (
    class_counts,
    class_scores,
    class_table,
    normalise_confusion,
    value_scores,
    value_sums,
)
from hsimap.evaluation._separability import (
    ClassMoments,
    Separability,
    bhattacharyya,
    divergence,
    separability,
)
from hsimap.evaluation._stands import stand_statistics
from hsimap.evaluation._tasks import (
    TaskScores,
    block_bootstrap,
    score_blocks,
    score_stands,
    score_task,
    square_blocks,
)

__all__ = [
    "LEVELS",
    "METRICS_JSON",
    "Board",
    "ClassDetail",
    "ClassMoments",
    "Comparison",
    "Coverage",
    "Dataset",
    "Distribution",
    "Fold",
    "FoldSamples",
    "FoldScene",
    "FoldStrip",
    "Geometry",
    "LabelOffset",
    "ModelEvaluation",
    "Picture",
    "Place",
    "RocBins",
    "SceneFolds",
    "Separability",
    "Spread",
    "TaskEvaluation",
    "TaskScores",
    "UnitSample",
    "ValueDetail",
    "Wanted",
    "append_result",
    "bhattacharyya",
    "block_bootstrap",
    "calibration_error",
    "class_counts",
    "class_scores",
    "class_table",
    "compare_evaluations",
    "compare_models",
    "conformal_quantile",
    "describe_dataset",
    "divergence",
    "evaluate_model",
    "exact_auc",
    "fit_intervals",
    "fit_temperature",
    "label_offset",
    "labelled",
    "make_board",
    "map_fold",
    "missing_runs",
    "normalise_confusion",
    "read_results",
    "score_blocks",
    "score_stands",
    "score_task",
    "separability",
    "square_blocks",
    "stand_statistics",
    "unit_ids",
    "unit_weights",
    "validation_scores",
    "value_scores",
    "value_sums",
    "write_tables",
    "write_texts",
]

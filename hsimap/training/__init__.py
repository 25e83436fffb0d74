"""Train the network of a recipe and write it as a bundle."""

from __future__ import annotations

from hsimap.training._balancing import DynamicAverage, FixedBalance, UncertaintyBalance
from hsimap.training._batches import Batch, load_batch
from hsimap.training._check import check_recipe
from hsimap.training._commit import git_commit
from hsimap.training._comparison import Bench, train_missing
from hsimap.training._finish import result_of, score_test
from hsimap.training._folds import FoldView, LabelledScene
from hsimap.training._gradnorm import GradNormBalance
from hsimap.training._losses import absolute_error, cross_entropy, focal
from hsimap.training._scenes import RecipeScenes, open_recipe
from hsimap.training._train import foreign_share, make_sampler, train
from hsimap.training._trials import (
    TrialScore,
    collect_scores,
    format_trials,
    train_trials,
    write_trials,
)
from hsimap.training._validation import predict_fold, selection_score, whole_targets

__all__ = [
    "Batch",
    "Bench",
    "DynamicAverage",
    "FixedBalance",
    "FoldView",
    "GradNormBalance",
    "LabelledScene",
    "RecipeScenes",
    "TrialScore",
    "UncertaintyBalance",
    "absolute_error",
    "check_recipe",
    "collect_scores",
    "cross_entropy",
    "focal",
    "foreign_share",
    "format_trials",
    "git_commit",
    "load_batch",
    "make_sampler",
    "open_recipe",
    "predict_fold",
    "result_of",
    "score_test",
    "selection_score",
    "train",
    "train_missing",
    "train_trials",
    "whole_targets",
    "write_trials",
]

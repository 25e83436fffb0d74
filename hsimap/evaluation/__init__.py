"""How good a map is: scores of tasks, their standard errors, and the record of results."""

from __future__ import annotations

from hsimap.evaluation._results import append_result
from hsimap.evaluation._scores import class_counts, class_scores, value_scores, value_sums
from hsimap.evaluation._stands import stand_statistics
from hsimap.evaluation._tasks import (
    TaskScores,
    block_bootstrap,
    score_stands,
    score_task,
    square_blocks,
)

__all__ = [
    "TaskScores",
    "append_result",
    "block_bootstrap",
    "class_counts",
    "class_scores",
    "score_stands",
    "score_task",
    "square_blocks",
    "stand_statistics",
    "value_scores",
    "value_sums",
]

"""Reports as one HTML page each; the numbers come from :mod:`hsimap.evaluation`."""

from __future__ import annotations

from hsimap.evaluation.report._comparison import comparison_page
from hsimap.evaluation.report._dataset import dataset_page
from hsimap.evaluation.report._evaluation import evaluation_page

__all__ = ["comparison_page", "dataset_page", "evaluation_page"]

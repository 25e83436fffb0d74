"""Losses of one task over the pixels that carry its label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

NO_CLASS = -1
"""Target of a pixel without a class label."""


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the weighted mean of -log softmax over labelled pixels.

    Parameters
    ----------
    logits : Tensor
        ``(batch, class, y, x) float``.
    target : Tensor
        ``(batch, y, x) int64``: channel index, -1 = no label.
    weights : Tensor, optional
        ``(class,) float``; the mean is divided by the sum of the pixels' weights, as
        ``torch.nn.CrossEntropyLoss`` does.

    Returns
    -------
    Tensor
        Scalar; 0, still connected to ``logits``, where no pixel carries weight.
    """
    pixels = functional.cross_entropy(
        logits.float(), target, weight=weights, ignore_index=NO_CLASS, reduction="none"
    )
    labelled = target != NO_CLASS
    per_pixel = torch.ones_like(pixels) if weights is None else weights[target.clamp_min(0)]
    return pixels.sum() / (per_pixel * labelled).sum().clamp_min(torch.finfo(pixels.dtype).tiny)


def absolute_error(values: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error over labelled pixels (L1).

    Parameters
    ----------
    values : Tensor
        ``(batch, 1, y, x) float``, scaled as the target.
    target : Tensor
        ``(batch, y, x) float32``; NaN = no label.

    Returns
    -------
    Tensor
        Scalar; 0, still connected to ``values``, without a labelled pixel.
    """
    labelled = torch.isfinite(target)
    error = (values[:, 0].float() - target.nan_to_num()).abs()
    return (error * labelled).sum() / labelled.sum().clamp_min(1)


def is_labelled(target: Tensor) -> Tensor:
    """Return True where a pixel carries the label; class indices are integers, values floats."""
    return torch.isfinite(target) if target.is_floating_point() else target != NO_CLASS

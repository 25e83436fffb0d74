"""Losses of one task over the pixels that carry its label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from hsimap.recipes import LossSettings

NO_CLASS = -1
"""Target of a pixel without a class label."""


def cross_entropy(
    logits: Tensor, target: Tensor, weights: Tensor | None = None, *, by_weight: bool = True
) -> Tensor:
    """Return the mean of -log softmax over labelled pixels, weighted by class.

    Parameters
    ----------
    logits : Tensor
        ``(batch, class, y, x) float``.
    target : Tensor
        ``(batch, y, x) int64``: channel index, -1 = no label.
    weights : Tensor, optional
        ``(class,) float``: cost of each class (arXiv 2407.16384, eq. 14).
    by_weight : bool
        Divide by the sum of the pixels' weights, as ``torch.nn.CrossEntropyLoss`` does, and not by
        the number of labelled pixels.

    Returns
    -------
    Tensor
        Scalar; 0, still connected to ``logits``, where no pixel carries weight.
    """
    pixels = functional.cross_entropy(
        logits.float(), target, weight=weights, ignore_index=NO_CLASS, reduction="none"
    )
    return _class_mean(pixels, target, weights if by_weight else None)


def focal(
    logits: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    settings: LossSettings,
) -> Tensor:
    """Return the mean of -alpha c (1 - p)^gamma log p over labelled pixels.

    p is the probability of the pixel's class and c the weight of that class (Lin et al. 2017;
    arXiv 2407.16384, eq. 15; "with class weights" in its Table VI).

    Parameters
    ----------
    logits, target, weights
        As in :func:`cross_entropy`; without weights c is 1.
    settings : LossSettings
        Alpha, gamma, and what the sum is divided by: the number of pixels by default.

    Returns
    -------
    Tensor
        Scalar; 0, still connected to ``logits``, without a labelled pixel.
    """
    # log p comes from log-softmax: log(softmax) loses all digits where p is near 0.
    log_p = -functional.cross_entropy(
        logits.float(), target, ignore_index=NO_CLASS, reduction="none"
    )
    missing = -torch.expm1(log_p)  # 1 - p, exact where p is near 1
    # The slope of x^gamma at 0 is infinite below gamma 1; a pixel that is wholly right has none.
    pixels = -settings.focal_alpha * missing.clamp_min(1e-12) ** settings.focal_gamma * log_p
    if weights is not None:
        pixels = pixels * weights[target.clamp_min(0)]
    by_weight = settings.divide_by == "weights"
    return _class_mean(pixels * (target != NO_CLASS), target, weights if by_weight else None)


def class_loss(
    logits: Tensor, target: Tensor, weights: Tensor | None, *, settings: LossSettings
) -> Tensor:
    """Return the loss of a categorical task that a recipe asks for."""
    if settings.categorical == "focal":
        return focal(logits, target, weights, settings=settings)
    return cross_entropy(logits, target, weights, by_weight=settings.divide_by != "pixels")


def absolute_error(values: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute error over labelled pixels (L1; arXiv 2407.16384, eq. 24).

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
    return _value_mean(_error(values, target).abs(), target)


def squared_error(values: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error over labelled pixels; parameters as :func:`absolute_error`."""
    return _value_mean(_error(values, target).square(), target)


def smooth_error(values: Tensor, target: Tensor, *, beta: float) -> Tensor:
    """Return the mean over labelled pixels of e²/(2 beta) below beta and |e| - beta/2 above.

    Parameters are those of :func:`absolute_error`; ``beta`` is in scaled values.
    """
    error = _error(values, target)
    zeros = torch.zeros_like(error)
    return _value_mean(functional.smooth_l1_loss(error, zeros, reduction="none", beta=beta), target)


def value_loss(values: Tensor, target: Tensor, *, settings: LossSettings) -> Tensor:
    """Return the loss of a continuous task that a recipe asks for."""
    match settings.continuous:
        case "l1":
            return absolute_error(values, target)
        case "mse":
            return squared_error(values, target)
        case "smooth_l1":
            return smooth_error(values, target, beta=settings.smooth_l1_beta)


def is_labelled(target: Tensor) -> Tensor:
    """Return True where a pixel carries the label; class indices are integers, values floats."""
    return torch.isfinite(target) if target.is_floating_point() else target != NO_CLASS


def _class_mean(pixels: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    per_pixel = torch.ones_like(pixels) if weights is None else weights[target.clamp_min(0)]
    total = (per_pixel * (target != NO_CLASS)).sum()
    return pixels.sum() / total.clamp_min(torch.finfo(pixels.dtype).tiny)


def _error(values: Tensor, target: Tensor) -> Tensor:
    return values[:, 0].float() - target.nan_to_num()


def _value_mean(errors: Tensor, target: Tensor) -> Tensor:
    labelled = torch.isfinite(target)
    return (errors * labelled).sum() / labelled.sum().clamp_min(1)

"""What makes two recipes the same: a hash that outlives new fields."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Sequence

_IDENTITY: Final = {
    "name", "scenes", "labels", "stands", "split", "only_tasks", "input", "network", "training"
}  # fmt: skip
"""What the digest covers, beside the tasks."""
_DATA: Final = {"scenes"}
"""What the digest of the data covers, beside the tasks."""
_EXECUTION: Final = {"accelerator", "devices", "checkpoint_seconds", "workers", "cache_gib"}
"""Training settings that say where and how fast, not what; the digest does not cover them."""
_AFTERWARDS: Final = {"dispensable"}
"""Training settings of what is measured on the trained network; the digest does not cover them,
and a model that is there is completed."""
_FIRST: Final[dict[str, frozenset[str]]] = {
    record: frozenset(fields.split())
    for record, fields in {
        "Recipe": "name scenes input network training",
        "SampleSpec": "size seed",
        "SceneSpec": "image sample labels stands split",
        "InputSettings": "scale normalise wavelengths bands bad_bands nodata",
        "AugmentSettings": "flips turns brightness noise band_dropout",
        "LossSettings": "categorical continuous",
        "TrainingSettings": "patch batch epochs samples_per_epoch learning_rate weight_decay betas"
        " warmup_epochs schedule average clip_norm balancing task_weights class_weights losses"
        " augment seed patience validate_every precision",
        "LabelSpec": "raster band nodata scale",
        "StandSpec": "raster band",
        "SplitSpec": "raster band train validation test blocks stands block context",
        "BlockSplit": "size buffer shares seed",
        "StandSplit": "shares seed",
        "Task": "name kind title classes unit range",
        "ClassLabel": "code name color",
    }.items()
}
"""Fields of the first results, which always count. Any other field came later and counts only
where it is not at its default: what it does by default is what was done before it was there."""


def recipe_digest(recipe: BaseModel, tasks: Sequence[BaseModel]) -> str:
    """Return the sha256 of everything that shapes the model.

    Parameters
    ----------
    recipe : Recipe
        A checked recipe.
    tasks : sequence of Task
        Its tasks, in order.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    plain = recipe.model_dump(
        mode="json", include=_IDENTITY, exclude={"training": _EXECUTION | _AFTERWARDS}
    )
    return _hash(_counted(recipe, plain), tasks)


def data_digest(recipe: BaseModel, tasks: Sequence[BaseModel]) -> str:
    """Return the sha256 of scenes, labels, folds and tasks: what scores are comparable over.

    Parameters and result as in :func:`recipe_digest`.
    """
    return _hash(_counted(recipe, recipe.model_dump(mode="json", include=_DATA)), tasks)


def _hash(content: dict[str, Any], tasks: Sequence[BaseModel]) -> str:
    """Return the sha256 of a part of a recipe, its tasks put in."""
    content["tasks"] = [_counted(task, task.model_dump(mode="json")) for task in tasks]
    for name in {"scenes", "labels", "stands", "split"} & content.keys():
        content[name] = _without_folders(content[name])
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _counted(value: object, plain: Any) -> Any:  # noqa: ANN401 - any plain value
    """Drop the later fields at their default from what a value was dumped to."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        first = _FIRST.get(type(value).__name__, frozenset())
        return {
            name: _counted(getattr(value, name), item)
            for name, item in plain.items()
            if name in first
            or getattr(value, name) != fields[name].get_default(call_default_factory=True)
        }
    if isinstance(value, Mapping):
        return {key: _counted(value.get(key), item) for key, item in plain.items()}
    if isinstance(value, list | tuple):
        return [_counted(item, text) for item, text in zip(value, plain, strict=True)]
    return plain


def _without_folders(value: Any) -> Any:  # noqa: ANN401 - any plain value
    """Keep of an absolute path its name only."""
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value

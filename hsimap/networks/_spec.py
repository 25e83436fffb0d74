"""What a network is built from, as plain data; imports no torch."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from hsimap.errors import UsageError
from hsimap.tasks import Kind, Output, Strict, Task

REFERENCE_RATES: Final = (6, 12, 18)
"""Dilation rates of the paper, for its patch of 256 pixels."""
REFERENCE_PATCH: Final = 256
WINDOW_BLOCKS: Final = 8
"""Blocks along the attention window's side: the window is centred to 1/16 of the patch."""
_PRESETS: Final[dict[str, dict[str, Any]]] = {
    "paper": {"widths": (64, 128, 256, 512), "blocks": (3, 4, 6, 3), "decoder_width": 256},
    "half": {"widths": (48, 96, 192, 384), "blocks": (3, 4, 6, 3), "decoder_width": 192},
    "small": {"widths": (32, 64, 128, 256), "blocks": (1, 2, 3, 2), "decoder_width": 128},
    "tiny": {"widths": (16, 32, 64, 128), "blocks": (1, 1, 1, 1), "decoder_width": 64},
}


class NetworkSettings(Strict):
    """Architecture and size of a network; every field of a preset may be overridden."""

    architecture: Literal["taiga", "spectral_spatial"] = "taiga"
    preset: Literal["paper", "half", "small", "tiny"] | None = None
    """Of ``taiga``: widths, blocks and decoder width; ``tiny`` where nothing is said."""
    widths: tuple[int, ...] | None = None
    """Channels of each level; of ``spectral_spatial`` the first is the width."""
    blocks: tuple[int, ...] | None = None
    """Residual blocks of each level."""
    decoder_width: int | None = Field(default=None, ge=8)
    """Channels that a decoder starts from ("channel pooling")."""
    rates: Literal["auto"] | tuple[int, ...] = "auto"
    """Dilation rates of the ASPP; auto = (6, 12, 18) * patch / 256, rounded, at least 1."""
    aspp: Literal["dense_sum", "parallel"] = "dense_sum"
    """Whether a branch also sees the gated sum of the branches before it."""
    attention: bool = True
    """Spectral-spatial attention on the skips and on the deepest features."""
    pooling_block: int | None = Field(default=None, ge=1)
    """Side of the blocks that the attention pools over first, in pixels of the deepest level;
    by default the largest that leaves 8 blocks to the window (or a block a pixel)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of feature channels dropped in training."""
    kernel: int = Field(default=3, ge=1)
    """Side of the spatial convolutions of ``spectral_spatial``, odd."""
    dilations: tuple[int, ...] | None = None
    """Of ``spectral_spatial``: one a block; 1 by default."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if self.architecture == "taiga":
            for field in ("widths", "blocks"):
                value = getattr(self, field)
                if value is not None and (len(value) != 4 or min(value) < 1):  # noqa: PLR2004
                    raise ValueError(f"{field} of taiga needs 4 positive numbers, got {value}")
        elif self.preset is not None:
            raise ValueError("presets belong to the architecture taiga; give widths and blocks")
        return self

    def resolved(self) -> NetworkSettings:
        """Return the settings with the preset's numbers filled in."""
        if self.architecture == "taiga":
            chosen = _PRESETS[self.preset or "tiny"]
        else:
            chosen = {"widths": (64,), "blocks": (2,)}
        missing = {key: value for key, value in chosen.items() if getattr(self, key) is None}
        return self.model_copy(update=missing)


class NormalisationSpec(Strict):
    """How stored values become network values; the numbers are per band, in storage units."""

    mode: Literal["standardise", "minmax", "l2", "none"] = "standardise"
    """``standardise`` and ``minmax``: (x - mean) / std, with offset and width for minmax;
    ``l2``: x over the pixel's norm along the bands."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.mean) != len(self.std) or min(self.std, default=1.0) <= 0:
            raise ValueError("normalisation needs one mean and one positive std a band")
        return self


class NetworkSpec(Strict):
    """Everything that determines a network but its weights; what a bundle stores of it."""

    settings: NetworkSettings
    n_bands: int = Field(ge=1)
    patch: int = Field(ge=1)
    """Side of the training patch, in pixels: the attention's window."""
    tasks: tuple[Task, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)
    """One a task, in the order of the tasks."""
    normalisation: NormalisationSpec
    scaling: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Continuous task to (offset, gain): value = offset + gain * network's number."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [output.task for output in self.outputs] != [task.name for task in self.tasks]:
            raise ValueError("a network has one output a task, in the order of the tasks")
        if self.normalisation.mean and len(self.normalisation.mean) != self.n_bands:
            raise ValueError(
                f"normalisation has {len(self.normalisation.mean)} bands, the input {self.n_bands}"
            )
        for task in self.tasks:
            if task.kind is Kind.SCENE:
                raise ValueError(f"task {task.name!r}: no architecture here classifies scenes")
        return self


def dilation_rates(settings: NetworkSettings, *, patch: int, stride: int) -> tuple[int, ...]:
    """Return the ASPP's dilation rates for a training patch.

    Raises
    ------
    UsageError
        If a rate times the stride reaches past the patch: such taps would see padding only in
        training, stay random, and fire on every larger tile.

    Examples
    --------
    >>> dilation_rates(NetworkSettings(), patch=64, stride=8)
    (2, 3, 4)
    """
    if settings.rates == "auto":
        scaled = (rate * patch / REFERENCE_PATCH for rate in REFERENCE_RATES)
        rates = tuple(max(1, int(rate + 0.5)) for rate in scaled)
    else:
        rates = settings.rates
    for rate in rates:
        if rate * stride >= patch:
            raise UsageError(
                f"dilation rate {rate} at stride {stride} reaches {rate * stride} px, past the"
                f" training patch of {patch} px: its outer taps would only ever see padding; lower"
                f" the rates or enlarge the patch"
            )
    return rates


def pooling_blocks(settings: NetworkSettings, *, patch: int, stride: int) -> tuple[int, int]:
    """Return side and number of the pooling blocks of the attention window, at the deepest level.

    Raises
    ------
    UsageError
        If the patch is no whole number of pixels, or of blocks, of the deepest level.

    Examples
    --------
    >>> pooling_blocks(NetworkSettings(), patch=256, stride=8)
    (4, 8)
    """
    cells = patch // stride
    if patch % stride or not cells:
        raise UsageError(f"the training patch must be a multiple of {stride} px, got {patch}")
    block = settings.pooling_block or max(1, cells // WINDOW_BLOCKS)
    while settings.pooling_block is None and cells % block:
        block -= 1
    if cells % block:
        raise UsageError(
            f"pooling_block {block} does not divide the {cells} pixels that a patch of {patch} px"
            f" has at stride {stride}; choose a divisor"
        )
    return block, cells // block


def head_name(task: str) -> str:
    """Return the module name of a task's head; a bare task name could hide a method of torch's."""
    return f"head_{task}"

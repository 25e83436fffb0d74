"""What a network is built from, as plain data; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from hsimap.errors import UsageError
from hsimap.tasks import Kind, Output, Strict, Task, main_output

STRIDES: Final = (1, 2, 4, 8)
"""Input pixels per feature pixel at the four levels of ``taiga``."""
REFERENCE_RATES: Final = (6, 12, 18)
"""Dilation rates of the paper, for a patch of ``REFERENCE_PATCH`` pixels."""
REFERENCE_PATCH: Final = 256
WINDOW_BLOCKS: Final = 8
"""Most blocks along the attention window's side: its centre is right to 1/16 of the patch."""
Count = Annotated[int, Field(ge=1)]
Side = Literal[1, 2, 4, 8]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaigaSizes:
    """Every size of a ``taiga`` network, nothing left open."""

    widths: tuple[int, ...]
    """Channels of the four levels."""
    blocks: tuple[int, ...]
    """Residual blocks of the four levels."""
    decoder_width: int
    """Channels that a decoder starts from."""
    attention: tuple[int, ...]
    """Strides whose features are attended."""
    aspp: Literal["dense_sum", "parallel"] = "dense_sum"


_PRESETS: Final = {
    "paper": TaigaSizes(
        widths=(64, 128, 256, 512), blocks=(3, 4, 6, 3), decoder_width=256, attention=STRIDES
    ),
    "half": TaigaSizes(
        widths=(48, 96, 192, 384), blocks=(3, 4, 6, 3), decoder_width=192, attention=STRIDES
    ),
    "small": TaigaSizes(
        widths=(32, 64, 128, 256), blocks=(1, 2, 3, 2), decoder_width=128, attention=STRIDES[1:]
    ),
    "tiny": TaigaSizes(
        widths=(16, 32, 64, 128), blocks=(1, 1, 1, 1), decoder_width=64, attention=STRIDES[1:]
    ),
}
# Full-resolution attention is left out of the fast presets: it costs them a tenth of their time.
_OF_TAIGA: Final = (
    "preset", "widths", "blocks", "decoder_width", "rates", "aspp", "attention", "pooling_block",
)  # fmt: skip
_OF_SPECTRAL_SPATIAL: Final = ("width", "spectral_layers", "kernel", "dilations", "context")


class NetworkSettings(Strict):
    """Architecture and size of a network; whatever a preset sets may be overridden.

    ``taiga`` is the paper's multitask network, for scenes with room for patches of 32 pixels and
    more. ``spectral_spatial`` is a compact network with a receptive field of a few pixels, for
    scenes and labels too small for that.
    """

    architecture: Literal["taiga", "spectral_spatial"] = "taiga"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of feature channels dropped in training."""

    preset: Literal["paper", "half", "small", "tiny"] | None = None
    """Of taiga: where its sizes come from; tiny where nothing is said."""
    widths: tuple[Count, ...] | None = Field(default=None, min_length=4, max_length=4)
    """Of taiga: channels at strides 1, 2, 4 and 8."""
    blocks: tuple[Count, ...] | None = Field(default=None, min_length=4, max_length=4)
    """Of taiga: residual blocks at strides 1, 2, 4 and 8."""
    decoder_width: int | None = Field(default=None, ge=8)
    """Of taiga: channels that a decoder starts from ("channel pooling")."""
    rates: Literal["auto"] | tuple[Count, ...] = "auto"
    """Of taiga: dilation rates of the ASPP; auto = (6, 12, 18) * patch / 256, rounded, min. 1"""
    aspp: Literal["dense_sum", "parallel"] = "dense_sum"
    """Of taiga: whether an ASPP branch also sees the gated sum of the branches before it."""
    attention: tuple[Side, ...] | None = None
    """Of taiga: strides (1, 2, 4, 8) whose features are attended; [] = no attention."""
    pooling_block: int | None = Field(default=None, ge=8, multiple_of=8)
    """Of taiga: side of the blocks that the attention pools over first, in pixels; by default the
    largest that leaves at least 8 blocks to a patch, or 8."""

    width: int = Field(default=64, ge=1)
    """Of spectral_spatial: channels."""
    spectral_layers: int = Field(default=2, ge=1)
    """Of spectral_spatial: pointwise layers over the bands, before anything spatial."""
    kernel: int = Field(default=3, ge=1)
    """Of spectral_spatial: side of the spatial convolutions, odd."""
    dilations: tuple[Count, ...] = (1, 1)
    """Of spectral_spatial: one residual block each."""
    context: tuple[Count, ...] = ()
    """Of spectral_spatial: sides of windows (odd) whose mean features the heads see as well."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        mine: tuple[str, ...] = _OF_TAIGA
        others: tuple[str, ...] = _OF_SPECTRAL_SPATIAL
        if self.architecture == "spectral_spatial":
            mine, others = others, mine
        for field in others:
            if getattr(self, field) != type(self).model_fields[field].default:
                raise ValueError(
                    f"{field} is no setting of the architecture {self.architecture}, which has"
                    f" {', '.join(mine)} and dropout"
                )
        for side in (self.kernel, *self.context):
            if side % 2 == 0:
                raise ValueError(f"kernel and context sides must be odd, got {side}")
        if not self.rates:
            raise ValueError("rates must name at least one dilation rate, or auto")
        return self

    def resolved(self) -> NetworkSettings:
        """Return the settings with the preset's numbers filled in."""
        if self.architecture != "taiga":
            return self
        sizes = _PRESETS[self.preset or "tiny"]
        fields = ("widths", "blocks", "decoder_width", "attention")
        missing = {key: getattr(sizes, key) for key in fields if getattr(self, key) is None}
        return self.model_copy(update=missing)

    def taiga(self) -> TaigaSizes:
        """Return the sizes of a ``taiga`` network."""
        sizes = _PRESETS[self.preset or "tiny"]
        return TaigaSizes(
            widths=self.widths or sizes.widths,
            blocks=self.blocks or sizes.blocks,
            decoder_width=self.decoder_width or sizes.decoder_width,
            attention=sizes.attention if self.attention is None else self.attention,
            aspp=self.aspp,
        )


class NormalisationSpec(Strict):
    """How stored values become network values; the numbers are per band, in storage units."""

    mode: Literal["standardise", "minmax", "l2", "none"] = "standardise"
    """``standardise`` and ``minmax``: (x - mean) / std, where minmax has the minimum for mean and
    the width of the range for std; ``l2``: x over the pixel's norm along the bands."""
    mean: tuple[float, ...] = ()
    """One a band; empty = 0."""
    std: tuple[float, ...] = ()
    """One a band, positive; empty = 1."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.mean) != len(self.std) or min(self.std, default=1.0) <= 0:
            raise ValueError("normalisation needs one mean and one positive std a band")
        return self


class NetworkSpec(Strict):
    """Everything that determines a network but its weights; what a bundle stores of it."""

    settings: NetworkSettings
    """Kept with the preset's numbers filled in, so that a stored spec outlives the preset."""
    n_bands: int = Field(ge=1)
    patch: int = Field(ge=1)
    """Side of the training patch in pixels: the window that the attention pools over."""
    tasks: tuple[Task, ...] = Field(min_length=1)
    outputs: tuple[Output, ...] = Field(min_length=1)
    """The main output of each task, in the order of the tasks."""
    normalisation: NormalisationSpec
    scaling: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Continuous task to (offset, gain): value = offset + gain * network's number."""
    temperature: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """Categorical task to the number that its logits are divided by before they become
    probabilities; 1 where a task is not named. No class map depends on it."""

    @field_validator("settings", mode="after")
    @classmethod
    def _resolve(cls, settings: NetworkSettings) -> NetworkSettings:
        return settings.resolved()

    @model_validator(mode="after")
    def _check(self) -> Self:
        for task in self.tasks:
            if task.kind is Kind.SCENE:
                raise ValueError(f"task {task.name!r}: no architecture here classifies scenes")
        strides = [output.stride for output in self.outputs]
        if len(strides) != len(self.tasks) or list(self.outputs) != [
            main_output(task, stride=stride)
            for task, stride in zip(self.tasks, strides, strict=True)
        ]:
            raise ValueError("outputs must be the main outputs of the tasks, in their order")
        bands = len(self.normalisation.mean)
        if bands not in {0, self.n_bands}:
            raise ValueError(f"normalisation has {bands} bands, the input {self.n_bands}")
        continuous = {task.name for task in self.tasks if task.kind is Kind.CONTINUOUS}
        if not set(self.scaling) <= continuous:
            raise ValueError(
                f"scaling names {sorted(set(self.scaling) - continuous)}, which is no"
                f" continuous task"
            )
        categorical = {task.name for task in self.tasks if task.kind is Kind.CATEGORICAL}
        if not set(self.temperature) <= categorical:
            raise ValueError(
                f"temperature names {sorted(set(self.temperature) - categorical)}, which is no"
                f" categorical task"
            )
        return self


def dilation_rates(settings: NetworkSettings, *, patch: int) -> tuple[int, ...]:
    """Return the dilation rates of the ASPP at stride 8 for a training patch.

    Raises
    ------
    UsageError
        If a rate times the stride reaches past the patch: such taps would see padding only in
        training, stay random, and fire on every larger tile.

    Examples
    --------
    >>> dilation_rates(NetworkSettings(), patch=64)
    (2, 3, 5)
    >>> dilation_rates(NetworkSettings(), patch=256)
    (6, 12, 18)
    """
    if settings.rates == "auto":
        rates = tuple(max(1, int(r * patch / REFERENCE_PATCH + 0.5)) for r in REFERENCE_RATES)
    else:
        rates = settings.rates
    stride = STRIDES[-1]
    for rate in rates:
        if rate * stride >= patch:
            raise UsageError(
                f"dilation rate {rate} at stride {stride} reaches {rate * stride} px, past the"
                f" training patch of {patch} px: its outer taps would only ever see padding; lower"
                f" the rates or enlarge the patch"
            )
    return rates


def pooling_blocks(settings: NetworkSettings, *, patch: int) -> tuple[int, int]:
    """Return the side of the attention's pooling blocks, in pixels, and how many make a window.

    Raises
    ------
    UsageError
        If the patch is no multiple of the deepest stride, or of the block.

    Examples
    --------
    >>> pooling_blocks(NetworkSettings(), patch=256), pooling_blocks(NetworkSettings(), patch=32)
    ((32, 8), (8, 4))
    """
    stride = STRIDES[-1]
    if patch % stride:
        raise UsageError(f"the training patch of taiga must be a multiple of {stride}, got {patch}")
    block = settings.pooling_block
    if block is None:
        fits = range(patch // WINDOW_BLOCKS, stride, -1)
        block = next((b for b in fits if b % stride == 0 and patch % b == 0), stride)
    if patch % block:
        raise UsageError(
            f"pooling_block {block} does not divide the training patch of {patch} px; choose a"
            f" multiple of {stride} that does"
        )
    return block, patch // block


def head_name(task: str) -> str:
    """Return the module name of a task's head; a bare task name could hide a method of torch's."""
    return f"head_{task}"

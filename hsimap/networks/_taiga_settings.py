"""Settings of the two architectures of our own: the paper's network, and a compact one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from hsimap.errors import UsageError
from hsimap.networks._settings import Count, NetworkSettings, Preset, Sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

STRIDES: Final = (1, 2, 4, 8)
"""Input pixels per feature pixel at the four levels of ``taiga``."""
REFERENCE_RATES: Final = (6, 12, 18)
"""Dilation rates of the paper, for a patch of ``REFERENCE_PATCH`` pixels."""
REFERENCE_PATCH: Final = 256
WINDOW_BLOCKS: Final = 8
"""Most blocks along a pooling window's side: its centre is right to 1/16 of the patch."""
Side = Literal[1, 2, 4, 8]
Ablation = Literal["baseline", "R", "RD", "RDA", "RDAM", "DAC", "full"]
_LETTERS: Final[Mapping[object, str]] = {
    "baseline": "", "R": "R", "RD": "RD", "RDA": "RDA", "RDAM": "RDA", "DAC": "DAC",
    "full": "RDAC",
}  # fmt: skip
"""Table V: the switches that a row turns on. M, the losses, is no matter of the network."""


def _sizes(first: int, blocks: tuple[int, ...], *, attention: tuple[int, ...]) -> Sizes:
    return {
        "widths": tuple(first * s for s in STRIDES),
        "blocks": blocks,
        "decoder_width": 4 * first,
        "attention": attention,
    }


class TaigaSettings(NetworkSettings):
    """The paper's multitask network, for scenes with room for patches of 32 pixels and more."""

    presets: ClassVar[Mapping[str, Sizes]] = {
        "paper": _sizes(64, (3, 4, 6, 3), attention=STRIDES),
        "half": _sizes(48, (3, 4, 6, 3), attention=STRIDES),
        "small": _sizes(32, (1, 2, 3, 2), attention=STRIDES[1:]),
        "tiny": _sizes(16, (1, 1, 1, 1), attention=STRIDES[1:]),
    }
    # The fast presets leave full-resolution attention out: it costs a tenth of their time.

    architecture: Literal["taiga"] = "taiga"
    preset: Preset
    """Where the sizes come from that are not given; tiny where nothing is said."""
    widths: Annotated[tuple[Count, ...], Field(min_length=4, max_length=4)]
    """Channels at strides 1, 2, 4 and 8."""
    blocks: Annotated[tuple[Count, ...], Field(min_length=4, max_length=4)]
    """Residual blocks at strides 1, 2, 4 and 8."""
    decoder_width: Annotated[int, Field(ge=8)]
    """Channels that a decoder starts from ("channel pooling")."""
    rates: Literal["auto"] | tuple[Count, ...] = "auto"
    """Dilation rates of the ASPP; auto = (6, 12, 18) * patch / 256, rounded, at least 1."""
    aspp: Literal["dense_sum", "parallel", "none"] = "dense_sum"
    """Whether a dilated branch also sees the gated sum of the branches before it; none = no
    dilated branches (Table V without D)."""
    attention: tuple[Side, ...]
    """Strides (1, 2, 4, 8) whose features are attended; [] = no attention (Table V without A)."""
    pooling_block: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Side of the blocks that the attention pools over first, in pixels; by default the largest
    that leaves at least 8 blocks to a patch, or 8."""
    ablation: Ablation | None = None
    """A row of Table V, which sets residual, aspp, attention and channel_pooling where they are not
    given; RDAM is the network of RDA, as M is a matter of the losses."""
    residual: bool = True
    """Residual blocks; false = two plain 3x3 convolutions in place of each level's blocks (Table V
    without R)."""
    channel_pooling: bool = True
    """A 1x1 convolution to decoder_width before a decoder; false = its first blocks work on all
    channels of the deepest level (Table V without C)."""
    skips: bool = True
    """Features of strides 2 and 4 also go to the decoders (Fig. 13)."""
    batch_norm: bool = True
    """Batch normalisation; false = convolutions with a bias instead (Fig. 13)."""
    downsampling: Literal["average", "strided"] = "average"
    """From a level to the next: 2x2 averages, or a 2x2 convolution of stride 2 (Fig. 13, "GAP")."""

    @classmethod
    def fill(cls, given: Mapping[str, object]) -> dict[str, object]:
        """Return the given fields, those of the row of Table V, and the preset's."""
        row = given.get("ablation")
        if row not in _LETTERS:
            return super().fill(given)
        letters = _LETTERS[row]
        switches: dict[str, object] = {
            "residual": "R" in letters,
            "channel_pooling": "C" in letters,
        }
        if "D" not in letters:
            switches["aspp"] = "none"
        if "A" not in letters:
            switches["attention"] = ()
        said = {key: value for key, value in given.items() if value is not None}
        return super().fill({**switches, **said})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.rates:
            raise ValueError("rates must name at least one dilation rate, or auto")
        return self


class SpectralSpatialSettings(NetworkSettings):
    """A compact network with a receptive field of a few pixels, for small scenes and few labels."""

    architecture: Literal["spectral_spatial"] = "spectral_spatial"
    width: int = Field(default=64, ge=1)
    """Channels."""
    spectral_layers: int = Field(default=2, ge=1)
    """Pointwise layers over the bands, before anything spatial."""
    kernel: int = Field(default=3, ge=1)
    """Side of the spatial convolutions, odd."""
    dilations: tuple[Count, ...] = (1, 1)
    """One residual block each."""
    context: tuple[Count, ...] = ()
    """Sides of windows (odd) whose mean features the heads see as well."""
    components: int = Field(default=0, ge=0, le=24)
    """Most of the common components of the training's spectra that the heads see as well, each a
    weighted sum of the bands, without a layer between; `normalise` is standardise or minmax."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for side in (self.kernel, *self.context):
            if side % 2 == 0:
                raise ValueError(f"kernel and context sides must be odd, got {side}")
        return self


def scaled_rates(patch: int, *, reference: int = REFERENCE_PATCH) -> tuple[int, ...]:
    """Return the rates 6, 12 and 18, which fit ``reference`` pixels, for a training patch."""
    return tuple(max(1, int(r * patch / reference + 0.5)) for r in REFERENCE_RATES)


def dilation_rates(settings: NetworkSettings, *, patch: int) -> tuple[int, ...]:
    """Return the dilation rates of the ASPP of ``taiga``, at stride 8, for a training patch.

    Raises
    ------
    UsageError
        If a rate times the stride reaches past the patch: such taps would see padding only in
        training, stay random, and fire on every larger tile.

    Examples
    --------
    >>> dilation_rates(TaigaSettings(), patch=64)
    (2, 3, 5)
    >>> dilation_rates(TaigaSettings(), patch=256)
    (6, 12, 18)
    """
    given = getattr(settings, "rates", "auto")
    rates = scaled_rates(patch) if given == "auto" else tuple(given)
    for rate in rates:
        check_rate(rate, stride=STRIDES[-1], patch=patch)
    return rates


def check_rate(rate: int, *, stride: int, patch: int) -> None:
    """Refuse a dilation whose outer taps would only see padding in a training patch.

    Raises
    ------
    UsageError
        If rate times stride is not below the patch.
    """
    if rate * stride >= patch:
        raise UsageError(
            f"dilation rate {rate} at stride {stride} reaches {rate * stride} px, past the"
            f" training patch of {patch} px: its outer taps would only ever see padding; lower"
            f" the rates or enlarge the patch"
        )


def pooling_blocks(settings: NetworkSettings, *, patch: int) -> tuple[int, int]:
    """Return the side of the pooling blocks of ``taiga``, in pixels, and how many make a window.

    Raises
    ------
    UsageError
        If the patch is no multiple of the deepest stride, or of the block.

    Examples
    --------
    >>> pooling_blocks(TaigaSettings(), patch=256), pooling_blocks(TaigaSettings(), patch=32)
    ((32, 8), (8, 4))
    """
    block = getattr(settings, "pooling_block", None)
    return blocks_of(settings.architecture, patch=patch, stride=STRIDES[-1], block=block)


def blocks_of(
    architecture: str, *, patch: int, stride: int, block: int | None = None
) -> tuple[int, int]:
    """Return the side of a window's pooling blocks, in pixels, and how many make a patch.

    Raises
    ------
    UsageError
        If the patch is no multiple of the stride or of the block.
    """
    if patch % stride:
        raise UsageError(
            f"the training patch of {architecture} must be a multiple of {stride}, got {patch}"
        )
    if block is None:
        fits = range(patch // WINDOW_BLOCKS, stride, -1)
        block = next((b for b in fits if b % stride == 0 and patch % b == 0), stride)
    if patch % block:
        raise UsageError(
            f"pooling_block {block} does not divide the training patch of {patch} px; choose a"
            f" multiple of {stride} that does"
        )
    return block, patch // block

"""Settings of the architectures that ``taiga`` is compared with.

The preset ``paper`` of each holds the published sizes; ``half``, ``small`` and ``tiny`` hold 3/4,
1/2 and 1/4 of the published widths, as those of ``taiga`` do. ``docs/networks.md`` gives the
sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from hsimap.networks._settings import Count, NetworkSettings, Preset, Sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUARTERS: Final = {"paper": 4, "half": 3, "small": 2, "tiny": 1}
Two = Annotated[tuple[Count, ...], Field(min_length=2)]
Three = Annotated[tuple[Count, ...], Field(min_length=3, max_length=3)]
Four = Annotated[tuple[Count, ...], Field(min_length=4, max_length=4)]


def _scaled(
    widths: Mapping[str, int | tuple[int, ...]], **depths: tuple[tuple[int, ...], ...]
) -> Mapping[str, Sizes]:
    """Return the presets: the shares of the published widths, and each depth as given for them."""
    return {
        name: {
            **{key: _share(full, quarters) for key, full in widths.items()},
            **{key: depth[i] for key, depth in depths.items()},
        }
        for i, (name, quarters) in enumerate(_QUARTERS.items())
    }


def _share(full: int | tuple[int, ...], quarters: int) -> int | tuple[int, ...]:
    if isinstance(full, int):
        return full * quarters // 4
    return tuple(width * quarters // 4 for width in full)


class UNetSettings(NetworkSettings):
    """U-Net: an encoder and a decoder joined by skips at every level."""

    presets: ClassVar[Mapping[str, Sizes]] = _scaled({"widths": (64, 128, 256, 512, 1024)})

    architecture: Literal["unet"] = "unet"
    preset: Preset
    """Where the sizes come from that are not given; tiny where nothing is said."""
    widths: Two
    """Channels of the levels at strides 1, 2, 4 and so on."""


class SegNetSettings(NetworkSettings):
    """SegNet: VGG-16 and its mirror image, which puts features back where maxima were found."""

    presets: ClassVar[Mapping[str, Sizes]] = _scaled(
        {"widths": (64, 128, 256, 512, 512)}, convs=((2, 2, 3, 3, 3),) * 4
    )

    architecture: Literal["segnet"] = "segnet"
    preset: Preset
    """Where the sizes come from that are not given; tiny where nothing is said."""
    widths: Two
    """Channels of the levels at strides 1, 2, 4 and so on."""
    convs: Two
    """3x3 convolutions of each level, in the encoder and again in the decoder."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.widths) != len(self.convs):
            raise ValueError(
                f"segnet needs as many convs as widths, got {len(self.convs)} for"
                f" {len(self.widths)}"
            )
        return self


class ResUNetSettings(NetworkSettings):
    """Res-U-Net: the encoder of ResNet-50 and the decoder of a U-Net."""

    presets: ClassVar[Mapping[str, Sizes]] = _scaled(
        {
            "stem_width": 64,
            "widths": (256, 512, 1024, 2048),
            "decoder_widths": (512, 256, 128, 64),
        },
        blocks=((3, 4, 6, 3), (3, 4, 6, 3), (1, 2, 3, 2), (1, 1, 1, 1)),
    )

    architecture: Literal["res_unet"] = "res_unet"
    preset: Preset
    """Where the sizes come from that are not given; tiny where nothing is said."""
    stem_width: Count
    """Channels at stride 2."""
    widths: Four
    """Channels at strides 4, 8, 16 and 32; a block's 3x3 convolution has a quarter of them."""
    blocks: Four
    """Residual blocks at strides 4, 8, 16 and 32."""
    decoder_widths: Four
    """Channels of the decoder at strides 16, 8, 4 and 2."""


class DeepLabSettings(NetworkSettings):
    """DeepLabV3+: the encoder of ResNet-101 at stride 16, a pyramid of dilations, a decoder."""

    presets: ClassVar[Mapping[str, Sizes]] = _scaled(
        {
            "stem_width": 64,
            "widths": (256, 512, 1024, 2048),
            "pyramid_width": 256,
            "low_width": 48,
        },
        blocks=((3, 4, 23, 3), (3, 4, 23, 3), (1, 2, 3, 2), (1, 1, 1, 1)),
    )

    architecture: Literal["deeplabv3plus"] = "deeplabv3plus"
    preset: Preset
    """Where the sizes come from that are not given; tiny where nothing is said."""
    stem_width: Count
    """Channels at stride 2."""
    widths: Four
    """Channels of the four stages, at strides 4, 8, 16 and 16."""
    blocks: Four
    """Residual blocks of the four stages."""
    pyramid_width: Count
    """Channels of each branch of the pyramid, and of the decoder."""
    low_width: Count
    """Channels that the features of stride 4 are reduced to."""
    rates: Literal["auto"] | tuple[Count, ...] = "auto"
    """Dilation rates of the pyramid at stride 16; auto = (6, 12, 18) * patch / 512, at least 1."""


class GscVitSettings(NetworkSettings):
    """GSC-ViT: grouped convolutions, and attention within and between windows of 4 pixels."""

    presets: ClassVar[Mapping[str, Sizes]] = {
        name: {"widths": (256, 128, 64), "groups": 16, "heads": 4, "head_width": 16}
        for name in _QUARTERS
    }
    # Published as a light network: it costs no more than others do at `tiny` and `small`.

    architecture: Literal["gsc_vit"] = "gsc_vit"
    preset: Preset
    """Every preset holds the published sizes, which are small."""
    widths: Two
    """Channels after the spectral calibration and of the stages after it."""
    groups: Count
    """Groups of the convolutions; they divide all widths."""
    heads: Count
    """Heads of the attention."""
    head_width: Count
    """Channels of a head."""
    window: Count = 4
    """Side of a window in pixels, whose pixels attend to one another."""
    region: Count = 8
    """Side in pixels, a multiple of window, of the squares whose windows attend to one another:
    the published patch. Maps have the same regions at every tile size."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.region % self.window:
            raise ValueError(f"region must be a multiple of window {self.window}: {self.region}")
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"groups must divide all widths, got {self.groups}: {self.widths}")
        return self


class VolumeSettings(NetworkSettings):
    """What the two networks of 3-D convolutions have in common."""

    preset: Preset
    """Where the sizes come from that are not given; tiny where nothing is said."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of feature channels dropped in training."""
    filters: Three
    """Filters of the three convolutions over bands, y and x."""
    depths: Three
    """Bands that their kernels span; a kernel longer than what is left is cut to it."""
    spectral_stride: Count
    """Step of the first convolution along the bands."""
    shared_width: Count
    """Channels of the layer that all tasks share."""
    task_width: Count
    """Channels of each task's own layer."""


class PhamSettings(VolumeSettings):
    """Pham's network of 3-D convolutions, run densely."""

    presets: ClassVar[Mapping[str, Sizes]] = {
        "paper": {
            "filters": (128, 64, 32), "depths": (48, 32, 32), "spectral_stride": 1,
            "shared_width": 512, "task_width": 300,
        },
        "half": {
            "filters": (64, 32, 16), "depths": (24, 16, 16), "spectral_stride": 2,
            "shared_width": 256, "task_width": 150,
        },
        "small": {
            "filters": (32, 16, 16), "depths": (16, 8, 8), "spectral_stride": 4,
            "shared_width": 128, "task_width": 64,
        },
        "tiny": {
            "filters": (8, 8, 8), "depths": (16, 8, 8), "spectral_stride": 4,
            "shared_width": 64, "task_width": 32,
        },
    }  # fmt: skip

    architecture: Literal["pham_dense"] = "pham_dense"


class MottusSettings(VolumeSettings):
    """The TAIGA baseline of Mõttus et al., a network of 3-D convolutions, run densely."""

    presets: ClassVar[Mapping[str, Sizes]] = {
        "paper": {
            "filters": (32, 32, 32), "depths": (32, 32, 32), "spectral_stride": 1,
            "shared_width": 1024, "task_width": 200,
        },
        "half": {
            "filters": (16, 16, 16), "depths": (16, 16, 16), "spectral_stride": 2,
            "shared_width": 512, "task_width": 100,
        },
        "small": {
            "filters": (16, 16, 16), "depths": (8, 8, 8), "spectral_stride": 4,
            "shared_width": 128, "task_width": 64,
        },
        "tiny": {
            "filters": (8, 8, 8), "depths": (8, 8, 8), "spectral_stride": 4,
            "shared_width": 64, "task_width": 32,
        },
    }  # fmt: skip

    architecture: Literal["mottus_dense"] = "mottus_dense"


class MstNetSettings(NetworkSettings):
    """A transformer over squares of pixels in the style of MSTNet, attending within windows."""

    presets: ClassVar[Mapping[str, Sizes]] = {
        "paper": {"width": 576, "depth": 12, "heads": 9, "decoder_width": 128},
        "half": {"width": 448, "depth": 12, "heads": 7, "decoder_width": 96},
        "small": {"width": 256, "depth": 8, "heads": 4, "decoder_width": 64},
        "tiny": {"width": 128, "depth": 4, "heads": 2, "decoder_width": 64},
    }

    architecture: Literal["mstnet_style"] = "mstnet_style"
    preset: Preset
    """Where the sizes come from that are not given; tiny where nothing is said."""
    width: Count
    """Channels of a token; a multiple of heads."""
    depth: Annotated[int, Field(ge=4, multiple_of=4)]
    """Transformer blocks; the decoder sees four of them, evenly spread."""
    heads: Count
    """Heads of the attention."""
    decoder_width: Annotated[int, Field(ge=8)]
    """Channels that the decoder starts from."""
    token: Literal[2, 4, 8, 16] = 8
    """Side in pixels of the square that makes a token."""
    window: Count | None = None
    """Side in pixels of the squares whose tokens attend to one another, a multiple of token; by
    default the training patch. Maps have the same windows at every tile size."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads {self.heads}, got {self.width}")
        return self


class SpectralDiffSettings(NetworkSettings):
    """The denoising 3-D U-Net and the attention of SpectralDiff, without its diffusion."""

    presets: ClassVar[Mapping[str, Sizes]] = {
        "paper": {
            "widths": (16, 32, 64, 128),
            "spectral_stride": 1,
            "width": 64,
            "heads": 4,
            "window": 16,
        },
        "half": {
            "widths": (12, 24, 48, 96),
            "spectral_stride": 2,
            "width": 64,
            "heads": 4,
            "window": 16,
        },
        "small": {
            "widths": (8, 16, 32, 64),
            "spectral_stride": 4,
            "width": 64,
            "heads": 4,
            "window": 8,
        },
        "tiny": {
            "widths": (4, 8, 16, 32),
            "spectral_stride": 4,
            "width": 32,
            "heads": 2,
            "window": 8,
        },
    }

    architecture: Literal["spectraldiff_style"] = "spectraldiff_style"
    preset: Preset
    """Where the sizes come from that are not given; tiny where nothing is said."""
    widths: Two
    """Channels of the levels at strides 1, 2, 4 and so on, along bands, y and x."""
    spectral_stride: Count
    """Step of the first convolution along the bands."""
    width: Count
    """Channels of a pixel's token; a multiple of heads."""
    heads: Count
    """Heads of the attention."""
    depth: Count = 2
    """Transformer blocks."""
    window: Count
    """Side in pixels of the squares whose pixels attend to one another. Maps have the same windows
    at every tile size."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads {self.heads}, got {self.width}")
        return self

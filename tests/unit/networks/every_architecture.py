"""Small settings of every architecture, for what all of them must obey."""

SMALL = {
    "taiga": {"patch": 32, "widths": (4, 6, 8, 8), "decoder_width": 8},
    "taiga-baseline": {"widths": (4, 6, 8, 8), "decoder_width": 8, "ablation": "baseline"},
    "taiga-DAC": {"widths": (4, 6, 8, 8), "decoder_width": 8, "ablation": "DAC"},
    "taiga-RDA": {"widths": (4, 4, 4, 8), "decoder_width": 8, "ablation": "RDA"},
    "taiga-no-skips": {"widths": (4, 6, 8, 16), "decoder_width": 16, "skips": False},
    "taiga-no-norm": {
        "widths": (4, 6, 8, 8), "decoder_width": 8, "batch_norm": False, "downsampling": "strided",
    },
    "spectral_spatial": {"width": 8, "dilations": (1, 3), "context": (5, 11)},
    "spectral_spatial-components": {"width": 8, "dilations": (1,), "components": 3},
    "spectral_spatial-ensemble": {
        "width": 8, "dilations": (1,), "context": (5,), "components": 3, "members": 2,
    },
    "unet": {"widths": (4, 6, 6, 8)},
    "unet-ensemble": {"widths": (4, 6, 6), "members": 2},
    "segnet": {"widths": (4, 6, 6), "convs": (1, 2, 2)},
    "res_unet": {
        "patch": 64, "stem_width": 6, "widths": (12, 12, 16, 16), "blocks": (1, 1, 1, 1),
        "decoder_widths": (8, 8, 6, 6),
    },
    "deeplabv3plus": {
        "patch": 48, "stem_width": 8, "widths": (16, 16, 16, 32), "blocks": (1, 1, 1, 1),
        "pyramid_width": 16, "low_width": 8,
    },
    "gsc_vit": {"widths": (16, 8, 8), "groups": 4, "heads": 2, "head_width": 4},
    "pham_dense": {
        "filters": (4, 4, 3), "depths": (2, 2, 2), "shared_width": 12, "task_width": 12,
    },
    "mottus_dense": {
        "filters": (4, 4, 3), "depths": (2, 2, 2), "shared_width": 12, "task_width": 12,
    },
    "mstnet_style": {
        "window": 16, "width": 8, "heads": 2, "depth": 4, "decoder_width": 24, "token": 4,
    },
    "spectraldiff_style": {
        "widths": (2, 3, 4), "spectral_stride": 2, "width": 8, "heads": 2, "window": 8,
    },
}  # fmt: skip


def small(case: str, **more: object) -> dict[str, object]:
    """Return keywords for ``make_spec`` and ``make_network``; a case may be a variant."""
    return {"architecture": case.split("-", maxsplit=1)[0], **SMALL[case], **more}

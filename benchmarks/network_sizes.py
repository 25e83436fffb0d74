"""Print size and cost of every architecture, as the tables of docs/networks.md.

    python benchmarks/network_sizes.py

Networks are built for 128 bands and the 13 variables of the paper, on shapes only; nothing is
trained. A test holds the page to what this prints.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hsimap.networks import (
    NetworkSettings,
    NetworkSpec,
    NormalisationSpec,
    architectures,
    compare,
)
from hsimap.tasks import main_output, task_from_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hsimap.networks import ComparisonRow

BANDS: Final = 128
CLASSES: Final = (4, 2, 3)
VALUES: Final = 10
STATED: Final = {
    "taiga": (19.68, 41.79),
    "unet": (28.93, 112.67),
    "segnet": (51.44, 160.41),
    "res_unet": (44.9, 71.68),
    "deeplabv3plus": (53.6, 82.7),
    "mottus_dense": (37.82, 61.28),
    "pham_dense": (41.37, 32.48),
    "mstnet_style": (54.28, 102.46),
    "gsc_vit": (39.19, 63.87),
    "spectraldiff_style": (61.94, 121.47),
}
"""Table VII of the paper: millions of parameters, and operations in units of 1e9."""
PATCHES: Final = {"paper": 256, "half": 128, "small": 64, "tiny": 64}
ABLATIONS: Final = ("baseline", "R", "RD", "RDA", "DAC", "full")


def forest(patch: int) -> NetworkSpec:
    """Return the paper's tasks and bands for a training patch, in pixels."""
    tasks = [
        task_from_mapping(
            f"classes_{n}",
            {"kind": "categorical", "classes": {k: str(k) for k in range(1, n + 1)}},
        )
        for n in CLASSES
    ]
    tasks += [task_from_mapping(f"value_{i}", {"kind": "continuous"}) for i in range(VALUES)]
    return NetworkSpec(
        settings=NetworkSettings(),
        n_bands=BANDS,
        patch=patch,
        tasks=tuple(tasks),
        outputs=tuple(main_output(task) for task in tasks),
        normalisation=NormalisationSpec(),
    )


def of_preset(preset: str) -> list[ComparisonRow]:
    """Return every architecture that has presets at one of them, those of Table VII in order."""
    settings = {
        name: NetworkSettings(architecture=name, preset=preset)
        for name in sorted(architectures(), key=lambda name: [*STATED, name].index(name))
        if name in STATED
    }
    return compare(settings, like=forest(PATCHES[preset]))


def published() -> Iterator[str]:
    """Yield the table of the preset ``paper`` beside what the paper states."""
    yield "| architecture | parameters, M | stated | GMAC at 256 x 256 | stated | reach, px |"
    yield "|---|---|---|---|---|---|"
    for row in of_preset("paper"):
        millions, giga = STATED[row.name]
        size = row.size
        yield (
            f"| `{row.name}` | {size.parameters / 1e6:.2f} | {millions} |"
            f" {size.paper_macs / 1e9:.1f} | {giga} | {size.reach} |"
        )


def presets() -> Iterator[str]:
    """Yield parameters and operations of each preset, at the patch that it is meant for."""
    names = list(PATCHES)
    heads = [f"`{name}`, patch {patch}" for name, patch in PATCHES.items()]
    yield f"| architecture | {' | '.join(heads)} |"
    yield "|---" * (len(names) + 1) + "|"
    columns = [of_preset(name) for name in names]
    for rows in zip(*columns, strict=True):
        cells = [
            f"{row.size.parameters / 1e6:.2f} M, {row.size.macs_per_pixel / 1e3:.0f} k"
            for row in rows
        ]
        yield f"| `{rows[0].name}` | {' | '.join(cells)} |"


def ablations() -> Iterator[str]:
    """Yield the rows of Table V, at the presets ``paper`` and ``tiny``."""
    yield "| `ablation` | `paper`: parameters, M | GMAC at 256 x 256 | `tiny`: parameters, M |"
    yield "|---|---|---|---|"
    for name in ABLATIONS:
        full, small = (
            compare(
                {name: NetworkSettings(preset=preset, ablation=name)},
                like=forest(PATCHES[preset]),
            )[0].size
            for preset in ("paper", "tiny")
        )
        yield (
            f"| `{name}` | {full.parameters / 1e6:.2f} | {full.paper_macs / 1e9:.1f} |"
            f" {small.parameters / 1e6:.3f} |"
        )


def lines() -> list[str]:
    """Return all tables."""
    return [*published(), "", *presets(), "", *ablations()]


if __name__ == "__main__":
    print("\n".join(lines()))
